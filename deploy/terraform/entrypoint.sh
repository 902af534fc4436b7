#!/bin/sh
# Deploys the current commit onto AWS: uploads it to S3, then terraform init, plan and apply.
#
#   docker-compose up scheduler-deploy             into a bucket with a .env file, both made by hand
#   docker-compose run --rm scheduler-deploy up    from credentials alone: makes the bucket and the .env file, says what it
#                                                  will cost and asks before it does; again for an upgrade or after a failure
#   docker-compose run --rm scheduler-deploy down  takes it away again, and says what it keeps
#   docker-compose run --rm scheduler-deploy logs [service] [lines]
#                                                  the last lines of the containers on the API's instance
#   docker-compose run --rm scheduler-deploy shell a session on it
#   docker-compose run --rm scheduler-deploy backup
#                                                  of its Postgres, into the bucket
#   docker-compose run --rm scheduler-deploy restore [list | BACKUP] [--rehearse]
#                                                  a backup in the bucket (default: the newest) or a snapshot of the volume
#   docker-compose run --rm scheduler-deploy secrets list | get NAME | set NAME | unset NAME
#                                                  of the .env file in the bucket; a value is typed, or piped (with run -T)
#   docker-compose run --rm scheduler-deploy rotate-agent-keys
#                                                  of agents' TLS; like a changed setting, for the next deployment
#   docker-compose run --rm scheduler-deploy rotate-keys
#                                                  ENCRYPTION_KEY: deploys it, and encrypts again what the old one did
#   docker-compose run --rm scheduler-deploy terraform output | force-unlock ID | state list | ...
#                                                  Terraform itself, on this stack's state
#
# Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; or ~/.aws mounted at /root/.aws, and AWS_PROFILE.
# Settings (environment):
#   TF_STATE_BUCKET     bucket of the state, the secrets, the bundles and the logs; for example sharbesh-terraform-state.
#                       Default of the commands: scheduler-api-<account>-<region>
#   TF_STATE_KEY        the state in it; default scheduler-api/terraform.tfstate
#   TF_STATE_REGION     where the bucket is; default what S3 says
#   AWS_REGION          where to deploy; default us-west-2
#   APP_IMAGE           image of the API; default: the instance builds the commit
#   TF_VAR_<name>       any variable of terraform/variables.tf; so does terraform/terraform.tfvars. allowed_cidrs has no
#                       default; up takes this machine's address, and keeps what was chosen before
#   DEPLOY_TARGETS      what to apply: addresses, or "all"; default: the file targets next to this one
#   DEPLOY_PLAN_ONLY    1: shows the plan and uploads nothing
#   INSTANCE_ID         of logs, shell, backup and restore; default: the instance that serves
#   DEPLOY_YES          1: every question is answered with yes
# For a rehearsal: REPOSITORY, AWS_ENDPOINT_URL, ADDRESS_URL.
set -eu

LIBRARY=$(dirname "$0")
REPOSITORY=${REPOSITORY:-/repository}
AWS_REGION=${AWS_REGION:-us-west-2}
TF_STATE_KEY=${TF_STATE_KEY:-scheduler-api/terraform.tfstate}
TARGETS_FILE=$LIBRARY/targets
# Keys in the bucket, as terraform/variables.tf has them.
SECRETS_KEY=${TF_VAR_secrets_key:-secrets/.env}
AGENT_KEYS_PREFIX=${TF_VAR_agent_keys_prefix:-secrets/agent-keys/}
BOOT_PREFIX=${TF_VAR_log_prefix:-logs/scheduler/}boot/
export AWS_REGION AWS_DEFAULT_REGION="$AWS_REGION" TF_VAR_region="$AWS_REGION" TF_IN_AUTOMATION=1
if [ -n "${APP_IMAGE:-}" ]; then export TF_VAR_app_image="$APP_IMAGE"; fi
# shellcheck source=deploy/terraform/up.sh
. "$LIBRARY/up.sh"
# shellcheck source=deploy/terraform/down.sh
. "$LIBRARY/down.sh"
# shellcheck source=deploy/terraform/operate.sh
. "$LIBRARY/operate.sh"
# shellcheck source=deploy/terraform/instance.sh
. "$LIBRARY/instance.sh"
# shellcheck source=deploy/terraform/restore.sh
. "$LIBRARY/restore.sh"
# shellcheck source=deploy/terraform/snapshot.sh
. "$LIBRARY/snapshot.sh"
# shellcheck source=deploy/terraform/rotate.sh
. "$LIBRARY/rotate.sh"

