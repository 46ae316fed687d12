# shellcheck shell=sh
# How the scripts of this directory ask Redis and Sentinel nodes, and what they make of the answers. Sourced, never run.
#
# Rules: passwords come from files and travel in the environment of redis-cli, never in an argument list. A call takes
# at most CACHE_CALL_S. An answer counts only if it is exactly what was expected: a host outside our own set is no
# answer. "No answer" and "another answer" are different things and are never mixed up.
#
# Time budgets (seconds) and programs, all from the environment:
#   CACHE_CALL_S 2       one call of redis-cli
#   CACHE_POLL_S 0.2     pause between two looks at something awaited
#   CACHE_FAILOVER_S 15  until a failover that we asked for has happened
# CACHE_TLS_DIR, if set, holds tls.crt, tls.key and ca.crt, and every call is encrypted.
#   REDIS_CLI redis-cli, REDIS_SERVER redis-server, REDIS_CHECK_AOF redis-check-aof

: "${CACHE_SET:?is the name of the Sentinel set}" "${CACHE_SELF:?is the name this node announces}"
: "${CACHE_REDIS_HOSTS:?lists the Redis hosts}" "${CACHE_REDIS_PORT:?is the port of Redis}"
: "${CACHE_SENTINEL_HOSTS:?lists the Sentinel hosts}" "${CACHE_SENTINEL_PORT:?is the port of Sentinel}"
: "${CACHE_SECRET_DIR:?holds one password file per user}"

REDIS_CLI=${REDIS_CLI:-redis-cli}
CALL_S=${CACHE_CALL_S:-2}
POLL_S=${CACHE_POLL_S:-0.2}
# shellcheck disable=SC2034  # read by the scripts that source this file
FAILOVER_S=${CACHE_FAILOVER_S:-15}
# shellcheck disable=SC2034
LOCAL_ADDRESS=${CACHE_BIND:-127.0.0.1}
NEWLINE='
'
FAILING_OVER='' # the Sentinel that replaces this node, once one does
umask 077 # whatever is written here may hold passwords

log() {
  printf '%s %s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${0##*/}" "$CACHE_SELF" "$*" >&2
}

die() {
  log "refused: $*"
  exit 1
}

now() {
  date +%s
}

# contains LIST WORD: is WORD one of the words of LIST?
contains() {
  case " $1 " in *" $2 "*) return 0 ;; esac
  return 1
}

# count LIST: how many words?
count() {
  # shellcheck disable=SC2086  # split on purpose
  set -- $1
  echo $#
}

# secret NAME: the password in the file NAME. Only characters that mean nothing to a configuration file are allowed.
secret() {
  secret_value=''
  if [ -r "$CACHE_SECRET_DIR/$1" ]; then
    IFS= read -r secret_value <"$CACHE_SECRET_DIR/$1" || true # a file without a final newline is fine
  fi
  case $secret_value in
    '' | *[!A-Za-z0-9_.~+/=-]*)
      log "secret file $1: one line of A-Z a-z 0-9 _ . ~ + / = - is needed in the secret directory"
      return 1
      ;;
  esac
  printf '%s' "$secret_value"
}

# hashes NAME: "#" and the SHA-256 of the password NAME, and of its alternate NAME.alt if there is one: while passwords
# are rotated both are valid. The ACL knows no password in clear text.
hashes() {
  for hashes_name in "$1" "$1.alt"; do
    [ "$hashes_name" = "$1" ] || [ -e "$CACHE_SECRET_DIR/$hashes_name" ] || continue
    hashes_password=$(secret "$hashes_name") || return 1
    [ "$hashes_name" = "$1" ] || printf ' '
    printf '#%s' "$(printf '%s' "$hashes_password" | sha256sum | cut -c 1-64)"
  done
}

# call PASSWORD ARGUMENT...: one call of redis-cli.
call() {
  call_password=$1
  shift
  if [ -n "${CACHE_TLS_DIR:-}" ]; then
    set -- --tls --cacert "$CACHE_TLS_DIR/ca.crt" --cert "$CACHE_TLS_DIR/tls.crt" --key "$CACHE_TLS_DIR/tls.key" "$@"
  fi
  REDISCLI_AUTH=$call_password timeout "$CALL_S" "$REDIS_CLI" "$@" 2>/dev/null
}

# ask_redis HOST COMMAND...: as the user ops.
ask_redis() {
  ask_redis_as ops "$@"
}

# ask_redis_as USER HOST COMMAND...
ask_redis_as() {
  ask_user=$1 ask_host=$2
  shift 2
  ask_password=$(secret "$ask_user") || return 1
  call "$ask_password" --user "$ask_user" -h "$ask_host" -p "$CACHE_REDIS_PORT" "$@"
}

# ask_sentinel HOST COMMAND...
ask_sentinel() {
  ask_host=$1
  shift
  ask_password=$(secret sentinel-auth) || return 1
  call "$ask_password" -h "$ask_host" -p "$CACHE_SENTINEL_PORT" "$@"
}

