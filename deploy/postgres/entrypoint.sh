#!/bin/sh
# Before the entrypoint of the postgres image: that one would make up a user when none is named, makes it a superuser, and
# takes POSTGRES_PASSWORD for a new database only. Here POSTGRES_USER is the API's role, which owns its database and is no
# superuser, and its password counts at every start, so that .env is the one place to change it.
#
# The superuser is called superuser. It has no password: only the socket in this container lets it log in.
set -eu

DIR=$(dirname "$0")
SEPARATED=${PGDATA:-}/roles-are-separated

main() {
  check_settings
  export APP_USER="$POSTGRES_USER"
  if [ -s "${PGDATA:-}/PG_VERSION" ]; then
    [ -e "$SEPARATED" ] || separate_roles
    # Postgres becomes its parent, and takes a child that ends with an error for a crash of its own.
    { set_password || echo "postgres: POSTGRES_PASSWORD could not be set for $APP_USER" >&2; } &
  fi
  # A new database: the image's entrypoint makes it, and calls make-role.sh, which takes the password away again.
  export POSTGRES_USER=superuser
  exec docker-entrypoint.sh "$@"
}

check_settings() {
  for name in POSTGRES_USER POSTGRES_PASSWORD; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || fail "$name is missing.
Write it into the file .env next to docker-compose.yml (.env.example shows all there are), or into the environment."
  done
  [ "$POSTGRES_USER" != superuser ] || fail 'POSTGRES_USER must not be superuser: the API is none.'
}

# Over the socket, where the image needs no password. The health check waits for it: it logs in as the API does.
set_password() {
  socket=/var/run/postgresql
  until pg_isready -q -h "$socket" -U superuser -d postgres; do sleep 0.2; done
  psql -qX -h "$socket" -U superuser -d postgres -v ON_ERROR_STOP=1 <<'END'
SET log_min_error_statement = panic;
\getenv user APP_USER
\getenv password POSTGRES_PASSWORD
ALTER ROLE :"user" PASSWORD :'password';
END
}

# A database of an earlier release, where the API was the superuser. Postgres listens on a socket of ours only, so that
# no other client connects meanwhile. Killed at any moment, the next start does it again.
separate_roles() {
  echo "postgres: $APP_USER is no superuser from now on; its database stays as it is" >&2
  socket=$(mktemp -d)
  chown postgres "$socket"
  as_postgres "pg_ctl -D '$PGDATA' -o \"-c listen_addresses='' -k $socket\" -w -t 3600 start >/dev/null"
  status=0
  PGHOST=$socket sh "$DIR/separate-roles.sh" || status=$?
  as_postgres "pg_ctl -D '$PGDATA' -m fast -w -t 600 stop >/dev/null"
  [ "$status" = 0 ] || fail "the API's role could not be separated from the superuser; nothing was changed"
  as_postgres "touch '$SEPARATED'"
}

as_postgres() {
  if [ "$(id -u)" = 0 ]; then su -s /bin/sh -c "$1" postgres; else sh -c "$1"; fi
}

# 78: a setting is wrong (EX_CONFIG).
fail() {
  echo "postgres: not started, because $*" >&2
  exit 78
}

main "$@"
