# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy logs, shell, backup: into the API's instance by AWS's Systems Manager, which opens no port. Sourced by
# entrypoint.sh. Only the requested output goes to standard output.

# As terraform/user-data/user-data.sh has it.
APP=/opt/scheduler/app
COMPOSE='docker-compose --project-name scheduler -f docker-compose.yml -f docker-compose.agents.yml -f docker-compose.stack.yml'
# SSM keeps the first 24000 characters of what a command prints.
OUTPUT_BYTES=24000
PLUGIN_PAGE=https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html

logs() {
  service=${1:-} lines=${2:-200}
  case $service in *[!a-z0-9-]* | -*) fail 'logs [service] [lines]: a service of docker-compose.yml, like scheduler, nginx or postgres' ;; esac
  case $lines in '' | *[!0-9]* | ?????*) fail 'logs [service] [lines]: at most 9999 lines' ;; esac
  find_instance >&2
  # The last of it: a pipe would hide how docker-compose ended.
  run_on_instance "cd $APP || exit
said=\$($COMPOSE logs --no-color --tail=$lines $service 2>&1)
ended=\$?
printf '%s\\n' \"\$said\" | tail -c $OUTPUT_BYTES
exit \$ended" 60
}

shell() {
  find_instance
  command -v session-manager-plugin >/dev/null ||
    fail "AWS's session-manager-plugin is missing here, as it could not be fetched when this image was built (https://s3.amazonaws.com/session-manager-downloads): try docker-compose build --no-cache scheduler-deploy
Or install it on your machine ($PLUGIN_PAGE), and
aws ssm start-session --region $AWS_REGION --target $instance"
  step "$instance: sudo -i, then cd $APP; exit ends the session"
  # Not by the function of that name: this shell has nothing more to do.
  exec aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} ssm start-session --target "$instance"
}

# Of the Postgres on the instance; it is in the bucket when this ends well. Interrupted, it goes on there.
backup() {
  find_instance >&2
  name=$(checked_name)
  step "backing up on $instance; this may take an hour" >&2
  run_on_instance "cd $APP || exit
AWS_DEFAULT_REGION=$TF_VAR_bucket_region BACKUP_URI=s3://$TF_VAR_bucket/backups/$name/$(date -u +%Y%m%dT%H%M%SZ).dump sh deploy/backup-to-s3.sh" 3600
}

# Fit for a command and for a key of the bucket.
checked_name() {
  name=$(stack_name)
  case $name in *[!A-Za-z0-9-]*) fail "$name is no name of a stack" ;; esac
  echo "$name"
}

# Into $instance: INSTANCE_ID, else the one that says that it serves, else the youngest.
find_instance() {
  find_stack
  choose_instance
}

choose_instance() {
  instance=${INSTANCE_ID:-}
  if [ -n "$instance" ]; then
    case $instance in i-*[!0-9a-f]* | i-) fail "INSTANCE_ID=$instance is no instance's id" ;; i-*) return ;; *) fail "INSTANCE_ID=$instance is no instance's id" ;; esac
  fi
  name=$(stack_name)
  instance=$(running_api | instance_that_serves | cut -d ' ' -f 2)
  if [ -n "$instance" ]; then return; fi
  instance=$(running_api | head -n 1 | cut -d ' ' -f 2)
  [ -n "$instance" ] || fail "no instance of $name runs in $AWS_REGION"
  step "NOTE: none says that it serves; the youngest is $instance ($(boot_state "$instance"))"
}

# Instances of the API of the stack $name, the youngest first, with the times of their launch in front.
running_api() {
  launched running "Name=tag:scheduler-api:stack,Values=$name" "Name=tag:Name,Values=$name-api" | sort -r
}

# Of such lines the one that says that it serves.
instance_that_serves() {
  while read -r time instance; do
    if [ "$(boot_state "$instance")" = serving ]; then echo "$time $instance" && break; fi
  done
}

# The last state that the instance $1 reported of its boot; nothing where it reported none.
boot_state() {
  aws s3 cp "s3://$TF_VAR_bucket/$BOOT_PREFIX$1.state" - 2>/dev/null | head -c 500 | tr -d '[:cntrl:]'
}

# $1 for the shell of $instance, as root, for $2 seconds at most; prints what that printed, and fails as it did.
run_on_instance() {
  ask_instance "$1" "$2"
  [ "$ended" = Success ] || fail "the command ended on $instance: $ended"
}

# The same, and leaves in $ended how it ended.
ask_instance() {
  parameters=$(python3 -c 'import json, sys; print(json.dumps({"commands": sys.argv[1:2], "executionTimeout": sys.argv[2:3]}))' "$1" "$2")
  if ! said=$(aws ssm send-command --instance-ids "$instance" --document-name AWS-RunShellScript --comment "scheduler-deploy" \
    --timeout-seconds 60 --parameters "$parameters" --query Command.CommandId --output text 2>&1); then
    case $said in
      *InvalidInstanceId*) fail "$instance is not managed by SSM: $(why_unmanaged)" ;;
      *) fail "SSM does not take the command: $(last_line "$said")" ;;
    esac
  fi
  command_id=$(last_line "$said")
  wait_for_command "$(($2 + 60))"
  invocation StandardOutputContent
  [ "$ended" = Success ] || invocation StandardErrorContent >&2
}

why_unmanaged() {
  echo "an agent that runs there was not heard of yet, or not for long. It is installed at an instance's first boot, unless ssm = false"
  echo "(the boot's log says whether: aws s3 cp s3://$TF_VAR_bucket/$BOOT_PREFIX$instance.log -);"
  echo "its role needs what the output policy of Terraform has of SSM, and the instance a way to AWS. docs/operations.md, Without SSH."
}

# Into $ended, within $1 seconds.
wait_for_command() {
  until=$(($(date +%s) + $1))
  pause=0
  while :; do
    # Not known in the first moments.
    ended=$(aws ssm get-command-invocation --command-id "$command_id" --instance-id "$instance" --query Status --output text 2>&1) ||
      case $ended in
        *InvocationDoesNotExist*) ended=Pending ;;
        *) fail "SSM does not say how the command went: $(last_line "$ended")" ;;
      esac
    ended=$(last_line "$ended")
    case $ended in Pending | InProgress | Delayed | Cancelling) ;; *) return ;; esac
    if [ "$(date +%s)" -ge "$until" ]; then
      aws ssm cancel-command --command-id "$command_id" >/dev/null 2>&1 || true
      fail "$instance did not answer within $1 s ($ended): is it overloaded, or its SSM agent without a way to AWS?"
    fi
    if [ "$pause" -lt 10 ]; then pause=$((pause + 1)); fi
    sleep "${POLL_SECONDS:-$pause}"
  done
}

# Without control characters.
invocation() {
  content=$(aws ssm get-command-invocation --command-id "$command_id" --instance-id "$instance" --query "$1" --output text)
  [ -z "$content" ] || printf '%s\n' "$content" | LC_ALL=C tr -d '\000-\010\013-\037\177'
}
