#!/bin/sh
# Hands the master role over before this node stops: no acknowledged write is lost, and writes pause for a few seconds
# only. Run as the pod's preStop hook, or by hand as "hand over now". Does nothing on a replica.
#
# Sentinel's own failover does not wait for the replica to have everything. Therefore writes are paused first; the pause
# stays on after a success, so that no client writes to the old master until it is stopped or demoted. Redis' native
# FAILOVER command is not used: Sentinel would undo it.
#
# Sentinels that will not or cannot act just now are asked again, and writes go on in between: a busy machine must not
# keep writers waiting for nothing.
#
# Time budgets in seconds, besides those of ask.sh; together they stay below 25:
#   CACHE_ATTEMPT_S 10   how long attempts may begin
#   CACHE_CATCH_UP_S 2   until the replicas have everything
#   CACHE_HANDOVER_S 12  until most Sentinels name another master
#   CACHE_PAUSE_S 20     how long writes stay paused, at most
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_DATA_DIR:?is the data directory}"
ATTEMPT_S=${CACHE_ATTEMPT_S:-10}
CATCH_UP_S=${CACHE_CATCH_UP_S:-2}
HANDOVER_S=${CACHE_HANDOVER_S:-12}
PAUSE_S=${CACHE_PAUSE_S:-20}

ask_self() {
  ask_redis "$LOCAL_ADDRESS" "$@"
}

# Do the Sentinels know which nodes are replicas? They look every ten seconds, and make a replica of any that has been a
# master against their knowledge for eight. One that has not looked since a replica was the master itself would undo
# its promotion at once, and the set would be without a master for a minute: seen after two handovers in a row.
sentinels_know_replicas() {
  for know_sentinel in $CACHE_SENTINEL_HOSTS; do
    know_name='' know_ip='' know_flags=''
    while read -r know_line; do
      case $know_name in
        ip) know_ip=$know_line ;;
        flags) know_flags=$know_line ;;
        role-reported)
          case $know_line:$know_flags in
            master:*down* | master:*disconnected*) ;; # it is gone, and cannot be promoted
            master:*)
              FAILED="$know_sentinel has not seen yet that $know_ip is a replica"
              return 1
              ;;
          esac
          ;;
      esac
      know_name=$know_line
    done <<REPLICAS
$(ask_sentinel "$know_sentinel" SENTINEL REPLICAS "$CACHE_SET" || true)
REPLICAS
  done
}

# Waits until every replica that is connected to this node has everything, and at least one is: Sentinel chooses which
# one it promotes, by what it knows of their offsets, which is up to ten seconds old. Asks the replicas themselves: what
# they acknowledged to the master can be a second old. One that did so just now must answer here, too.
await_replicas_in_step() {
  step_end=$(($(now) + CATCH_UP_S))
  while :; do
    step_self=$(info_of "$LOCAL_ADDRESS" || true)
    step_own=$(field master_repl_offset "$step_self")
    step_live=$(printf '%s\n' "$step_self" | grep -c '^slave[0-9]*:.*,state=online,.*,lag=[0-2]$' || true)
    step_ready='' step_behind=''
    for step_peer in $(peers); do
      step_info=$(info_of "$step_peer") || continue
      [ "$(field master_link_status "$step_info")" = up ] || continue
      [ "$(field master_host "$step_info")" = "$CACHE_SELF" ] || continue
      # More is possible: the master still sends its replicas a PING now and then.
      step_offset=$(field slave_repl_offset "$step_info")
      if [ "$step_offset" -ge "$step_own" ] 2>/dev/null; then
        step_ready="$step_ready $step_peer"
      else
        step_behind="$step_behind $step_peer (offset $step_offset of $step_own)"
      fi
    done
    if [ -n "$step_ready" ] && [ -z "$step_behind" ] && [ "$(count "$step_ready")" -ge "$step_live" ]; then
      log "every connected replica has everything (offset $step_own):$step_ready"
      return 0
    fi
    [ "$(now)" -lt "$step_end" ] || return 1
    sleep "$POLL_S"
  done
}

# Says what was lost if Sentinel chose a replica that was not connected, after all. Where a promoted node left the
# common history is its second_repl_offset, one more than what it had.
verify_promoted() {
  promoted_info=$(info_of "$1") || return 0 # it leads; what it had cannot be told now
  promoted_offset=$(field second_repl_offset "$promoted_info")
  [ "$promoted_offset" -gt 0 ] 2>/dev/null || return 0
  [ "$promoted_offset" -le "$step_own" ] || return 0
  log "$1 was promoted without the last $((step_own + 1 - promoted_offset)) bytes of writes: it was not connected"
}

# One attempt; NEW_MASTER is who leads then, FAILED the reason if it failed. Writes may be paused either way.
attempt() {
  sentinels_know_replicas || return 1
  reply=$(ask_self CLIENT PAUSE "$((PAUSE_S * 1000))" WRITE || true)
  if [ "$reply" != OK ]; then
    FAILED="writes could not be paused: ${reply:-no answer}"
  elif ! await_replicas_in_step; then
    FAILED="after $CATCH_UP_S s: with everything:${step_ready:- none}; behind:${step_behind:- none}; live: $step_live"
  elif ! bring_about_failover 1; then
    FAILED='no Sentinel accepts a failover'
  elif ! NEW_MASTER=$(await_other_master "$HANDOVER_S"); then
    FAILED="the Sentinels name no other master within $HANDOVER_S s"
  else
    return 0
  fi
  return 1
}

role=$(ask_self ROLE | head -n 1 || true)
if [ "$role" != master ]; then
  log "nothing to hand over: the role here is ${role:-unknown}"
  exit 0
fi
attempt_end=$(($(now) + ATTEMPT_S))
told=''
# Sentinels that take this node for down, because it is slow or its writes are paused, may have acted by themselves.
until attempt || NEW_MASTER=$(await_other_master 0); do
  ask_self CLIENT UNPAUSE >/dev/null || true
  if [ "$(now)" -ge "$attempt_end" ]; then
    log "not handed over: $FAILED; writes are allowed again, and Sentinel will act when this node is gone"
    exit 1
  fi
  [ "$FAILED" = "$told" ] || log "not yet: $FAILED; writes go on before the next attempt"
  told=$FAILED
  sleep "$POLL_S"
done
record_master "$NEW_MASTER" || true # the hook must not fail for a full disk
# Clients look for the new master when their connection breaks; waiting for a time-out would take them longer.
ask_self CLIENT KILL TYPE normal >/dev/null || true
verify_promoted "$NEW_MASTER"
log "handed over to $NEW_MASTER"
