# shellcheck shell=sh
# Of backup-to-s3.sh, restore-from-s3.sh and rehearse-volume.sh, which scheduler-deploy has the API's instance run, as root.
# Sourced by them, in the folder of the release.
umask 077
# As terraform/user-data/user-data.sh has it.
export COMPOSE='docker-compose --project-name scheduler -f docker-compose.yml -f docker-compose.agents.yml -f docker-compose.stack.yml'

# Kept open: another call is refused while it is locked, also where this one was killed and its restore goes on.
lock_restores() {
  exec 9>../restore.lock
  flock -n 9 || fail 'another restore or rehearsal is under way on this instance: wait until it has ended'
}

fail() {
  echo "restore: $*" >&2
  exit 1
}
