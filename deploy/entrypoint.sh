#!/bin/sh
# Of the scheduler's image. Says what is missing in words, before anything starts.
set -eu

missing=''
# Arguments: name, what it is.
need() {
  eval "value=\${$1:-}"
  [ -n "$value" ] || missing="$missing
  $1  $2"
}

check_settings() {
  # With a file of settings, or settings in S3, the program itself says what is missing there.
  [ -z "${ENV_FILE:-}${SECRETS_URI:-}" ] && [ ! -e .env ] || return 0
  if [ -z "${DATABASE_URL:-}" ]; then
    need POSTGRES_USER 'user of the database'
    need POSTGRES_PASSWORD 'its password'
  fi
  [ -n "${AUTH:-}" ] || need ADMIN_TOKEN 'bearer token for /v1; make one with: openssl rand -hex 32'
  need ENCRYPTION_KEY 'encrypts secrets in the database; make one with: openssl rand -base64 32'
  [ "${ROLE:-}" = api ] || need PUBLIC_URL 'where instances reach this API, like http://10.0.0.10'
  [ -n "$missing" ] || return 0
  echo "scheduler: not started, because settings are missing:$missing
Write them into the file .env next to docker-compose.yml (.env.example shows all there are), or into the environment." >&2
  exit 78
}

# Of docker-compose.agents.yml: the pins are in a file, which is written before anything starts that depends on it.
read_pins() {
  [ -z "${AGENT_PINS:-}" ] && [ -n "${AGENT_PINS_FILE:-}" ] || return 0
  seconds=30
  until [ -s "$AGENT_PINS_FILE" ]; do
    seconds=$((seconds - 1))
    if [ "$seconds" = 0 ]; then
      echo "scheduler: not started, because $AGENT_PINS_FILE does not appear: did agent-keys run?" >&2
      exit 78
    fi
    sleep 1
  done
  AGENT_PINS=$(cat "$AGENT_PINS_FILE")
  export AGENT_PINS
}

case "$*" in
  *dist/main.js*)
    check_settings
    read_pins
    ;;
esac
exec "$@"
