#!/bin/sh
# Starts one Redis node in the role that the set wants it to have, or refuses to start.
#
# The rule above all: a node without data never becomes the master of peers that have data, and "no answer" never means
# "I am alone". Every decision is one log line with its reason. A refusal ends with status 1, so that the pod is started
# again; nothing has been written then.
#
# Time budgets in seconds, besides those of ask.sh:
#   CACHE_RESOLVE_S 60   until the own name resolves
#   CACHE_SILENCE_S 10   how long all Sentinels must be silent before the node decides without them
#   CACHE_RETRY_S 60     how long Sentinels may disagree, or be silent without anything else to go by
#   CACHE_EMPTY_S 120    how long a master without data waits for a peer to take over
#   CACHE_AOF_REPAIR_MAX 1048576   bytes of a broken AOF tail that may be cut off (after a copy)
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_DATA_DIR:?is the data directory}" "${CACHE_RUN_DIR:?is the run directory}"
: "${CACHE_CONF_FILE:?is the path of redis.conf, with users.acl beside it}"
REDIS_SERVER=${REDIS_SERVER:-redis-server}
REDIS_CHECK_AOF=${REDIS_CHECK_AOF:-redis-check-aof}
RESOLVE_S=${CACHE_RESOLVE_S:-60}
SILENCE_S=${CACHE_SILENCE_S:-10}
RETRY_S=${CACHE_RETRY_S:-60}
EMPTY_S=${CACHE_EMPTY_S:-120}
AOF_REPAIR_MAX=${CACHE_AOF_REPAIR_MAX:-1048576}
AOF_DIR=$CACHE_DATA_DIR/appendonlydir
MANIFEST=$AOF_DIR/appendonly.aof.manifest
LISTEN_PORT=$CACHE_REDIS_PORT
MASTER='' # the host to follow; empty: this node is the master

# The name is announced to Sentinels, and a Sentinel that cannot resolve it drops the node.
await_own_name() {
  case $CACHE_SELF in *[!0-9.]*) ;; *) return 0 ;; esac
  name_end=$(($(now) + RESOLVE_S))
  until getent hosts "$CACHE_SELF" >/dev/null; do
    [ "$(now)" -lt "$name_end" ] || die "own name $CACHE_SELF did not resolve within $RESOLVE_S s"
    sleep "$POLL_S"
  done
}

# aof_file TYPE: the last file of that type (b = base, i = increment) that the AOF manifest lists.
aof_file() {
  [ -r "$MANIFEST" ] || return 0
  sed -n "s/^file \([^ ]*\) seq [0-9]* type $1\( .*\)*\$/\1/p" "$MANIFEST" | tail -n 1
}

# appendonly.aof is the single file that Redis before 7 wrote; Redis 7 converts it when it starts.
has_data() {
  aof_base=$(aof_file b)
  { [ -n "$aof_base" ] && [ -f "$AOF_DIR/$aof_base" ]; } ||
    [ -s "$CACHE_DATA_DIR/appendonly.aof" ] || [ -s "$CACHE_DATA_DIR/dump.rdb" ]
}

follow() {
  MASTER=$1
  log "decision: follow $1: $2"
}

lead() {
  MASTER=''
  log "decision: start as master: $1"
}

# Until the Sentinels agree, or their silence has lasted long enough and there is something else to go by.
decide() {
  decide_begin=$(now)
  decide_last=''
  while :; do
    verdict=$(poll_sentinels)
    waited=$(($(now) - decide_begin))
    case $verdict in
      "majority $CACHE_SELF")
        if has_data; then decide_with_data; else decide_without_data; fi
        return
        ;;
      "majority "*)
        follow "${verdict#majority }" "most Sentinels name it"
        return
        ;;
      silent)
        reason='no Sentinel answers'
        if [ "$waited" -ge "$SILENCE_S" ] && decide_alone; then return; fi
        ;;
      *) reason=${verdict#conflict } ;;
    esac
    [ "$waited" -lt "$RETRY_S" ] || die "for $RETRY_S s: $reason"
    [ "$reason" = "$decide_last" ] || log "waiting: $reason"
    decide_last=$reason
    sleep "$POLL_S"
  done
}

# The Sentinels name this node and it has its data: a crashed master. A replica may have received writes that did not
# reach this disk (fsync is once per second), so a replica that knows its offset goes first. The Sentinels may have
# acted by themselves meanwhile: then none is asked, and one more look tells who leads.
decide_with_data() {
  failover_s=0 # how long to look for another master: once, unless a failover was asked for
  for candidate in $(peers); do
    if candidate_info=$(info_of "$candidate") && known_offset "$candidate_info"; then
      log "this node was the master; replica $candidate may be ahead of this disk: asking for a failover"
      if bring_about_failover 3; then failover_s=$FAILOVER_S; fi
      if new_master=$(await_other_master "$failover_s"); then
        follow "$new_master" "it took over after this master's restart"
      else
        lead "no failover happened within $failover_s s, and the data is here"
      fi
      return
    fi
  done
  lead "most Sentinels name it, the data is here, and no replica answers with a known offset"
}