# info_of HOST: INFO of a Redis node that has finished loading, without carriage returns; fails for any other answer.
info_of() {
  info_text=$(ask_redis "$1" INFO | tr -d '\r')
  [ "$(field loading "$info_text")" = 0 ] || return 1
  printf '%s\n' "$info_text"
}

# field NAME TEXT: the value of "NAME:value" in an INFO text.
field() {
  field_rest=$NEWLINE$2
  case $field_rest in *"$NEWLINE$1:"*) ;; *) return 0 ;; esac
  field_rest=${field_rest#*"$NEWLINE$1:"}
  printf '%s' "${field_rest%%"$NEWLINE"*}"
}

# has_keys TEXT: does this INFO text report keys?
has_keys() {
  case $1 in *"${NEWLINE}db"[0-9]*:keys=[1-9]*) return 0 ;; esac
  return 1
}

# known_offset TEXT: is this the INFO text of a replica that knows how far it has come?
known_offset() {
  [ "$(field role "$1")" = slave ] && [ "$(field slave_repl_offset "$1")" -gt 0 ] 2>/dev/null
}

# peers: every Redis host but this one.
peers() {
  for peer in $CACHE_REDIS_HOSTS; do
    [ "$peer" = "$CACHE_SELF" ] || printf '%s ' "$peer"
  done
}

# named_by SENTINEL: the host of our set that this Sentinel names as master. Prints nothing if there was no answer;
# prints "?" and what was said if the answer is none we can use.
named_by() {
  if ! named_reply=$(ask_sentinel "$1" SENTINEL get-master-addr-by-name "$CACHE_SET") && [ -z "$named_reply" ]; then
    return
  fi
  for named_host in $CACHE_REDIS_HOSTS; do
    if [ "$named_reply" = "$named_host$NEWLINE$CACHE_REDIS_PORT" ]; then
      printf '%s' "$named_host"
      return
    fi
  done
  printf '? %s says "%s"' "$1" "$(printf '%s' "$named_reply" | tr '\n' ' ')"
}

# poll_sentinels: asks each Sentinel by its own name (never through a Service that may answer twice for one) and prints
#   majority HOST   more than half of all configured Sentinels name HOST
#   silent          not one of them answered
#   conflict TEXT   anything else
poll_sentinels() {
  poll_named='' poll_odd=''
  for poll_sentinel in $CACHE_SENTINEL_HOSTS; do
    poll_answer=$(named_by "$poll_sentinel")
    case $poll_answer in
      '') ;;
      '?'*) poll_odd="$poll_odd; ${poll_answer#? }" ;;
      *) poll_named="$poll_named $poll_answer" ;;
    esac
  done
  poll_needed=$(($(count "$CACHE_SENTINEL_HOSTS") / 2 + 1))
  for poll_host in $CACHE_REDIS_HOSTS; do
    if [ "$(count_of "$poll_host" "$poll_named")" -ge "$poll_needed" ]; then
      echo "majority $poll_host"
      return
    fi
  done
  if [ -z "$poll_named$poll_odd" ]; then
    echo silent
  else
    echo "conflict named:${poll_named:- nobody}, needed: $poll_needed equal answers$poll_odd"
  fi
}

# count_of WORD LIST: how often does WORD stand in LIST?
count_of() {
  count_total=0
  for count_word in $2; do
    [ "$count_word" != "$1" ] || count_total=$((count_total + 1))
  done
  echo $count_total
}

# failover_at SENTINEL: what this Sentinel makes of this node:
#   running   it replaces this node
#   idle      this node is its master, and it does nothing about that
#   NOTHING   no answer
#   elsewhere another node is its master, or still is: a failover ends when all replicas follow, and until then the
#             Sentinel refuses the next one (INPROG) although it names the new master already
failover_at() {
  at_reply=$(ask_sentinel "$1" SENTINEL MASTER "$CACHE_SET" || true)
  case $NEWLINE$at_reply$NEWLINE in
    "$NEWLINE$NEWLINE") ;;
    *"${NEWLINE}ip$NEWLINE$CACHE_SELF$NEWLINE"*failover_in_progress*) echo running ;;
    *"${NEWLINE}ip$NEWLINE$CACHE_SELF$NEWLINE"*) echo idle ;;
    *) echo elsewhere ;;
  esac
}

# bring_about_failover TRIES: lets one Sentinel replace this node; FAILING_OVER is the one that does. Tries again
# because Sentinels answer NOGOODSLAVE while they have not heard of their replicas lately, which passes.
bring_about_failover() {
  bring_tries=$1
  until begin_failover; do
    bring_tries=$((bring_tries - 1))
    [ $bring_tries -gt 0 ] || return 1
    sleep "$POLL_S"
  done
}

