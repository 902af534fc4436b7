#!/bin/sh
# Puts a backup of deploy/backup.sh in the place of the stack's database. What it means for running instances stands in
# docs/operations.md: read it first.
#
#   deploy/restore.sh <file>
#
# The API serves until the backup is in a database of its own; a backup that cannot be restored changes nothing. The old
# database stays, under another name. Run it where you run docker-compose, as deploy/backup.sh.
set -eu

COMPOSE=${COMPOSE:-docker-compose}
file=${1:?usage: deploy/restore.sh FILE}
[ -r "$file" ] || { echo "restore: cannot read $file" >&2 && exit 1; }
before=_before_$(date -u +%Y%m%dT%H%M%SZ)

main() {
  # One that has just been made is not ready yet.
  in_postgres 'timeout 60 sh -c "until pg_isready -q; do sleep 1; done"' </dev/null
  say "restoring $file beside the database that is in use"
  # shellcheck disable=SC2016  # for the shell in the container
  in_postgres 'dropdb --if-exists "${POSTGRES_DB}_restored" && createdb "${POSTGRES_DB}_restored" &&
    pg_restore --exit-on-error --single-transaction --no-owner --dbname "${POSTGRES_DB}_restored"' <"$file"
  say 'stopping the scheduler'
  compose stop scheduler
  trap start EXIT
  exchange
  say 'done. The database that was in use is kept; drop it when you are sure:'
  echo "  $COMPOSE exec postgres sh -c 'dropdb -U \"\$POSTGRES_USER\" \"\${POSTGRES_DB}$before\"'"
}

# Both or none. Fails while anybody is connected: replicas on other hosts have to be stopped by hand.
exchange() {
  # shellcheck disable=SC2016
  in_postgres "psql -qd postgres -v ON_ERROR_STOP=1 -v db=\"\$POSTGRES_DB\" -v old=\"\${POSTGRES_DB}$before\" -v new=\"\${POSTGRES_DB}_restored\"" <<'END'
BEGIN;
ALTER DATABASE :"db" RENAME TO :"old";
ALTER DATABASE :"new" RENAME TO :"db";
COMMIT;
END
}

# A stack that is not there yet is started by whoever restores into it.
start() {
  [ -z "$(compose ps -q scheduler)" ] || compose start scheduler
}

# Arguments: a command for the shell in the container.
in_postgres() {
  compose exec -T postgres sh -c "export PGHOST=127.0.0.1 PGUSER=\$POSTGRES_USER PGPASSWORD=\$POSTGRES_PASSWORD PGOPTIONS=--client-min-messages=warning; $1"
}

compose() {
  # shellcheck disable=SC2086  # may be two words
  $COMPOSE "$@"
}

say() { echo "restore: $*"; }

main
