#!/bin/sh
# Starts one Sentinel. What it had learnt (master, epochs, replicas, other Sentinels) is kept over a restart; addresses,
# passwords and policy are rendered afresh each time.
#
# A Sentinel without memory never invents a master: it takes the one that most Sentinels name, else the only master
# among the Redis nodes, and waits until there is one. SENTINEL RESET is never used: it forgets replicas that exist.
#
# Time budget in seconds, besides those of ask.sh:
#   CACHE_MASTER_S 300   until a first master is found
set -eu
# shellcheck source=infra/files/ask.sh
. "${0%/*}/ask.sh"
: "${CACHE_DATA_DIR:?is the data directory}" "${CACHE_CONF_FILE:?is the path of sentinel.conf}"
REDIS_SERVER=${REDIS_SERVER:-redis-server}
MASTER_S=${CACHE_MASTER_S:-300}
LISTEN_PORT=$CACHE_SENTINEL_PORT
STATE=$CACHE_DATA_DIR/sentinel.conf
MASTER=''

# remembered WORD...: the lines of the kept state that begin so.
remembered() {
  [ ! -r "$STATE" ] || grep -E "^sentinel $*( |\$)" "$STATE" || true
}

# Prints the master of the kept state, if it is one of our own nodes.
remembered_master() {
  remembered monitor "$CACHE_SET" | while read -r _ _ _ known_master _; do
    if contains "$CACHE_REDIS_HOSTS" "$known_master"; then echo "$known_master"; fi
  done
}

# Prints the one Redis node that says it is the master; nothing if there is none, or more than one.
only_master() {
  masters=''
  for candidate in $CACHE_REDIS_HOSTS; do
    [ "$(ask_redis "$candidate" ROLE | head -n 1)" != master ] || masters="$masters $candidate"
  done
  [ "$(count "$masters")" != 1 ] || echo "${masters# }"
}

# After a restore of the whole set the master is the restored node, whatever this Sentinel remembers. The rest of its
# memory (epochs, replicas, other Sentinels) stays true.
find_master() {
  restore=$(restore_mark)
  MASTER=${restore#* }
  if [ -n "$MASTER" ]; then
    contains "$CACHE_REDIS_HOSTS" "$MASTER" || die "restore ${restore% *}: $MASTER is not in this set"
    obey_restore "$restore" || die "restore ${restore% *}: the data directory cannot be written"
    log "decision: monitor $MASTER: restore ${restore% *}"
    return
  fi
  MASTER=$(remembered_master)
  if [ -n "$MASTER" ]; then
    log "decision: monitor $MASTER: remembered"
    return
  fi
  find_end=$(($(now) + MASTER_S))
  log "waiting: nothing is remembered, and a first master is looked for"
  while [ "$(now)" -lt "$find_end" ]; do
    verdict=$(poll_sentinels)
    candidate=$(only_master)
    case $verdict in
      "majority "*)
        MASTER=${verdict#majority }
        log "decision: monitor $MASTER: most Sentinels name it"
        return
        ;;
      # One other Sentinel that names the same node is an agreement; one that names another is a reason to wait.
      silent | "conflict named: $candidate, "*)
        if [ -n "$candidate" ]; then
          MASTER=$candidate
          log "decision: monitor $MASTER: the only master among the Redis nodes"
          return
        fi
        ;;
    esac
    sleep "$POLL_S"
  done
  die "no master was found within $MASTER_S s"
}

# The kept knowledge, restricted to our own set and without duplicates. Another id for a known host is a leftover of a
# Sentinel that no longer exists; it would count as a voter that never votes.
learnt() {
  for epoch in config-epoch leader-epoch; do
    remembered "$epoch" "$CACHE_SET" | tail -n 1
  done
  remembered current-epoch | tail -n 1
  for host in $CACHE_REDIS_HOSTS; do
    [ "$host" = "$MASTER" ] || remembered "known-replica $CACHE_SET $host $CACHE_REDIS_PORT" | tail -n 1
  done
  for host in $CACHE_SENTINEL_HOSTS; do
    [ "$host" = "$CACHE_SELF" ] ||
      remembered "known-sentinel $CACHE_SET $host $CACHE_SENTINEL_PORT $(identity "$host")" | tail -n 1
  done
}

find_master
{ render "$CACHE_CONF_FILE" && learnt; } >"$STATE.new" || die "sentinel.conf could not be rendered"
mv "$STATE.new" "$STATE"
exec "$REDIS_SERVER" "$STATE" --sentinel
