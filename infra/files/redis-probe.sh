#!/bin/sh
# Answers the probes of a Redis pod: redis-probe.sh startup|liveness|readiness. Status 0 is good; the reason is printed.
#
# Alive is whoever answers at all: a node that loads its data, lost its master, runs a long script or cannot save is
# busy or ill, and a restart would only make it worse. Ready is a node that serves current data.
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_DATA_DIR:?is the data directory}"

fail() {
  echo "$*"
  exit 1
}

check_ready() {
  info=$(info_of "$LOCAL_ADDRESS") || fail "not ready: no INFO, or still loading"
  role=$(field role "$info")
  case $role in
    master) record_master "$CACHE_SELF" || true ;; # the record is a help, a full disk must not make the node unready
    slave)
      [ "$(field master_link_status "$info")" = up ] || fail "not ready: the link to the master is down"
      [ "$(field master_sync_in_progress "$info")" = 0 ] || fail "not ready: a full copy from the master is running"
      record_master "$(field master_host "$info")" || true
      ;;
    *) fail "not ready: role ${role:-unknown}" ;;
  esac
  echo "ready: $role"
}

case ${1:-} in
  startup | liveness | readiness) ;;
  *) fail "usage: redis-probe.sh startup|liveness|readiness" ;;
esac
reply=$(ask_redis "$LOCAL_ADDRESS" PING || true)
[ -n "$reply" ] || fail "no answer to PING within $CALL_S s"
if [ "$1" = readiness ]; then
  [ "$reply" = PONG ] || fail "not ready: $reply"
  check_ready
else
  echo "alive: $reply"
fi