# The Sentinels name this node but its disk is empty. Replicas would copy the emptiness: a peer must take over first.
decide_without_data() {
  log "this node was the master and has no data: it waits for a peer with data to take over"
  empty_end=$(($(now) + EMPTY_S))
  failover_s=0 # how long to look for another master: once, unless a failover was asked for
  surveyed=''  # what it refuses with has been looked at, however long the first look for another master took
  while :; do
    if new_master=$(await_other_master "$failover_s"); then
      follow "$new_master" "it leads now, and this disk has no data"
      return
    fi
    [ "$(now)" -lt "$empty_end" ] || [ -z "$surveyed" ] || break
    failover_s=0
    survey_peers
    surveyed=1
    if [ -n "$PEERS_WITH_DATA" ]; then
      if bring_about_failover 3; then failover_s=$FAILOVER_S; fi
    elif [ -z "$PEERS_SILENT" ]; then
      lead "every peer answers, and none has data"
      return
    elif no_replica_ever; then
      lead "no Sentinel has ever seen a replica: there is no other data"
      return
    fi
    sleep "$POLL_S"
  done
  log "peers with data:${PEERS_WITH_DATA:- none}; silent:${PEERS_SILENT:- none}"
  die "no data here, and no peer with data took over within $EMPTY_S s"
}

# A peer that is still loading counts as silent: what it has is not known yet.
survey_peers() {
  PEERS_WITH_DATA='' PEERS_SILENT='' PEERS_MASTER='' PEERS_FOLLOWED=''
  for survey_peer in $(peers); do
    if ! survey_info=$(info_of "$survey_peer"); then
      PEERS_SILENT="$PEERS_SILENT $survey_peer"
      continue
    fi
    if has_keys "$survey_info"; then PEERS_WITH_DATA="$PEERS_WITH_DATA $survey_peer"; fi
    if [ "$(field role "$survey_info")" = master ]; then
      PEERS_MASTER="$PEERS_MASTER $survey_peer"
      [ "$(field connected_slaves "$survey_info")" = 0 ] || PEERS_FOLLOWED="$PEERS_FOLLOWED $survey_peer"
    fi
  done
}

# Do most Sentinels answer, and does none of them know a replica?
no_replica_ever() {
  ever_answers=0
  for ever_sentinel in $CACHE_SENTINEL_HOSTS; do
    ever_reply=$(ask_sentinel "$ever_sentinel" SENTINEL MASTER "$CACHE_SET" || true)
    case "$ever_reply$NEWLINE" in
      *"${NEWLINE}num-slaves${NEWLINE}0${NEWLINE}"*) ever_answers=$((ever_answers + 1)) ;;
      *"${NEWLINE}num-slaves${NEWLINE}"*) return 1 ;;
    esac
  done
  [ $ever_answers -gt $(($(count "$CACHE_SENTINEL_HOSTS") / 2)) ]
}

# No Sentinel answers: a master that serves a replica, else the recorded master, else a first start of ordinal 0.
# Fails, with the reason, if nothing can be decided yet.
#
# A record may be out of date. A recorded peer is followed only once it answers as master: two nodes that each have the
# other on record would otherwise follow each other for ever.
decide_alone() {
  survey_peers
  recorded_host=$(recorded_master)
  if [ "$(count "$PEERS_FOLLOWED")" = 1 ]; then
    follow "${PEERS_FOLLOWED# }" "no Sentinel answers, and it is a master with a connected replica"
  elif [ -n "$PEERS_FOLLOWED" ]; then
    reason="no Sentinel answers, and several masters have replicas:$PEERS_FOLLOWED"
    return 1
  elif [ -n "$recorded_host" ]; then
    decide_by_record
  else
    decide_first_start
  fi
}

decide_by_record() {
  if ! contains "$CACHE_REDIS_HOSTS" "$recorded_host"; then
    reason="no Sentinel answers, and the recorded master $recorded_host is not in this set"
    return 1
  elif contains "$PEERS_MASTER" "$recorded_host"; then
    follow "$recorded_host" "no Sentinel answers; it is the last master this node knew, and it leads"
  elif [ "$recorded_host" != "$CACHE_SELF" ]; then
    reason="no Sentinel answers, and the last master this node knew, $recorded_host, does not answer as master"
    return 1
  elif [ -n "$PEERS_MASTER" ]; then
    reason="no Sentinel answers; this node was the last master it knew, but there is another:$PEERS_MASTER"
    return 1
  elif has_data; then
    lead "no Sentinel answers, this node was the last master it knew, and its data is here"
  else
    reason="no Sentinel answers; this node was the last master it knew, but its data is gone"
    return 1
  fi
}