main() {
  case ${1:-} in
    '') deploy ;;
    up) up ;;
    down) down ;;
    secrets) shift && manage_secrets "$@" ;;
    rotate-agent-keys) rotate_agent_keys ;;
    logs) shift && logs "$@" ;;
    shell) shell ;;
    backup) backup ;;
    restore) shift && restore "$@" ;;
    rotate-keys) rotate_keys ;;
    terraform) shift && run_terraform "$@" ;;
    *) fail "unknown command $1: up, down, logs, shell, backup, restore, secrets, rotate-keys, rotate-agent-keys, terraform, or none" ;;
  esac
}

deploy() {
  check_repository
  [ -n "${TF_STATE_BUCKET:-}" ] || fail 'TF_STATE_BUCKET is not set: the bucket of the state and the secrets, like sharbesh-terraform-state'
  has_networks || fail "allowed_cidrs is not set: who may call the API. TF_VAR_allowed_cidrs='[\"203.0.113.7/32\"]', or a line in terraform/terraform.tfvars"
  check_credentials
  find_bucket
  check_secrets
  choose_commit
  upload
  cd_into_copy
  initialise
  refuse_strangers
  go_on_with_restore
  take_kept_volume
  plan
  if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then return; fi
  apply
  show_result
}

# For what no command here does: Terraform says itself what it thinks of the arguments.
run_terraform() {
  check_repository
  find_stack >&2
  choose_commit >&2
  cd_into_copy
  initialise >&2
  patiently terraform "$@"
}

check_repository() {
  [ -d "$REPOSITORY/terraform" ] || fail "there is no terraform/ in $REPOSITORY: mount the repository there"
}

has_networks() {
  [ -n "${TF_VAR_allowed_cidrs:-}" ] || grep -qs '^allowed_cidrs' "$REPOSITORY/terraform/terraform.tfvars"
}

check_credentials() {
  if ! who=$(aws sts get-caller-identity --query '[Account, Arn]' --output text 2>&1); then
    fail "AWS does not know us: $(last_line "$who")
Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_CONFIG=~/.aws and AWS_PROFILE."
  fi
  account=$(printf %s "$who" | cut -f 1)
  step "as $(printf %s "$who" | cut -f 2), in $AWS_REGION"
}

# For commands that need no bucket to be said.
find_stack() {
  check_credentials
  choose_bucket
  said=$(look_at_bucket 2>&1) || fail "the bucket $TF_STATE_BUCKET cannot be used: $(last_line "$said")"
  find_bucket
}

# Anybody can guess the name of the default one, and make it: it counts only where it is this account's.
choose_bucket() {
  is_default_bucket=$([ -n "${TF_STATE_BUCKET:-}" ] || echo 1)
  TF_STATE_BUCKET=${TF_STATE_BUCKET:-scheduler-api-$account-$AWS_REGION}
}

look_at_bucket() {
  aws s3api head-bucket --bucket "$TF_STATE_BUCKET" ${is_default_bucket:+--expected-bucket-owner "$account"}
}

find_bucket() {
  export TF_VAR_bucket="${TF_VAR_bucket:-$TF_STATE_BUCKET}"
  [ -n "${TF_STATE_REGION:-}" ] || TF_STATE_REGION=$(bucket_region "$TF_STATE_BUCKET")
  TF_VAR_bucket_region=${TF_VAR_bucket_region:-$(bucket_region "$TF_VAR_bucket")}
  export TF_VAR_bucket_region
}

initialise() {
  step 'terraform init'
  terraform init -input=false -no-color \
    "-backend-config=bucket=$TF_STATE_BUCKET" "-backend-config=key=$TF_STATE_KEY" "-backend-config=region=$TF_STATE_REGION"
  check_stack
}

plan() {
  step 'terraform plan'
  # shellcheck disable=SC2046  # addresses have no spaces
  plan_with $(repeat_flag)
  if is_replaced_unforeseen; then plan_with -replace=aws_instance.api; fi
}

