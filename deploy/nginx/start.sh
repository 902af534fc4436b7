#!/bin/sh
# Before the entrypoint of the nginx image. nginx looks up an upstream's name only when it reads its configuration, and
# a name in a variable, which is looked up again, has no kept connections. So this reads the configuration again when
# the scheduler has moved: a new container, one more replica.
set -eu

addresses() { getent hosts "${1:-}" | sort; }

# Without an address nginx would not even start.
until known=$(addresses "$SCHEDULER_HOST") && [ -n "$known" ]; do sleep 1; done

follow() {
  while sleep 2; do
    found=$(addresses "$SCHEDULER_HOST")
    # No answer means that it is being replaced: there is nowhere else to go yet.
    if [ -z "$found" ] || [ "$found" = "$known" ]; then continue; fi
    echo "the scheduler moved to $(echo "$found" | awk '{ printf "%s ", $1 }')" >&2
    if nginx -c /etc/nginx/conf.d/nginx.conf -s reload; then known=$found; fi
  done
}
follow &
exec /docker-entrypoint.sh "$@"
