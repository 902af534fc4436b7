# shellcheck shell=bash
# Makes a fresh Debian 12 instance an ingress of jobs: one nginx, without the API (deploy/nginx/api-off.inc.template). main.tf
# puts a shebang, the settings and the files in front. If it fails, the load balancer sees no health here, and the autoscaling
# group makes another instance.
set -Eeuo pipefail
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

DIR=${INGRESS_DIR:-/opt/scheduler-ingress}

main() {
  say 'installing packages'
  retry apt-get -o DPkg::Lock::Timeout=300 update -qq >/dev/null
  retry apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends docker.io >/dev/null
  mkdir -p "$DIR/nginx"
  write_files "$DIR/nginx"
  printf '%s\n' "$ENVIRONMENT" >"$DIR/env"
  # A request to a job is a connection of its own (docker-compose.yml); here nginx has the instance's network, and its ports.
  sysctl -q -w net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1 >/dev/null
  printf 'net.ipv4.ip_local_port_range = 1024 65535\nnet.ipv4.tcp_tw_reuse = 1\n' >"${SYSCTL_FILE:-/etc/sysctl.d/90-ingress.conf}"
  say "pulling $IMAGE"
  retry docker pull -q "$IMAGE"
  say 'starting nginx'
  docker run -d --name ingress --restart unless-stopped --network host \
    --env-file "$DIR/env" -v "$DIR/nginx:/etc/nginx/templates:ro" \
    --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add NET_BIND_SERVICE --cap-add SETGID --cap-add SETUID \
    --security-opt no-new-privileges:true --pids-limit 128 \
    --log-opt max-size=20m --log-opt max-file=5 \
    --entrypoint /bin/sh "$IMAGE" /etc/nginx/templates/start.sh nginx -c /etc/nginx/conf.d/nginx.conf -g 'daemon off;'
  say 'started'
}

retry() {
  local try
  for try in 1 2 3 4; do
    if "$@"; then return 0; fi
    say "failed ($try): $1 ${2-}"
    sleep $((try * 5))
  done
  "$@"
}

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

main "$@"