plan_with() {
  status=0
  # shellcheck disable=SC2046
  patiently terraform plan -input=false -no-color -lock-timeout=60s -out=deploy.tfplan $(target_flags) "$@" 2>plan.errors || status=$?
  cat plan.errors >&2
  if grep -q prevent_destroy plan.errors; then fail "$DATA_IN_THE_WAY"; fi
  if [ "$status" != 0 ]; then return "$status"; fi
  # Once: it starts the provider.
  terraform show -json deploy.tfplan >plan.json
}
DATA_IN_THE_WAY="nothing was changed, as that would take away what holds Postgres's data (named above): it cannot move to another
database, zone (subnet_id) or key (ebs_kms_key_arn). docs/deploy-aws.md, Another database"

# User data of which a part is not known yet, like the address that is made in the same apply: the provider plans a change
# of the instance, and finds out in the apply that it is a replacement, which Terraform refuses
# (hashicorp/terraform-provider-aws#35066).
is_replaced_unforeseen() {
  python3 <plan.json -c '
import json, sys
changes = {c["address"]: c["change"] for c in json.load(sys.stdin).get("resource_changes", [])}
change = changes.get("aws_instance.api", {})
unknown = change.get("after_unknown", {}).get("user_data_base64")
sys.exit(not (change.get("actions") == ["update"] and unknown))'
}

apply() {
  step 'terraform apply'
  patiently terraform apply -input=false -no-color -lock-timeout=60s deploy.tfplan
}

show_result() {
  echo
  echo "instance id  $(terraform output -raw instance_id)"
  echo "public ip    $(terraform output -raw public_ip)"
  echo "url          $(terraform output -raw url)"
}

check_secrets() {
  secrets=s3://$TF_VAR_bucket/$SECRETS_KEY
  # Read, not only looked for: an RDS instance gets its user and password from it.
  if ! text=$(aws s3 cp --only-show-errors "$secrets" - 2>&1); then
    fail "cannot read $secrets: $(last_line "$text")
The instance will need it. It holds POSTGRES_USER, POSTGRES_PASSWORD, ADMIN_TOKEN and ENCRYPTION_KEY: aws s3 cp .env $secrets"
  fi
  refuse_doubtful_lines
  needed='ADMIN_TOKEN ENCRYPTION_KEY'
  [ -n "$(setting DATABASE_URL)" ] || needed="POSTGRES_USER POSTGRES_PASSWORD $needed"
  missing=
  for name in $needed; do
    [ -n "$(setting "$name")" ] || missing="$missing $name"
  done
  [ -z "$missing" ] || fail "$secrets does not set$missing"
  refuse_contradictions
  make_agent_keys
  # Another .env, or other keys, are another instance; with the same ones the same command has nothing to do.
  version_of_secrets=$(version_of "$SECRETS_KEY") || exit 1
  version_of_keys=$(version_of "${AGENT_KEYS_PREFIX}current.pem") || exit 1
  export TF_VAR_secrets_version="$version_of_secrets-$version_of_keys"
  # Used with database = rds only.
  TF_VAR_rds_username=$(setting POSTGRES_USER) TF_VAR_rds_password=$(setting POSTGRES_PASSWORD)
  export TF_VAR_rds_username TF_VAR_rds_password
}

refuse_doubtful_lines() {
  doubtful=$(printf '%s\n' "$text" | python3 "$LIBRARY/doubtful_lines.py")
  # shellcheck disable=SC2016  # literally
  [ -z "$doubtful" ] || fail "$secrets, line $doubtful: a line is NAME=value, without spaces around =, with no comment behind the value, no "'${ in it,'" and quotes, if any, around the whole value"
}

# What the stack decides, as its permissions and its network follow. A file copied from .env.example has a region in it.
refuse_contradictions() {
  region=$(setting AWS_REGION)
  [ -z "$region" ] || [ "$region" = "$AWS_REGION" ] ||
    fail "$secrets sets AWS_REGION=$region, and this deploys into $AWS_REGION: take the line out of the file, or set AWS_REGION=$region here"
  decided=
  for name in $DECIDED_BY_TERRAFORM; do
    [ -z "$(setting "$name")" ] || decided="$decided $name"
  done
  [ -z "$decided" ] || fail "$secrets sets$decided, which Terraform decides by its variables $DECIDED_BY: take them out of the file"
}
DECIDED_BY_TERRAFORM='CLUSTER AGENT_URL AGENT_PINS ALLOWED_SUBNETS ALLOWED_SECURITY_GROUPS ALLOWED_PROFILES ALLOWED_AMIS ALLOWED_CIDRS INGRESS_CIDRS DATA_VOLUME_ID'
DECIDED_BY='name, job_subnet_ids, job_security_group_ids, job_profiles, job_amis, allowed_cidrs, ingress_cidrs and database'

