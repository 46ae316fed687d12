#!/bin/sh
# Makes a running Redis node accept exactly the passwords that its secret directory holds, and use them: no restart, and
# no connection is lost. A step of the rotation of passwords (python -m infra.credentials rotate); harmless at any time.
#
# With an argument it changes nothing and prints a digest of the passwords that are mounted here: the kubelet brings a
# changed Secret into a running pod after a while, and a step is only done once every node would start with it, too.
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_CONF_FILE:?is the path of redis.conf, with users.acl beside it}"

# The users of users.acl; "default" is off and has no password.
users() {
  sed -n 's/^user \([a-z]*\) on @hashes:.*/\1/p' "${CACHE_CONF_FILE%/*}/users.acl"
}

if [ "${1:-}" = digest ]; then
  for user in $(users) sentinel-auth; do printf '%s ' "$user" "$(hashes "$user")"; done | sha256sum | cut -c 1-64
  exit 0
fi
for user in $(users); do
  words=$(hashes "$user") || die "the passwords of $user cannot be read"
  # shellcheck disable=SC2086  # one or two hashes, split on purpose
  reply=$(ask_redis_as admin "$LOCAL_ADDRESS" ACL SETUSER "$user" resetpass $words || true)
  [ "$reply" = OK ] || die "the passwords of $user were not changed: ${reply:-no answer}"
done
# From standard input (-x), so that the password enters no argument list. Used at the next connection to a master.
reply=$(secret repl | ask_redis_as admin "$LOCAL_ADDRESS" -x CONFIG SET masterauth || true)
[ "$reply" = OK ] || die "the password for replication was not changed: ${reply:-no answer}"
log "the passwords are those of the secret directory now"
