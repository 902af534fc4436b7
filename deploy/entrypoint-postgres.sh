#!/bin/sh
# Before the entrypoint of the postgres image: that one would make up a user when none is named, and takes
# POSTGRES_PASSWORD for a new database only. Here it counts at every start, so that .env is the one place to change it.
set -eu

for name in POSTGRES_USER POSTGRES_PASSWORD; do
  eval "value=\${$name:-}"
  [ -n "$value" ] && continue
  echo "postgres: not started, because $name is missing.
Write it into the file .env beside docker-compose.yml (.env.example shows all there are), or into the environment." >&2
  exit 78
done

# Over the socket, where the image asks for no password. The health check waits for it: it logs in as the scheduler does.
set_password() {
  socket=/var/run/postgresql
  until pg_isready -q -h "$socket" -U "$POSTGRES_USER" -d postgres; do sleep 0.2; done
  psql -qX -h "$socket" -U "$POSTGRES_USER" -d postgres -v ON_ERROR_STOP=1 <<'END'
SET log_min_error_statement = panic;
\getenv user POSTGRES_USER
\getenv password POSTGRES_PASSWORD
ALTER ROLE :"user" PASSWORD :'password';
END
}

if [ -s "${PGDATA:-}/PG_VERSION" ]; then
  # Postgres becomes its parent, and takes a child that ends with an error for a crash of its own.
  { set_password || echo "postgres: POSTGRES_PASSWORD could not be set for $POSTGRES_USER" >&2; } &
fi
exec docker-entrypoint.sh "$@"
