# shellcheck shell=bash
# Makes a fresh Debian 12 instance the API's, and keeps handing the database's volume on. main.tf puts a shebang and the
# settings in front. Calls tools by bare name, so that a rehearsal can put its own on the PATH.
#
#   (no argument)  first boot: install and prepare everything, then as start
#   start          every boot: get the volume, start the stack, say so
#   watch          serves a successor: stops the stack and releases the volume on request
#
# How the volume is requested: the successor sets the tag scheduler-api:release of the instance that holds the volume to its
# own id; the holder reads that tag from its metadata service every second, which costs no credentials and no API call.
# A holder that does not answer is stopped. A successor that cannot serve gives the volume back: it detaches it and sets
# the tag to the holder's own id. Only a younger instance may request it, so that two never fight.
set -Eeuo pipefail
umask 077
export LC_ALL=C

DIR=${STACK_DIR:-/opt/scheduler}
DATA_DIR=${STACK_DATA_DIR:-/srv/scheduler}
READY_URL=${READY_URL:-http://127.0.0.1/health/ready}
IMDS=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
RELEASE_TAG=scheduler-api:release
# A stack stops within half a minute of the request; after this its instance is taken for dead.
RELEASE_SECONDS=${RELEASE_SECONDS:-90}
# Migrations of a large table may take minutes; a stack that is not up by then has failed.
READY_SECONDS=${READY_SECONDS:-600}
# A holder that gets the request and is then stopped releases the volume within minutes; else an operator has to look.
VOLUME_SECONDS=${VOLUME_SECONDS:-600}
LOG=$DIR/boot.log
APP=$DIR/app

main() {
  mkdir -p "$DIR" && cd "$DIR"
  exec > >(tee -a "$LOG") 2>&1
  INSTANCE_ID=${INSTANCE_ID:-$(retry imds instance-id)}
  reason=
  case ${1:-boot} in
    boot)
      trap 'failed boot' ERR
      say "booting $INSTANCE_ID as ${STACK_NAME} with ${BUNDLE_URI}"
      install_packages
      install_ssm_agent
      prepare
      install_units
      report prepared
      start
      ;;
    start) trap 'failed start' ERR; start ;;
    watch) watch ;;
    *) echo "unknown argument $1"; exit 2 ;;
  esac
}

# --- preparing: nothing here disturbs the instance that serves ---

