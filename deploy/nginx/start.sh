#!/bin/sh
# Before the entrypoint of the nginx image. nginx looks up an upstream's name only when it reads its configuration, and
# a name in a variable, which is looked up again, has no kept connections. So before the API this reads the configuration
# again when the scheduler has moved: a new container, one more replica.
set -eu

# Who may call the API, and who jobs. Before all else: what is wrong with a list is said at once, and no list is left out.
API_CALLERS=$(sh "${0%/*}/networks.sh" ALLOWED_CIDRS "${ALLOWED_CIDRS:-}")
JOB_CALLERS=$(sh "${0%/*}/networks.sh" INGRESS_CIDRS "${INGRESS_CIDRS:-}")
# Whom nginx believes who its callers are, and at which port. Without a port of its own the balancer comes to 80.
PROXY_NETWORKS=$(sh "${0%/*}/networks.sh" TRUSTED_PROXY "${TRUSTED_PROXY:-255.255.255.255}")
TRUSTED_PROXIES=$(echo "${PROXY_NETWORKS#default 0;}" | sed 's/ \([^ ]*\) 1;/ set_real_ip_from \1;/g')
BALANCER_PORT=${BALANCER_PORT:-80}
export API_CALLERS JOB_CALLERS PROXY_NETWORKS TRUSTED_PROXIES BALANCER_PORT

# Without the API's door nginx serves jobs alone, on a machine of its own: it looks hosts up through a server of itself, which
# asks for the name again and again (api-off.inc).
if [ "$API_LISTENER" = on ]; then
  LOOKUPS=$SCHEDULER_HOST:3000
  TLS_PORT=none
  SECOND_LISTENER=
  BALANCER_LISTENER=
  if [ "$BALANCER_PORT" != 80 ]; then
    SECOND_LISTENER=" listen $BALANCER_PORT;"
    BALANCER_LISTENER="listen $BALANCER_PORT default_server backlog=4096;"
  fi
  RESOLVER=
else
  LOOKUPS=127.0.0.1:8081
  TLS_PORT=81
  SECOND_LISTENER=" listen $TLS_PORT;"
  BALANCER_LISTENER=
  RESOLVER=$(awk '$1 == "nameserver" { print index($2, ":") ? "[" $2 "]" : $2; exit }' "${RESOLV_CONF:-/etc/resolv.conf}")
fi
export LOOKUPS TLS_PORT SECOND_LISTENER BALANCER_LISTENER RESOLVER

# Of a name with several addresses, that of two replicas, `getent hosts` of the image shows one, and at each look another
# one: the configuration would be read again for ever. `ahosts` shows all of them, here and elsewhere, several times each.
addresses() { getent ahosts "${1:-}" | awk '{ print $1 }' | sort -u; }

# Without an address nginx would not even start.
if [ "$API_LISTENER" = on ]; then
  until known=$(addresses "$SCHEDULER_HOST") && [ -n "$known" ]; do sleep 1; done
fi

# https://jobs.example.com:8443 -> jobs.example.com
host_of() {
  host=${1#*://}
  echo "${host%%[:/]*}"
}
JOBS_DOMAIN=$(host_of "${JOBS_URL:-}")
export JOBS_DOMAIN
# The API keeps its own hosts where they are below one of JOBS_HOSTS: nginx takes a whole name before one with an asterisk.
API_HOST_NAMES=
for url in "${PUBLIC_URL:-}" "${AGENT_URL:-}"; do
  # An address of IPv6 has no name that jobs could have.
  case $(host_of "$url") in '' | \[*) ;; *) API_HOST_NAMES="$API_HOST_NAMES $(host_of "$url")" ;; esac
done
# Other names for callers among the jobs.
JOBS_HOST_NAMES=
private=$(host_of "${JOBS_PRIVATE_URL:-}")
case $private in '' | "$JOBS_DOMAIN") ;; *) JOBS_HOST_NAMES=" *.$private" ;; esac
# Hosts of jobs' own: example.com,shop.example.org -> .example.com .shop.example.org, each with all names below it. Where the
# domain itself is the API's, nginx would leave out both.
for domain in $(echo "${JOBS_HOSTS:-}" | tr ',' ' '); do
  case "$API_HOST_NAMES " in
    *" $domain "*) JOBS_HOST_NAMES="$JOBS_HOST_NAMES *.$domain" ;;
    *) JOBS_HOST_NAMES="$JOBS_HOST_NAMES .$domain" ;;
  esac
done
export JOBS_HOST_NAMES
export API_HOST_NAMES
if [ -n "$JOBS_DOMAIN" ]; then export INGRESS=on; else export INGRESS=off; fi

if [ "$AGENT_LISTENER" = on ]; then
  until [ -s /etc/nginx/agent-keys/current.pem ]; do sleep 1; done
fi

follow() {
  while sleep 2; do
    found=$(addresses "$SCHEDULER_HOST")
    # No answer means that it is being replaced: there is nowhere else to go yet.
    if [ -z "$found" ] || [ "$found" = "$known" ]; then continue; fi
    echo "the scheduler moved to $(echo "$found" | tr '\n' ' ')" >&2
    if nginx -c /etc/nginx/conf.d/nginx.conf -s reload; then known=$found; fi
  done
}
if [ "$API_LISTENER" = on ]; then follow & fi
exec /docker-entrypoint.sh "$@"