# A Sentinel that is asked for a failover does not ask the others: if one of them is at it already, each would promote a
# replica of its own choice. Only those that answer and have this node as their master are asked.
begin_failover() {
  begin_idle=''
  for FAILING_OVER in $CACHE_SENTINEL_HOSTS; do
    case $(failover_at "$FAILING_OVER") in
      running)
        log "a failover is in progress at $FAILING_OVER already"
        return 0
        ;;
      idle) begin_idle="$begin_idle $FAILING_OVER" ;;
      elsewhere) log "not asked for a failover: $FAILING_OVER, which does not have this node as its master (yet)" ;;
      *) log "not asked for a failover: $FAILING_OVER, which does not answer" ;;
    esac
  done
  for FAILING_OVER in $begin_idle; do
    begin_reply=$(ask_sentinel "$FAILING_OVER" SENTINEL FAILOVER "$CACHE_SET" || true)
    case $begin_reply in
      OK | *INPROG*) log "failover accepted by $FAILING_OVER ($begin_reply)" ;; # one that began just now is ours, too
      '') log "no answer of $FAILING_OVER to the failover: it may have begun, so no other Sentinel is asked" ;;
      *)
        log "failover not accepted by $FAILING_OVER: $begin_reply"
        continue
        ;;
    esac
    return 0
  done
  FAILING_OVER=''
  return 1
}

# await_other_master SECONDS: waits until most Sentinels name another node than this one, and prints it. Gives up early
# if the Sentinel FAILING_OVER has abandoned its failover.
await_other_master() {
  await_end=$(($(now) + $1))
  while :; do
    await_state=''
    [ -z "$FAILING_OVER" ] || await_state=$(failover_at "$FAILING_OVER")
    await_verdict=$(poll_sentinels)
    case $await_verdict in
      "majority $CACHE_SELF") ;;
      "majority "*)
        echo "${await_verdict#majority }"
        return 0
        ;;
    esac
    if [ "$await_state" = idle ]; then
      log "$FAILING_OVER has abandoned the failover"
      return 1
    fi
    [ "$(now)" -lt "$await_end" ] || return 1
    sleep "$POLL_S"
  done
}

# record_master HOST: remembers the master for a start at which no Sentinel answers. Written only when it changed.
record_master() {
  record_file=$CACHE_DATA_DIR/last-master
  [ "$(recorded_master)" = "$1" ] && return 0
  printf '%s\n' "$1" >"$record_file.new" && mv "$record_file.new" "$record_file"
}

recorded_master() {
  recorded=''
  [ ! -r "$CACHE_DATA_DIR/last-master" ] || IFS= read -r recorded <"$CACHE_DATA_DIR/last-master" || true
  printf '%s' "$recorded"
}

# restore_mark: prints "ID HOST" if a restore of the whole set waits for this node, that is, if the mark that all nodes
# see names a restore that this node has not obeyed yet (infra/jobs). A mark that cannot be read is none.
restore_mark() {
  mark_id='' mark_host='' mark_obeyed=''
  [ -r "${CACHE_RESTORE_DIR:-}/mark" ] || return 0
  read -r mark_id mark_host <"$CACHE_RESTORE_DIR/mark" || true
  [ ! -r "$CACHE_DATA_DIR/restore-obeyed" ] || IFS= read -r mark_obeyed <"$CACHE_DATA_DIR/restore-obeyed" || true
  if [ -z "$mark_host" ] || [ "$mark_id" = "$mark_obeyed" ]; then return 0; fi
  printf '%s %s' "$mark_id" "$mark_host"
}

# obey_restore MARK: remembers that this node has done what the mark says; later starts decide as always.
obey_restore() {
  printf '%s\n' "${1% *}" >"$CACHE_DATA_DIR/restore-obeyed.new" &&
    mv "$CACHE_DATA_DIR/restore-obeyed.new" "$CACHE_DATA_DIR/restore-obeyed"
}

# render TEMPLATE: prints the file with its placeholders filled in (infra/redis_conf.py lists them).
# Shell built-ins only, so that no password enters an argument list.
render() {
  while IFS= read -r render_line || [ -n "$render_line" ]; do
    case $render_line in
      *@*@*)
        render_tail=${render_line#*@}
        render_name=${render_tail%%@*}
        render_value=$(placeholder "$render_name") || return 1
        render_line="${render_line%%@*}$render_value${render_tail#*@}"
        ;;
    esac
    printf '%s\n' "$render_line"
  done <"$1"
}

placeholder() {
  case $1 in
    self) printf '%s' "$CACHE_SELF" ;;
    bind) printf '%s' "${CACHE_BIND:-* -::*}" ;;
    port) printf '%s' "$LISTEN_PORT" ;;
    data) printf '%s' "$CACHE_DATA_DIR" ;;
    run) printf '%s' "$CACHE_RUN_DIR" ;;
    tls) printf '%s' "$CACHE_TLS_DIR" ;;
    master) printf '%s %s' "$MASTER" "$CACHE_REDIS_PORT" ;;
    myid) identity "$CACHE_SELF" ;;
    password:*) secret "${1#*:}" ;;
    hashes:*) hashes "${1#*:}" ;;
    *)
      log "placeholder @$1@ in the configuration is not known"
      return 1
      ;;
  esac
}

# identity HOST: a Sentinel's id, the same after every restart. Random ids let a Sentinel count twice after it lost its
# disk, and then no majority is ever reached.
identity() {
  printf '%s/%s' "$CACHE_SET" "$1" | sha1sum | cut -c 1-40
}