install_packages() {
  say 'installing packages'
  local missing=()
  command -v docker >/dev/null || missing+=(docker.io)
  command -v docker-compose >/dev/null || missing+=(docker-compose)
  command -v aws >/dev/null || missing+=(awscli)
  command -v curl >/dev/null || missing+=(curl ca-certificates)
  [ ${#missing[@]} -gt 0 ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  retry apt-get -o DPkg::Lock::Timeout=300 update -qq >/dev/null
  retry apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# How operators get in (`scheduler-deploy logs`, `shell`). Early, so that they can look at a boot that fails; and none fails
# for want of it.
install_ssm_agent() {
  [ -n "${SSM_AGENT_URL-}" ] || return 0
  if command -v amazon-ssm-agent >/dev/null; then return 0; fi
  say 'installing the SSM agent'
  local url package=$DIR/amazon-ssm-agent.deb
  url=$SSM_AGENT_URL/debian_$(dpkg --print-architecture)/amazon-ssm-agent.deb
  if curl -qfsS --connect-timeout 5 --max-time 120 -o "$package" "$url" &&
    timeout 300 apt-get -o DPkg::Lock::Timeout=120 install -y -qq "$package" >/dev/null &&
    systemctl enable --now amazon-ssm-agent; then
    rm "$package"
  else
    say "no SSM agent: $url could not be installed"
  fi
}

prepare() {
  say "getting $BUNDLE_URI"
  rm -rf "$APP" && mkdir -p "$APP"
  # Files of the bundle are mounted into containers that run as other users: as readable as in the repository.
  retry aws s3 cp --only-show-errors "$BUNDLE_URI" bundle.tar.gz
  (umask 022 && tar -xzf bundle.tar.gz -C "$APP" && chmod 755 "$APP")
  rm bundle.tar.gz

  say "getting $SECRETS_URI"
  retry aws s3 cp --only-show-errors "$SECRETS_URI" .env.s3
  merge_settings >.env.new
  install -m 600 .env.new "$APP/.env"
  rm .env.new .env.s3

  # Agents know the next one already (docs/operations.md, TLS for agents).
  say "getting the agents' keys, $AGENT_KEYS_URI"
  mkdir -p "$DIR/agent-keys"
  local key
  for key in current next; do
    retry aws s3 cp --only-show-errors "$AGENT_KEYS_URI$key.pem" "$DIR/agent-keys/$key.pem"
  done

  if [ "$DATABASE" = rds ]; then
    say "getting $RDS_AUTHORITIES"
    retry curl -qfsS --max-time 60 -o "$DIR/rds-authorities.pem" "$RDS_AUTHORITIES"
    # The scheduler is another user.
    chmod 644 "$DIR/rds-authorities.pem"
  fi

  # Postgres's volume of docker-compose.yml, put on the data volume. The folder exists there only: without the data volume
  # Docker creates Postgres's container (`nocopy` in docker-compose.yml) and refuses to start it, where it would else begin
  # an empty database.
  local bind='{ driver: local, driver_opts: { type: none, o: bind, device: "%s" } }'
  local more=
  # RDS refuses connections without TLS, and is known by its name and AWS's own authorities.
  if [ "$DATABASE" = rds ]; then
    more+=$'\n  scheduler:\n    environment: { PGSSLMODE: verify-full, NODE_EXTRA_CA_CERTS: /run/rds-authorities.pem }'
    more+=$'\n'"    volumes: [\"$DIR/rds-authorities.pem:/run/rds-authorities.pem:ro\"]"
  fi
  # The security group lets the ingress of jobs in at the one, the load balancer at the other, and nobody else.
  local environment='' ports=''
  if [ -n "${LOOKUP_PORT-}" ]; then
    environment+=", LOOKUP_LISTENER: 'on'"
    ports+=", '$LOOKUP_PORT:8081'"
  fi
  if [ -n "${BALANCER_PORT-}" ]; then
    environment+=", BALANCER_PORT: '$BALANCER_PORT'"
    ports+=", '$BALANCER_PORT:$BALANCER_PORT'"
  fi
  if [ -n "$ports" ]; then more+=$'\n'"  nginx: { environment: { ${environment#, } }, ports: [${ports#, }] }"; fi
  {
    printf 'services:%s\n' "${more:- {\}}"
    # shellcheck disable=SC2059  # a format
    printf "volumes:\n  agent-keys: $bind\n" "$DIR/agent-keys"
    # shellcheck disable=SC2059
    if [ "$DATABASE" = volume ]; then printf "  postgres-data: $bind\n" "$DATA_DIR/postgres"; fi
  } >"$APP/docker-compose.stack.yml"

  log_in_to_ecr
  if [ -n "$APP_IMAGE" ]; then
    say "pulling $APP_IMAGE"
    retry docker pull -q "$APP_IMAGE"
  else
    say 'building the image'
    retry compose build scheduler
  fi
  say 'getting the other images and creating the containers'
  # Without their dependencies: docker-compose 1.29 would wait for the check of the settings, which nothing starts yet.
  # shellcheck disable=SC2046
  retry compose up --no-start --no-deps $(services)
}

# What the stack decides, then S3's file, then what that does not say. The deploy container refuses a file that contradicts
# the stack; one that was changed since is named in the log.
merge_settings() {
  local line name
  # Its last line may have no end.
  while IFS= read -r line || [ -n "$line" ]; do
    name=$(sed -n 's/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}\([A-Za-z_][A-Za-z_0-9]*\)=.*/\2/p' <<<"$line")
    if [ -z "$name" ] || ! grep -q "^$name=" <<<"$DECIDED"; then
      printf '%s\n' "$line"
    else
      say "$SECRETS_URI sets $name, which the stack decides: left out"
    fi
  done <.env.s3
  printf '%s\n' "$DECIDED"
  while IFS= read -r line; do
    [ -z "$line" ] || grep -q "^[[:space:]]*\(export[[:space:]]\+\)\?${line%%=*}=" .env.s3 || printf '%s\n' "$line"
  done <<<"$SETTINGS"
}

log_in_to_ecr() {
  case ${APP_IMAGE%%/*} in
    *.dkr.ecr.*)
      aws ecr get-login-password | docker login --username AWS --password-stdin "${APP_IMAGE%%/*}" >/dev/null
      ;;
  esac
}

install_units() {
  if [ "$0" != "$DIR/stack" ]; then install -m 700 "$0" "$DIR/stack"; fi
  cat >scheduler-stack.service <<END
[Unit]
Description=Scheduler API: data volume and containers
Wants=network-online.target
After=network-online.target docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$DIR/stack start
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=30
[Install]
WantedBy=multi-user.target
END
  cat >scheduler-release.service <<END
[Unit]
Description=Scheduler API: hands the data volume to a successor
Wants=network-online.target
After=network-online.target
[Service]
ExecStart=$DIR/stack watch
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
END
  systemctl enable --now docker
  # Starts at the next boot; in this one the stack is started from here.
  systemctl enable "$DIR/scheduler-stack.service"
  if [ "$DATABASE" = volume ]; then systemctl enable --now "$DIR/scheduler-release.service"; fi
}

# --- starting ---

start() {
  if [ "$DATABASE" = volume ]; then
    if [ -e "$DIR/released" ]; then say 'the data volume was handed on: nothing to start'; return; fi
    take_volume
    mount_volume
  fi
  say 'starting the stack'
  # The cause is in the containers' logs, like a setting that `settings` names, and they cannot be read from outside.
  # shellcheck disable=SC2046
  compose up -d $(if [ "$DATABASE" != volume ]; then echo --no-deps agent-keys; fi) $(services) || { compose logs --tail=40; return 1; }
  point_names_here
  wait_until_ready
  # An instance that serves gives the volume back to none, at no later start.
  rm -f predecessor
  take_address
  report serving
}

take_volume() {
  local holder predecessor requested='' is_tagged='' since=0 until=$((SECONDS + VOLUME_SECONDS))
  while ! find_device >/dev/null; do
    if [ "$SECONDS" -ge "$until" ]; then because "no data volume after $VOLUME_SECONDS s: ${last_said-}"; return 1; fi
    # A volume may be handed over by others, too (by hand, by a rehearsal): no answer of EC2 ends the waiting.
    holder=$(aws ec2 describe-volumes --volume-ids "$DATA_VOLUME_ID" --output text \
      --query "Volumes[0].[State, Attachments[?State!='detached'] | [0].InstanceId]" 2>&1) || { report_once "$holder"; holder=unknown; }
    case $holder in
      available*)
        say_once 'attaching the data volume'
        aws ec2 attach-volume --volume-id "$DATA_VOLUME_ID" --instance-id "$INSTANCE_ID" --device /dev/sdf >/dev/null || true
        ;;
      *"$INSTANCE_ID"*) say_once 'waiting for the data volume to appear' ;;
      *i-*)
        predecessor=i-${holder##*i-}
        # Another one may have been quicker.
        if [ "$predecessor" != "$requested" ]; then
          is_older "$predecessor" || { rm -f predecessor; sleep 2; continue; }
          report_once "waiting for the data volume of $predecessor"
          printf %s "$predecessor" >predecessor
          requested=$predecessor
          since=$SECONDS
          is_tagged=
        fi
        # EC2 may be busy.
        if [ -z "$is_tagged" ] && aws ec2 create-tags --resources "$predecessor" --tags "Key=$RELEASE_TAG,Value=$INSTANCE_ID"; then
          is_tagged=1
        elif [ $((SECONDS - since)) -ge "$RELEASE_SECONDS" ]; then
          wrest_volume_from "$predecessor"
        fi
        ;;
      *) report_once "waiting for the data volume $DATA_VOLUME_ID" ;;
    esac
    # Short: no API serves while it is handed over.
    sleep 1
  done
}

# Only of a stopped instance a volume can be taken without risk.
wrest_volume_from() {
  local state
  state=$(aws ec2 describe-instances --instance-ids "$1" --output text --query 'Reservations[0].Instances[0].State.Name') || return 0
  report_once "$1 does not release the data volume and is $state: stopping it"
  case $state in
    stopped) aws ec2 detach-volume --volume-id "$DATA_VOLUME_ID" --instance-id "$1" >/dev/null || true ;;
    pending | running) aws ec2 stop-instances --instance-ids "$1" >/dev/null || true ;;
  esac
}

is_older() {
  local own other
  own=$(made_at "$INSTANCE_ID") && other=$(made_at "$1") || return 1
  [[ $other < $own ]] || { report_once "$1 is younger: it keeps the data volume"; return 1; }
}

# By its network interface: LaunchTime is a later one after each stop and start.
made_at() {
  # shellcheck disable=SC2016  # JMESPath's own quotes
  aws ec2 describe-instances --instance-ids "$1" --output text \
    --query 'Reservations[0].Instances[0].NetworkInterfaces[?Attachment.DeviceIndex==`0`] | [0].Attachment.AttachTime' | grep '^2'
}

find_device() {
  local device
  # On Nitro instances the device gets another name than was requested; the volume's id is in the device's serial number.
  for device in ${DATA_DEVICE:-"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${DATA_VOLUME_ID/-/}" /dev/xvdf /dev/sdf}; do
    if [ -e "$device" ]; then echo "$device"; return 0; fi
  done
  return 1
}

mount_volume() {
  local device status=0
  device=$(find_device)
  (umask 022 && mkdir -p "$DATA_DIR")
  if ! mountpoint -q "$DATA_DIR"; then
    # Only a disk that can be read, and on which blkid finds nothing (2), is formatted: it says 2 of one it cannot read as well.
    dd if="$device" of=/dev/null bs=1M count=1 status=none || { because "$device cannot be read"; return 1; }
    blkid -p "$device" >/dev/null || status=$?
    case $status in
      0) ;;
      2) say "formatting $device" && mkfs.ext4 -q -L scheduler-data "$device" ;;
      *) because "blkid $device: $status"; return 1 ;;
    esac
    say "mounting $device"
    mount "$device" "$DATA_DIR"
  fi
  (umask 022 && mkdir -p "$DATA_DIR/postgres")
}

# Best effort, to be early: the apply that waits for this instance sets the same records afterwards. All of a call is done or
# nothing, and a role that is made elsewhere may not know the jobs' name yet: the one that agents call is set without it.
point_names_here() {
  [ -n "$RECORD_NAME" ] || return 0
  local ip
  ip=${PRIVATE_IP:-$(imds local-ipv4)}
  if [ -n "${JOBS_RECORD_NAME-}" ] && point_at "$ip" "$RECORD_NAME" "$JOBS_RECORD_NAME"; then return 0; fi
  point_at "$ip" "$RECORD_NAME" || true
}

# $1 an address, then the names.
point_at() {
  local ip=$1 name changes=''
  shift
  say "pointing $* at $ip"
  for name in "$@"; do
    changes+="${changes:+,}{\"Action\":\"UPSERT\",\"ResourceRecordSet\":{\"Name\":\"$name\",\"Type\":\"A\",\"TTL\":5,"
    changes+="\"ResourceRecords\":[{\"Value\":\"$ip\"}]}}"
  done
  aws route53 change-resource-record-sets --hosted-zone-id "$RECORD_ZONE_ID" --change-batch "{\"Changes\":[$changes]}" >/dev/null
}

wait_until_ready() {
  local until=$((SECONDS + READY_SECONDS))
  until curl -qfs --max-time 5 -o /dev/null "$READY_URL"; do
    if [ "$SECONDS" -ge "$until" ]; then
      because "not ready after $READY_SECONDS s"
      compose ps
      compose logs --tail=40
      return 1
    fi
    sleep 1
  done
}

# Last, as it takes this instance's own public address away: one that does not serve has to report that, and give the
# volume back. Best effort, as the name: the apply does the same.
take_address() {
  [ -n "$ADDRESS_ID" ] || return 0
  say "taking the public address $ADDRESS_ID"
  aws ec2 associate-address --allocation-id "$ADDRESS_ID" --instance-id "$INSTANCE_ID" --allow-reassociation >/dev/null || true
}

# --- handing over ---

watch() {
  local asking
  while sleep 1; do
    asking=$(imds "tags/instance/$RELEASE_TAG") || continue
    if [ "$asking" != "$INSTANCE_ID" ] && [ ! -e "$DIR/released" ]; then
      say "$asking asks for the data volume"
      touch "$DIR/released"
      systemctl stop --no-block scheduler-stack.service || true
      if release_volume; then report "released to $asking"; else report "could not release the data volume for $asking"; fi
    elif [ "$asking" = "$INSTANCE_ID" ] && [ -e "$DIR/released" ]; then
      say 'the successor gave the data volume back'
      rm "$DIR/released"
      # Its own process, so that this one sees the next successor while that one waits.
      systemctl restart --no-block scheduler-stack.service
    fi
  done
}

# A volume is detached only once it is unmounted; where that fails, the successor stops this instance.
release_volume() {
  # The API first, which answers the agents' parked polls at once: nginx, stopped before it, would refuse all requests while
  # it waits for them. Nothing is removed, which would take seconds more.
  compose stop --timeout 30 scheduler || true
  compose stop --timeout 30 || true
  if mountpoint -q "$DATA_DIR"; then retry umount "$DATA_DIR" || return 1; fi
  if find_device >/dev/null; then retry aws ec2 detach-volume --volume-id "$DATA_VOLUME_ID" --instance-id "$INSTANCE_ID"; fi
}

failed() {
  local line=${BASH_LINENO[0]}
  # A subshell only ends; its parent sees its status.
  [ "$BASHPID" = $$ ] || exit 1
  trap - ERR
  set +e
  say "failed in $1, line $line${reason:+: $reason}"
  # The report has time: until the volume is back, no API serves.
  if [ "$DATABASE" = volume ] && [ -s predecessor ]; then
    say "giving the data volume back to $(cat predecessor)"
    touch "$DIR/released"
    release_volume
    retry aws ec2 create-tags --resources "$(cat predecessor)" --tags "Key=$RELEASE_TAG,Value=$(cat predecessor)"
  fi
  report "failed in $1, line $line${reason:+: $reason}"
  exit 1
}

# --- tools ---

services() {
  if [ "$DATABASE" = volume ]; then echo scheduler nginx postgres; else echo scheduler nginx; fi
}

compose() {
  (cd "$APP" && docker-compose --project-name "${COMPOSE_PROJECT:-scheduler}" \
    -f docker-compose.yml -f docker-compose.agents.yml -f docker-compose.stack.yml "$@")
}

# Debian's AWS CLI does not read AWS_ENDPOINT_URL itself.
aws() {
  command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} --cli-connect-timeout 5 --cli-read-timeout 60 "$@"
}

# Token and all every time: a token outlived would be one more thing to handle.
imds() {
  local token
  token=$(curl -qfs --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$IMDS/latest/api/token") || return
  curl -qfs --max-time 5 -H "X-aws-ec2-metadata-token: $token" "$IMDS/latest/meta-data/$1"
}

retry() {
  local try
  for try in 1 2 3 4; do
    # The zero must be said: inside a trap, bare return means the status before it.
    if "$@"; then return 0; fi
    say "failed ($try): $1 ${2-}"
    sleep $((try * 5))
  done
  "$@"
}

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

# Logs a message that repeats only once in a row.
say_once() {
  [ "$1" = "${last_said-}" ] || say "$1"
  last_said=$1
}

# The same, also into S3. That takes seconds: not while no API serves.
report_once() {
  [ "$1" = "${last_said-}" ] || report "$1"
  last_said=$1
}

# Why what is about to fail does.
because() {
  say "$1"
  reason=$1
}

# The log first: a reader of the state reads it next. The apply and operators read s3://…/boot/<instance id>.state and .log
report() {
  say "$1"
  aws s3 cp --only-show-errors "$LOG" "${LOG_URI}$INSTANCE_ID.log" || true
  printf '%s\n' "$1" | aws s3 cp --only-show-errors - "${LOG_URI}$INSTANCE_ID.state" || true
}

main "$@"
