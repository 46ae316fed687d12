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

# redis HOST COMMAND...: as the user app.
redis() {
  asked=$1
  shift
  # shellcheck disable=SC2086  # TLS holds several options, or none
  REDISCLI_AUTH=$(cat /secrets/app) timeout 2 redis-cli ${TLS:-} --user app -h "$asked" -p "$PORT" "$@"
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