refuse_decided() {
  case " $DECIDED_BY_TERRAFORM " in
    *" $1 "*) fail "$1 is decided by Terraform, by its variables $DECIDED_BY: it is no line of the file" ;;
  esac
}

# Agents know them from their instance's user data, so they outlive every instance of the API. The next one is made ahead of
# its use (docs/operations.md).
make_agent_keys() {
  for name in current next; do
    key=$AGENT_KEYS_PREFIX$name.pem
    if has_object "$key"; then continue; fi
    if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then return; fi
    step "making s3://$TF_VAR_bucket/$key"
    pem=$(mktemp)
    make_agent_key "$pem"
    aws s3 cp --only-show-errors "$pem" "s3://$TF_VAR_bucket/$key"
    rm "$pem"
  done
}

# Into the file $1: key and certificate.
make_agent_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
  certificate=$(openssl req -x509 -new -key "$1" -subj '/CN=Scheduler API agents' -days 36500)
  printf '%s\n' "$certificate" >>"$1"
}

# Whether the bucket has an object of the key $1. Only S3's word that it has none counts: what is made then takes its place.
has_object() {
  if said=$(aws s3api head-object --bucket "$TF_VAR_bucket" --key "$1" 2>&1); then return 0; fi
  case $said in
    *'(404)'*) return 1 ;;
    *) fail "it cannot be determined whether s3://$TF_VAR_bucket/$1 is there: $(last_line "$said")" ;;
  esac
}

# Of an object, by its key: S3's version, or what it holds where there are none; nothing where there is no object. An
# answer that fails is none: it would be another version, and with that another instance.
version_of() {
  has_object "$1" || return 0
  versions=$(aws s3api head-object --bucket "$TF_VAR_bucket" --key "$1" --query '[VersionId, ETag]' --output text) ||
    fail "the version of s3://$TF_VAR_bucket/$1 cannot be determined"
  printf '%s\n' "$versions" |
    awk '{ print ($1 == "None" || $1 == "null") ? $2 : $1 }' | tr -cd 'A-Za-z0-9._-'
}

# Where a bucket is, or AWS_REGION where S3 does not say.
bucket_region() {
  region=$(aws s3api get-bucket-location --bucket "$1" --query LocationConstraint --output text 2>/dev/null) || region=$AWS_REGION
  case $region in
    None | null) echo us-east-1 ;;
    EU) echo eu-west-1 ;;
    *) echo "$region" ;;
  esac
}

# A state holds one stack: another region would take everything away where the first one is, and another name what
# belongs to a stack of that name. Into $api the id of its instance of the API, which stays until the apply.
check_stack() {
  api=$(of_the_instance id)
  stack=$(of_the_instance tags_all scheduler-api:stack)
  name=$(stack_name)
  [ -z "$stack" ] || [ "$stack" = "$name" ] ||
    fail "the state $TF_STATE_KEY of $TF_STATE_BUCKET is of the stack $stack, and this is for $name: set TF_VAR_name=$stack, or TF_STATE_KEY to another key"
  zone=$(of_the_instance availability_zone)
  case $zone in
    '' | "$AWS_REGION"*) ;;
    *) fail "the state $TF_STATE_KEY is of a stack in $zone, and this deploys into $AWS_REGION: set TF_STATE_KEY to another key, and a name (TF_VAR_name) of its own" ;;
  esac
}

# The same commit and the same settings are the same instance: one whose boot failed would stay as it is.
repeat_flag() {
  [ -n "$api" ] || return 0
  case $(boot_state "$api") in
    failed*) echo -replace=aws_instance.api ;;
    serving* | released*) ;;
    # One that could not even say that it failed.
    *) if is_overdue "$api"; then echo -replace=aws_instance.api; fi ;;
  esac
}

# Whether the instance $1 was launched longer ago than a first boot takes.
is_overdue() {
  at=$(launched "$ALIVE" "Name=instance-id,Values=$1" | cut -d ' ' -f 1)
  [ -n "$at" ] && [ "$(printf '%s\n' "$at" "$(date -u -d "$BOOT_MINUTES minutes ago" +%FT%T)" | sort | head -n 1)" = "$at" ]
}
BOOT_MINUTES=45