decide_first_start() {
  if [ "$CACHE_SELF" != "${CACHE_REDIS_HOSTS%% *}" ]; then
    reason="no Sentinel answers, no master is on record, and only ${CACHE_REDIS_HOSTS%% *} may start a new set"
    return 1
  elif has_data; then
    reason="no Sentinel answers, and no master is on record although there is data here"
    return 1
  elif [ -n "$PEERS_WITH_DATA$PEERS_MASTER" ]; then
    reason="no Sentinel answers, no master is on record, and peers have data or lead:$PEERS_WITH_DATA$PEERS_MASTER"
    return 1
  fi
  lead "first start of the set: no Sentinel, no record and no data anywhere"
  # The record lets this node lead again if it crashes before a Sentinel has seen it.
  record_master "$CACHE_SELF"
}

# A restore of the whole set: nobody else is asked, because everybody else has the data that is to go. The node that the
# mark names leads only if this very restore has written to its disk.
decide_by_restore() {
  restore_id=${1% *} restore_host=${1#* } restore_data=''
  contains "$CACHE_REDIS_HOSTS" "$restore_host" || die "restore $restore_id: $restore_host is not in this set"
  if [ "$restore_host" = "$CACHE_SELF" ]; then
    [ ! -r "$CACHE_DATA_DIR/restore-data" ] || IFS= read -r restore_data <"$CACHE_DATA_DIR/restore-data" || true
    [ "$restore_data" = "$restore_id" ] || die "restore $restore_id: its data is not on this disk"
    has_data || die "restore $restore_id: its data is not complete"
    lead "restore $restore_id: its data is here"
  else
    follow "$restore_host" "restore $restore_id: it has the data"
  fi
  { record_master "$restore_host" && obey_restore "$1"; } ||
    die "restore $restore_id: the data directory cannot be written"
}

# Redis ignores dump.rdb while the AOF is on and would start empty: a lone dump becomes the base of a new AOF.
adopt_dump() {
  if [ -s "$CACHE_DATA_DIR/dump.rdb" ] && [ ! -e "$MANIFEST" ] && [ ! -s "$CACHE_DATA_DIR/appendonly.aof" ]; then
    mkdir -p "$AOF_DIR"
    cp "$CACHE_DATA_DIR/dump.rdb" "$AOF_DIR/appendonly.aof.1.base.rdb"
    echo 'file appendonly.aof.1.base.rdb seq 1 type b' >"$MANIFEST.new"
    mv "$MANIFEST.new" "$MANIFEST"
    log "dump.rdb without an AOF: it is the base of a new AOF now"
  fi
}

# Redis refuses to start on a broken AOF. Only a short tail of the last increment is ours to cut off: that is what a
# power loss leaves behind. Anything else (a longer loss, a broken base, at which Redis stops by its own checksum) is
# for a person to judge. The increment is checked alone: Valkey's check does not know the header of its own base files.
check_aof() {
  check_last=$(aof_file i)
  [ -n "$check_last" ] && [ -e "$AOF_DIR/$check_last" ] || return 0
  if check_report=$("$REDIS_CHECK_AOF" "$AOF_DIR/$check_last" 2>&1); then return 0; fi
  check_diff=$(printf '%s\n' "$check_report" | sed -n 's/^AOF analyzed: .* diff=\([0-9]*\)$/\1/p')
  [ -n "$check_diff" ] || die "$check_last could not be checked: $(printf '%s' "$check_report" | tail -n 1)"
  [ "$check_diff" -le "$AOF_REPAIR_MAX" ] ||
    die "$check_last is broken $check_diff bytes before its end; at most $AOF_REPAIR_MAX may be cut off"
  check_copy=$CACHE_DATA_DIR/$check_last.tail-$(date -u +%Y%m%dT%H%M%SZ)
  tail -c "$check_diff" "$AOF_DIR/$check_last" >"$check_copy"
  echo y | "$REDIS_CHECK_AOF" --fix "$AOF_DIR/$check_last" >/dev/null 2>&1 || die "$check_last could not be repaired"
  log "AOF repaired: the last $check_diff bytes of $check_last were cut off and kept in ${check_copy##*/}"
}

write_configuration() {
  render "${CACHE_CONF_FILE%/*}/users.acl" >"$CACHE_RUN_DIR/users.acl.new" || die "users.acl could not be rendered"
  {
    render "$CACHE_CONF_FILE" && { [ -z "$MASTER" ] || echo "replicaof $MASTER $CACHE_REDIS_PORT"; }
  } >"$CACHE_RUN_DIR/redis.conf.new" || die "redis.conf could not be rendered"
  mv "$CACHE_RUN_DIR/users.acl.new" "$CACHE_RUN_DIR/users.acl"
  mv "$CACHE_RUN_DIR/redis.conf.new" "$CACHE_RUN_DIR/redis.conf"
}

await_own_name
restore=$(restore_mark)
if [ -n "$restore" ]; then decide_by_restore "$restore"; else decide; fi
adopt_dump
check_aof
write_configuration
exec "$REDIS_SERVER" "$CACHE_RUN_DIR/redis.conf"
