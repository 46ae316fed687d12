#!/bin/sh
# Makes a running Sentinel accept exactly the passwords that its secret directory holds, and use them. See
# redis-rotate.sh, of which this is the counterpart; with the argument "digest" it changes nothing, too.
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"

if [ "${1:-}" = digest ]; then
  for name in sentinel-auth sentinel; do printf '%s ' "$name" "$(hashes "$name")"; done | sha256sum | cut -c 1-64
  exit 0
fi

# change WHAT COMMAND...
change() {
  what=$1
  shift
  reply=$(ask_sentinel "$LOCAL_ADDRESS" "$@" || true)
  [ "$reply" = OK ] || die "$what was not changed: ${reply:-no answer}"
}

{ words=$(hashes sentinel-auth) && secret sentinel >/dev/null; } || die "the passwords of the Sentinels cannot be read"
# shellcheck disable=SC2086  # one or two hashes, split on purpose
change "what this Sentinel accepts" ACL SETUSER default resetpass $words
# From standard input (-x), so that no password enters an argument list.
secret sentinel-auth | change "what it shows to other Sentinels" -x SENTINEL CONFIG SET sentinel-pass
secret sentinel | change "what it shows to Redis" -x SENTINEL SET "$CACHE_SET" auth-pass
log "the passwords are those of the secret directory now"
