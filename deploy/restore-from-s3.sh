#!/bin/sh
# Restores a backup of the bucket on AWS, by a link, as the instance's role may not read backups. `scheduler-deploy restore`
# has the API's instance run it (docs/operations.md, Without SSH).
#
#   BACKUP_URL=https://… BACKUP_BYTES=31809 deploy/restore-from-s3.sh [--rehearse]
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/on-instance.sh
. deploy/on-instance.sh
READY_URL=${READY_URL:-http://127.0.0.1/health/ready}
DOWNLOAD_SECONDS=1800
READY_SECONDS=600

main() {
  grep -q '^  postgres-data:' docker-compose.stack.yml || fail 'Postgres is not on this instance: restore it where it is'
  lock_restores
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  name=${BACKUP_URL%%\?*}
  backup=$work/${name##*/}
  get_backup
  sh deploy/restore.sh "$@" "$backup"
  [ -n "${1:-}" ] || wait_until_ready
}

get_backup() {
  free=$(df -Pk "$work" | awk 'END { print $4 }')
  [ "$free" -gt "$((BACKUP_BYTES / 1024 + 1024))" ] || fail "the disk has $((free / 1024)) MiB free, and the backup has $((BACKUP_BYTES / 1048576))"
  # The link in its standard input, as arguments can be seen by others.
  printf 'url = "%s"\n' "$BACKUP_URL" |
    curl -q --fail --silent --show-error --connect-timeout 10 --max-time "$DOWNLOAD_SECONDS" --speed-limit 1024 --speed-time 60 \
      --max-filesize "$BACKUP_BYTES" --output "$backup" --config - ||
    fail 'the backup could not be fetched. A 403 means that its link has ended: it is good for 15 minutes, and no longer than the session that made it'
  bytes=$(wc -c <"$backup")
  [ "$bytes" = "$BACKUP_BYTES" ] || fail "the backup was cut off: $bytes of $BACKUP_BYTES bytes came"
}

# It migrates what an older release wrote.
wait_until_ready() {
  until=$(($(date +%s) + READY_SECONDS))
  until curl -qfs --max-time 5 -o /dev/null "$READY_URL"; do
    [ "$(date +%s)" -lt "$until" ] || fail "the backup is restored, but the API is not ready after $READY_SECONDS s: scheduler-deploy logs scheduler"
    sleep "${POLL_SECONDS:-1}"
  done
  echo 'restore: the API serves again'
}

main "$@"
