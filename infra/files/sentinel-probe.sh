#!/bin/sh
# Answers the probes of a Sentinel pod: sentinel-probe.sh startup|liveness|readiness. Status 0 is good; the reason is
# printed. Alive is whoever answers at all; ready is a Sentinel that can name the master of our set.
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"

fail() {
  echo "$*"
  exit 1
}

case ${1:-} in
  startup | liveness)
    reply=$(ask_sentinel "$LOCAL_ADDRESS" PING || true)
    [ -n "$reply" ] || fail "no answer to PING within $CALL_S s"
    echo "alive: $reply"
    ;;
  readiness)
    named=$(named_by "$LOCAL_ADDRESS")
    case $named in
      '') fail "not ready: no answer" ;;
      '?'*) fail "not ready: ${named#? }" ;;
    esac
    echo "ready: names $named"
    ;;
  *) fail "usage: sentinel-probe.sh startup|liveness|readiness" ;;
esac
