# What an application does, in shell: ask the Sentinels for the master, write there, and ask again when a write fails.
# Sourced in the client pod.

# sentinel HOST COMMAND...
sentinel() {
  asked=$1
  shift
  # shellcheck disable=SC2086  # TLS holds several options, or none
  REDISCLI_AUTH=$(cat /secrets/sentinel-auth) timeout 2 redis-cli ${TLS:-} -h "$asked" -p "$SENTINEL_PORT" "$@"
}

find_master() {
  sentinel "$SENTINEL_HOST" SENTINEL get-master-addr-by-name "$SET" | head -n 1
}

# redis HOST COMMAND...: as the user app; CALL_SECONDS for a call that takes more than an application would wait.
redis() {
  asked=$1
  shift
  # shellcheck disable=SC2086  # TLS holds several options, or none
  REDISCLI_AUTH=$(cat /secrets/app) timeout "${CALL_SECONDS:-2}" redis-cli ${TLS:-} --user app -h "$asked" -p "$PORT" "$@"
}

# What the pod does: it waits for /scratch/start, and writes from then on until /scratch/stop appears.
serve() {
  trap 'exit 0' TERM
  while :; do
    if [ -e /scratch/start ]; then
      rm -f /scratch/stop /scratch/done /scratch/acknowledged /scratch/failed /scratch/start
      writer
    fi
    sleep 0.2
  done
}

# Writes until /scratch/stop appears; each acknowledged write goes to /scratch/acknowledged with its time,
# each failed one to /scratch/failed.
writer() {
  master=$(find_master)
  number=0
  until [ -e /scratch/stop ]; do
    number=$((number + 1))
    if [ "$(redis "$master" SET "written:$number" "$number" 2>/dev/null)" = OK ]; then
      echo "$number $(date +%s.%N)" >>/scratch/acknowledged
    else
      echo "$number $(date +%s.%N)" >>/scratch/failed
      master=$(find_master || true)
    fi
  done
  touch /scratch/done
}

# Prints the acknowledged writes that HOST does not have.
lost_at() {
  cut -d ' ' -f 1 /scratch/acknowledged >/scratch/numbers
  sed 's/^/GET written:/' /scratch/numbers | redis "$1" --raw >/scratch/values
  diff /scratch/numbers /scratch/values | grep '^<' || true
}

# fill HOST N: N keys, every third of them without a TTL.
fill() {
  seq 1 "$2" | awk '{print "SET key:" $1 " value-of-" $1 ($1 % 3 ? " EX " 7200 + $1 : "")}' |
    CALL_SECONDS=60 redis "$1" --pipe >/dev/null
}

# digest HOST N: how many of the N keys of fill HOST has, and a digest of their values and times of expiry.
digest() {
  script='local count, seen = 0, {}
    for number = tonumber(ARGV[1]), tonumber(ARGV[1]) + 999 do
      local key = "key:" .. number
      count = count + redis.call("EXISTS", key)
      seen[#seen + 1] = (redis.call("GET", key) or "") .. " " .. redis.call("PEXPIRETIME", key)
    end
    return count .. " " .. redis.sha1hex(table.concat(seen, ","))'
  for first in $(seq 1 1000 "$2"); do CALL_SECONDS=30 redis "$1" EVAL_RO "$script" 0 "$first"; done >/scratch/digests
  awk '{ count += $1 } END { printf "%d keys ", count }' /scratch/digests
  sha256sum </scratch/digests
}

# knock PASSWORD HOST PORT [USER]: prints who asked whom, and what the answer to a PING was.
knock() {
  # shellcheck disable=SC2086  # TLS holds several options, or none
  said=$(REDISCLI_AUTH=$1 timeout 2 redis-cli ${TLS:-} ${4:+--user "$4"} -h "$2" -p "$3" PING 2>&1 | tr '\n' ' ')
  echo "${4:+$4@}$2 $said"
}