# Of the API's instance in the state what its attributes have under the names; nothing where there is none.
of_the_instance() { in_state aws_instance.api "$@"; }

# Of $1 (type.name). Not by `state show`, which starts the provider and takes seconds.
in_state() {
  terraform state pull 2>/dev/null | python3 -c '
import json, sys
address, *names = sys.argv[1:]
text = sys.stdin.read()
resources = json.loads(text)["resources"] if text else []
ours = [one for one in resources if one["mode"] == "managed" and one["type"] + "." + one["name"] == address]
for instance in [instance for one in ours for instance in one["instances"] if "deposed" not in instance][:1]:
    value = instance["attributes"]
    for name in names:
        value = (value or {}).get(name)
    print(value or "")' "$@"
}

choose_commit() {
  if ! commit=$(repository_git rev-parse HEAD 2>&1); then fail "$REPOSITORY is no git repository: $(last_line "$commit")"; fi
  export TF_VAR_bundle_key="bundles/$commit.tar.gz"
  if [ -n "$(repository_git status --porcelain --untracked-files=no)" ]; then
    step 'NOTE: changes that are not committed are not deployed'
  fi
}

# With APP_IMAGE too: docker-compose.yml and nginx's configuration come from it.
upload() {
  if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then return; fi
  step "uploading s3://$TF_VAR_bucket/$TF_VAR_bundle_key"
  bundle=$(mktemp)
  repository_git archive --format=tar.gz -o "$bundle" "$commit"
  aws s3 cp --only-show-errors "$bundle" "s3://$TF_VAR_bucket/$TF_VAR_bundle_key"
  rm "$bundle"
}

# A copy of the committed files, so that what is applied is what was uploaded, and the mounted repository stays as it is.
cd_into_copy() {
  copy=$(mktemp -d)
  # Holds the plan, and with it secrets.
  remove_at_end "$copy"
  repository_git archive "$commit" terraform deploy/nginx docker-compose.yml | tar -x -C "$copy"
  for file in "$REPOSITORY"/terraform/*.tfvars; do
    if [ -e "$file" ]; then cp "$file" "$copy/terraform/"; fi
  done
  cd "$copy/terraform"
}

target_flags() {
  # shellcheck disable=SC2086  # several, by spaces
  case ${DEPLOY_TARGETS:-} in
    all) ;;
    '') sed -n 's/^[a-z]/-target=&/p' "$TARGETS_FILE" ;;
    *) printf -- '-target=%s\n' $DEPLOY_TARGETS ;;
  esac
}

# Terraform must get Ctrl-C and `docker stop`, and time to end, or it leaves its lock behind. In a session of its own,
# as a terminal's Ctrl-C would reach it in addition to ours: at the second one it forgets what it is making.
patiently() {
  setsid "$@" &
  child=$!
  trap 'kill -TERM "$child"' INT TERM
  status=0
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
  done
  trap - INT TERM
  return "$status"
}

# Of the file of secrets, with or without quotes.
setting() {
  printf '%s\n' "$text" | sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}$1=//p" | tail -n 1 | tr -d '\r' |
    sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/"
}

# Mounted, it belongs to the user who made the checkout.
repository_git() { git -c "safe.directory=$REPOSITORY" -C "$REPOSITORY" "$@"; }

# Debian's AWS CLI does not read AWS_ENDPOINT_URL itself.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# A file or folder of ours, which has no space in its name.
remove_at_end() {
  at_end="${at_end:-} $1"
  # shellcheck disable=SC2086  # several
  trap 'rm -rf $at_end' EXIT
}

last_line() { printf '%s\n' "$1" | sed '/^$/d' | tail -n 1; }

# A question that only a person may answer, or DEPLOY_YES.
confirm() {
  if [ "${DEPLOY_YES:-}" = 1 ]; then return; fi
  [ -t 0 ] || fail "$1 There is no terminal to answer in: run it with \`docker-compose run --rm scheduler-deploy …\` in a terminal, or set DEPLOY_YES=1"
  printf '%s [y/N] ' "$1"
  read -r answer
  case $answer in y | Y | yes) ;; *) fail 'nothing more was changed' ;; esac
}

step() { echo "scheduler-deploy: $*"; }

fail() {
  echo "scheduler-deploy: $*" >&2
  exit 1
}

main "$@"
