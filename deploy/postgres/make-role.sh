#!/bin/sh
# By the entrypoint of the postgres image, once, after it has made a new database and before anybody can connect.
set -e
psql -qX -h /var/run/postgresql -U superuser -d "$POSTGRES_DB" -v ON_ERROR_STOP=1 <<'END'
SET log_min_error_statement = panic;
\getenv app APP_USER
\getenv password POSTGRES_PASSWORD
\getenv database POSTGRES_DB
CREATE ROLE :"app" LOGIN PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO :"app";
ALTER ROLE superuser PASSWORD NULL;
END
touch "$PGDATA/roles-are-separated"
