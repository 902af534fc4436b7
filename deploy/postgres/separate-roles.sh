#!/bin/sh
# Makes the first superuser of a database, which no statement can demote, one of its own, and gives its name and all that
# it made in POSTGRES_DB to a role without rights: APP_USER. PGHOST is the socket of a server that no other client reaches.
set -eu
export PGOPTIONS='--client-min-messages=warning'

if ! first=$(psql -qXAt -U "$APP_USER" -d postgres -c 'SELECT rolname FROM pg_roles WHERE oid = 10'); then
  echo "postgres: this database has no role $APP_USER: was POSTGRES_USER another one?" >&2
  exit 1
fi
psql -qX -U "$first" -d postgres -v ON_ERROR_STOP=1 -c 'DROP ROLE IF EXISTS separation' -c 'CREATE ROLE separation LOGIN SUPERUSER'

# Postgres does not rename the role that is logged in, hence the third one. All or nothing.
export FIRST_ROLE="$first"
psql -qX -U separation -d "$POSTGRES_DB" -v ON_ERROR_STOP=1 --single-transaction <<'END' >/dev/null
SET LOCAL log_min_error_statement = panic;
\getenv app APP_USER
\getenv first FIRST_ROLE
\getenv password POSTGRES_PASSWORD
\getenv database POSTGRES_DB

SELECT format('ALTER ROLE %I RENAME TO superuser', :'first') WHERE :'first' <> 'superuser' \gexec
ALTER ROLE superuser PASSWORD NULL;
SELECT format('CREATE ROLE %I LOGIN', :'app') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'app') \gexec
ALTER ROLE :"app" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO :"app";

CREATE TEMP TABLE ours ON COMMIT DROP AS
  SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema';
SELECT format('ALTER SCHEMA %I OWNER TO %I', nspname, :'app')
  FROM pg_namespace JOIN ours USING (oid) WHERE nspowner = 10 \gexec
-- Sequences of columns go with their tables, partitions do not.
SELECT format('ALTER %s %s OWNER TO %I',
    CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
    c.oid::regclass, :'app')
  FROM pg_class c JOIN ours ON ours.oid = relnamespace
  WHERE relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i') AND relkind = 'S')
  ORDER BY relkind <> 'p' \gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, :'app')
  FROM pg_proc p JOIN ours ON ours.oid = pronamespace WHERE proowner = 10 \gexec
SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, :'app')
  FROM pg_type t JOIN ours ON ours.oid = typnamespace WHERE typowner = 10 AND typtype IN ('e', 'd', 'r') \gexec
END
psql -qX -U superuser -d postgres -v ON_ERROR_STOP=1 -c 'DROP ROLE separation'
