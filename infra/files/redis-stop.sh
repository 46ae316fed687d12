#!/bin/sh
# Hands the master role over before this node stops: no acknowledged write is lost, and writes pause for a few seconds
# only. Run as the pod's preStop hook, or by hand as "hand over now". Does nothing on a replica.
#
# Sentinel's own failover does not wait for the replica to have everything. Therefore writes are paused first; the pause
# stays on after a success, so that no client writes to the old master until it is stopped or demoted. Redis' native
# FAILOVER command is not used: Sentinel would undo it.
#
# Time budgets in seconds, besides those of ask.sh; together they stay below 25:
#   CACHE_CATCH_UP_S 2   until a replica has everything
#   CACHE_HANDOVER_S 12  until most Sentinels name another master
#   CACHE_PAUSE_S 20     how long writes stay paused, at most
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_DATA_DIR:?is the data directory}"
CATCH_UP_S=${CACHE_CATCH_UP_S:-2}
HANDOVER_S=${CACHE_HANDOVER_S:-12}
PAUSE_S=${CACHE_PAUSE_S:-20}

ask_self() {
  ask_redis "$LOCAL_ADDRESS" "$@"
}

# Asks the replicas for their own offsets: what they acknowledged to the master can be a second old.
await_replica_in_step() {
  step_end=$(($(now) + CATCH_UP_S))
  while :; do
    step_own=$(field master_repl_offset "$(info_of "$LOCAL_ADDRESS" || true)")
    for step_peer in $(peers); do
      step_info=$(info_of "$step_peer") || continue
      if [ "$(field master_link_status "$step_info")" = up ] &&
        [ "$(field master_host "$step_info")" = "$CACHE_SELF" ] &&
        [ "$(field slave_repl_offset "$step_info")" = "$step_own" ]; then
        log "replica $step_peer has everything (offset $step_own)"
        return 0
      fi
    done
    [ "$(now)" -lt "$step_end" ] || return 1
    sleep "$POLL_S"
  done
}

give_up() {
  ask_self CLIENT UNPAUSE >/dev/null || true
  log "not handed over: $*; writes are allowed again, and Sentinel will act when this node is gone"
  exit 1
}

role=$(ask_self ROLE | head -n 1 || true)
if [ "$role" != master ]; then
  log "nothing to hand over: the role here is ${role:-unknown}"
  exit 0
fi
reply=$(ask_self CLIENT PAUSE "$((PAUSE_S * 1000))" WRITE || true)
[ "$reply" = OK ] || give_up "writes could not be paused: ${reply:-no answer}"
await_replica_in_step || give_up "no replica has everything within $CATCH_UP_S s"
request_failover || give_up "no Sentinel accepts a failover"
new_master=$(await_other_master "$HANDOVER_S") || give_up "the Sentinels name no other master within $HANDOVER_S s"
record_master "$new_master" || true # the hook must not fail for a full disk
# Clients look for the new master when their connection breaks; waiting for a time-out would take them longer.
ask_self CLIENT KILL TYPE normal >/dev/null || true
log "handed over to $new_master"
