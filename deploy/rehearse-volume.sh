#!/bin/sh
# Rehearses with a volume made from a snapshot on AWS: a Postgres without a network recovers from it, and what it then
# dumps is rehearsed as any dump. `scheduler-deploy restore snap-… --rehearse` attaches the volume to the API's instance, has
# that run this, and takes the volume away.
#
#   VOLUME_ID=vol-… deploy/rehearse-volume.sh
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/on-instance.sh
. deploy/on-instance.sh
DEVICE_SECONDS=60
RECOVERY_SECONDS=1200

main() {
  lock_restores
  # Docker has to see it as well: not in /tmp, which may be this service's own.
  work=$(mktemp -d "${PWD%/*}/rehearsal.XXXXXX")
  container=
  trap take_away EXIT
  trap 'exit 1' HUP INT TERM
  find_device
  mkdir "$work/volume"
  mount "$device" "$work/volume"
  [ -d "$work/volume/postgres" ] || fail 'the snapshot holds no data of Postgres'
  dump
  take_volume_away
  sh deploy/restore.sh --rehearse "$work/snapshot.dump"
}

# On Nitro instances the device gets another name than was requested; the volume's id is in the device's serial number.
find_device() {
  until=$(($(date +%s) + DEVICE_SECONDS))
  while :; do
    for device in "${DEVICE_DIR:-/dev}/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol${VOLUME_ID#vol-}" "${DEVICE_DIR:-/dev}/xvdr" "${DEVICE_DIR:-/dev}/sdr"; do
      if [ -e "$device" ]; then return; fi
    done
    [ "$(date +%s)" -lt "$until" ] || fail "$VOLUME_ID does not appear on this instance"
    sleep "${POLL_SECONDS:-1}"
  done
}

dump() {
  # shellcheck disable=SC2086  # several words
  postgres=$($COMPOSE ps -q postgres)
  image=$(docker inspect --format '{{.Config.Image}}' "$postgres")
  # shellcheck disable=SC2016  # for the shell in the container
  database=$(docker exec "$postgres" sh -c 'printf %s "$POSTGRES_DB"')
  echo 'restore: Postgres recovers from the snapshot'
  container=$(docker run -d --network none --memory 512m -v "$work/volume/postgres:/var/lib/postgresql" "$image")
  docker exec "$container" timeout "$RECOVERY_SECONDS" sh -c 'until pg_isready -q -h /var/run/postgresql; do sleep 1; done' || {
    docker logs --tail 20 "$container" >&2
    fail 'Postgres does not recover from the snapshot: its last words are above'
  }
  docker exec "$container" pg_dump -h /var/run/postgresql -U superuser --format custom "$database" >"$work/snapshot.dump"
}

take_away() {
  take_volume_away
  rm -rf "$work"
}

take_volume_away() {
  if [ -n "$container" ]; then docker rm -f "$container" >/dev/null; fi
  container=
  if mountpoint -q "$work/volume"; then umount "$work/volume"; fi
}

main
