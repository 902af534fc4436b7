#!/bin/sh
# Before the entrypoint of the postgres image: that one would make up a user when none is named.
set -eu

for name in POSTGRES_USER POSTGRES_PASSWORD; do
  eval "value=\${$name:-}"
  [ -n "$value" ] && continue
  echo "postgres: not started, because $name is missing.
Write it into the file .env beside docker-compose.yml (.env.example shows all there are), or into the environment." >&2
  exit 78
done
exec docker-entrypoint.sh "$@"
