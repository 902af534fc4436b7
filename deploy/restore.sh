#!/bin/sh
# Puts a backup of deploy/backup.sh in the place of the stack's database. What it means for running instances is in
# docs/operations.md: read it first.
#
#   deploy/restore.sh FILE
#   deploy/restore.sh --rehearse FILE     changes nothing: says whether the backup could be restored, and what is in it
#
# The API serves until the backup is in a database of its own; a backup that cannot be restored changes nothing. The old
# database stays, under another name. Run it where you run docker-compose, as deploy/backup.sh.
set -eu

COMPOSE=${COMPOSE:-docker-compose}
rehearse=
if [ "${1:-}" = --rehearse ]; then
  rehearse=1
  shift
fi
file=${1:?usage: deploy/restore.sh [--rehearse] FILE}
[ -r "$file" ] || { echo "restore: cannot read $file" >&2 && exit 1; }
before=_before_$(date -u +%Y%m%dT%H%M%SZ)
started=$(date +%s)
# A signal must not leave the scheduler stopped, or a rehearsal's database behind.
trap 'exit 1' HUP INT TERM

main() {
  # One that has just been made is not ready yet; while it is made it answers on its socket only.
  in_postgres 'timeout 60 sh -c "until pg_isready -q -h 127.0.0.1; do sleep 1; done"' </dev/null
  check_space
  if [ -n "$rehearse" ]; then rehearse; else restore; fi
}

restore() {
  say "restoring $file next to the database in use"
  restore_beside _restored
  say 'stopping the scheduler'
  compose stop scheduler
  trap start EXIT
  exchange
  say 'done. The database that was in use is kept; drop it when you are sure:'
  echo "  $COMPOSE exec postgres sh -c 'dropdb -U superuser \"\${POSTGRES_DB}$before\"'"
}

# Into a database of its own: $1 behind the name of the one in use.
restore_beside() {
  in_postgres "dropdb --if-exists \"\${POSTGRES_DB}$1\" && createdb --owner \"\$POSTGRES_USER\" \"\${POSTGRES_DB}$1\" &&
    pg_restore --exit-on-error --single-transaction --no-owner --role \"\$POSTGRES_USER\" --dbname \"\${POSTGRES_DB}$1\"" <"$file"
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

# The caller starts a stack that is not there yet.
start() {
  [ -z "$(compose ps -q scheduler)" ] || compose start scheduler
}

# Another name than a restore's, so that the two never meet.
rehearse() {
  trap 'in_postgres "dropdb --if-exists \"\${POSTGRES_DB}_rehearsed\"" </dev/null' EXIT
  say "rehearsing with $file next to the database in use"
  restore_beside _rehearsed
  age=$(query "SELECT 'of ' || made || ' UTC, ' || date_trunc('second', now() AT TIME ZONE 'UTC' - made) || ' old' FROM (SELECT timestamp '$(made)' AS made) AS backup")
  content=$(query "SELECT format('%s jobs, %s deployments, %s events', (SELECT count(*) FROM jobs), (SELECT count(*) FROM deployments), (SELECT count(*) FROM events))")
  applied=$(query 'SELECT count(*) FROM migrations')
  start_with_it
  applied=$(($(query 'SELECT count(*) FROM migrations') - applied))
  say "it can be restored: $content; $age"
  say "this release can serve it: $applied migrations are missing, and $secrets encrypted values open with the present keys"
  say "nothing was changed; it took $(($(date +%s) - started)) s"
}

# When pg_dump wrote it. To the end of the file, else the writer of the pipe would fail.
made() {
  in_postgres 'pg_restore --list && cat >/dev/null' <"$file" | sed -n 's/^; *Archive created at \([0-9-]* [0-9:]*\).*/\1/p'
}

# What the API does with it when it starts. Then it encrypts every encrypted value again with a new key, after opening
# it. Into $secrets: how many.
start_with_it() {
  # shellcheck disable=SC2016  # for the shell in the container
  db=$(in_postgres 'printf %s "$POSTGRES_DB"' </dev/null)
  # shellcheck disable=SC2016
  if ! said=$(compose run --rm --no-deps -T -e DATABASE_URL= -e POSTGRES_HOST=postgres -e "POSTGRES_DB=${db}_rehearsed" scheduler sh -ec '
    if [ -n "${ENCRYPTION_KEY:-}" ]; then
      export ENCRYPTION_KEYS_OLD="$ENCRYPTION_KEY${ENCRYPTION_KEYS_OLD:+,$ENCRYPTION_KEYS_OLD}"
      export ENCRYPTION_KEY=$(node -p "crypto.randomBytes(32).toString(\"base64\")")
    fi
    node --input-type=module -e "const { MIGRATIONS } = await import(\"/app/dist/schema/migrations/index.js\");
      console.log(\"known: \" + MIGRATIONS.map(({ name }) => name).join(\",\"))"
    timeout 1800 node dist/main.js migrate
    timeout 1800 node dist/main.js rotate-keys' </dev/null 2>&1); then
    printf '%s\n' "$said" | tail -n 20 >&2
    fail 'this release cannot serve what is in it: the lines above say why'
  fi
  known=$(printf '%s\n' "$said" | tr -d '\r' | sed -n 's/^known: //p')
  newer=$(query "SELECT string_agg(name, ', ') FROM migrations WHERE name <> ALL (string_to_array('$known', ','))")
  [ -z "$newer" ] || fail "it is of a newer release, of which this one does not know $newer: deploy that release first"
  secrets=$(printf '%s\n' "$said" | sed -n 's/.*"resealed":\([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }')
}

# Of the rehearsal's database.
query() {
  # shellcheck disable=SC2016
  in_postgres 'PGOPTIONS="$PGOPTIONS -c search_path=\"scheduler-jobs\"" psql -qXAt -d "${POSTGRES_DB}_rehearsed" -v ON_ERROR_STOP=1' <<END
$1
END
}

# A full disk would stop the database that is in use. A dump is compressed, some five times, and restoring it writes as much
# to the journal, of which Postgres keeps a GiB.
check_space() {
  needed=$(($(wc -c <"$file") * 8 / 1024))
  journal=$((needed < 1048576 ? needed : 1048576))
  needed=$((needed + journal + 65536))
  # shellcheck disable=SC2016
  free=$(in_postgres 'df -Pk "$PGDATA"' </dev/null | awk 'END { print $4 }')
  [ "$free" -ge "$needed" ] ||
    fail "Postgres's disk has $((free / 1024)) MiB free, and to restore $file may take $((needed / 1024)): nothing was changed"
}

# Arguments: a command for the shell in the container. As the superuser, which connects over the socket only: the API's role
# may neither make nor rename databases.
in_postgres() {
  compose exec -T postgres sh -c "export PGHOST=/var/run/postgresql PGUSER=superuser PGOPTIONS=--client-min-messages=warning; $1"
}

compose() {
  # shellcheck disable=SC2086  # may be two words
  $COMPOSE "$@"
}

say() { echo "restore: $*"; }

fail() {
  echo "restore: $*" >&2
  exit 1
}

main
