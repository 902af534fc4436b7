#!/bin/sh
# Backs up the Postgres of the stack while it serves; the backup is consistent as of its start.
#
#   deploy/backup.sh [file]      default: scheduler-<UTC time>.dump
#
# Run it where you run docker-compose, with the same COMPOSE_FILE and COMPOSE_PROJECT_NAME. COMPOSE: 'docker compose' for v2.
set -eu
# It holds everything: names of secrets, hashes of tokens, the environment of every job.
umask 077

COMPOSE=${COMPOSE:-docker-compose}
file=${1:-scheduler-$(date -u +%Y%m%dT%H%M%SZ).dump}

# Arguments: a command for the shell in the container.
in_postgres() {
  # shellcheck disable=SC2086  # may be two words
  $COMPOSE exec -T postgres sh -c "export PGHOST=127.0.0.1 PGUSER=\$POSTGRES_USER PGPASSWORD=\$POSTGRES_PASSWORD; $1"
}

trap 'rm -f "$file.part"' EXIT
# shellcheck disable=SC2016  # for the shell in the container
in_postgres 'exec pg_dump --format custom "$POSTGRES_DB"' >"$file.part"
# Read back: what was cut off, by a full disk or a lost connection, is no backup.
if ! in_postgres 'pg_restore --file /dev/null' <"$file.part"; then
  echo "backup: $file.part cannot be read back, nothing was kept" >&2
  exit 1
fi
mv "$file.part" "$file"
echo "backup: $file, $(wc -c <"$file") bytes"
