#!/bin/sh
# Deploys the current commit onto AWS: uploads it to S3, then terraform init, plan and apply.
#
#   docker-compose up scheduler-deploy
#
# Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; or ~/.aws mounted at /root/.aws, and AWS_PROFILE.
# Settings (environment):
#   TF_STATE_BUCKET     bucket of the state, the secrets, the bundles and the logs; for example sharbesh-terraform-state
#   TF_STATE_KEY        the state in it; default scheduler-api/terraform.tfstate
#   TF_STATE_REGION     where the bucket is; default AWS_REGION
#   AWS_REGION          where to deploy; default us-west-2
#   APP_IMAGE           image of the API; default: the instance builds the commit
#   TF_VAR_<name>       any variable of terraform/variables.tf; so does terraform/terraform.tfvars. allowed_cidrs has no default.
#   DEPLOY_TARGETS      what to apply: addresses, or "all"; default: the file targets beside this one
#   DEPLOY_PLAN_ONLY    1: shows the plan and uploads nothing
# For a rehearsal: REPOSITORY, AWS_ENDPOINT_URL.
set -eu

REPOSITORY=${REPOSITORY:-/repository}
AWS_REGION=${AWS_REGION:-us-west-2}
TF_STATE_KEY=${TF_STATE_KEY:-scheduler-api/terraform.tfstate}
TARGETS_FILE=$(dirname "$0")/targets

main() {
  check_settings
  check_credentials
  choose_commit
  upload
  cd_into_copy
  step 'terraform init'
  terraform init -input=false -no-color \
    "-backend-config=bucket=$TF_STATE_BUCKET" "-backend-config=key=$TF_STATE_KEY" "-backend-config=region=$TF_STATE_REGION"
  step 'terraform plan'
  # shellcheck disable=SC2046  # addresses have no spaces
  patiently terraform plan -input=false -no-color -lock-timeout=60s -out=deploy.tfplan $(target_flags)
  if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then return; fi
  step 'terraform apply'
  patiently terraform apply -input=false -no-color -lock-timeout=60s deploy.tfplan
  echo
  echo "instance id  $(terraform output -raw instance_id)"
  echo "public ip    $(terraform output -raw public_ip)"
  echo "url          $(terraform output -raw url)"
}

check_settings() {
  [ -n "${TF_STATE_BUCKET:-}" ] || fail 'TF_STATE_BUCKET is not set: the bucket of the state and the secrets, like sharbesh-terraform-state'
  [ -d "$REPOSITORY/terraform" ] || fail "there is no terraform/ in $REPOSITORY: mount the repository there"
  if [ -z "${TF_VAR_allowed_cidrs:-}" ] && ! grep -qs '^allowed_cidrs' "$REPOSITORY/terraform/terraform.tfvars"; then
    fail "allowed_cidrs is not set: who may call the API. TF_VAR_allowed_cidrs='[\"203.0.113.7/32\"]', or a line in terraform/terraform.tfvars"
  fi
  TF_STATE_REGION=${TF_STATE_REGION:-$AWS_REGION}
  export AWS_REGION AWS_DEFAULT_REGION="$AWS_REGION"
  export TF_VAR_region="$AWS_REGION" TF_VAR_bucket="${TF_VAR_bucket:-$TF_STATE_BUCKET}" TF_IN_AUTOMATION=1
  if [ -n "${APP_IMAGE:-}" ]; then export TF_VAR_app_image="$APP_IMAGE"; fi
}

check_credentials() {
  if ! who=$(aws sts get-caller-identity --query Arn --output text 2>&1); then
    fail "AWS does not know us: $(last_line "$who")
Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE with ~/.aws mounted at /root/.aws."
  fi
  step "as $who, in $AWS_REGION"
  secrets=s3://$TF_VAR_bucket/${TF_VAR_secrets_key:-secrets/.env}
  # Read, not only looked for: an RDS instance gets its user and password from it.
  if ! text=$(aws s3 cp --only-show-errors "$secrets" - 2>&1); then
    fail "cannot read $secrets: $(last_line "$text")
The instance will need it. It holds POSTGRES_USER, POSTGRES_PASSWORD, ADMIN_TOKEN and ENCRYPTION_KEY: aws s3 cp .env $secrets"
  fi
  needed='ADMIN_TOKEN ENCRYPTION_KEY'
  [ -n "$(setting DATABASE_URL)" ] || needed="POSTGRES_USER POSTGRES_PASSWORD $needed"
  missing=
  for name in $needed; do
    [ -n "$(setting "$name")" ] || missing="$missing $name"
  done
  [ -z "$missing" ] || fail "$secrets does not set$missing"
  # Used with database = rds only.
  TF_VAR_rds_username=$(setting POSTGRES_USER) TF_VAR_rds_password=$(setting POSTGRES_PASSWORD)
  export TF_VAR_rds_username TF_VAR_rds_password
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
  trap 'rm -rf "$copy"' EXIT
  repository_git archive "$commit" terraform | tar -x -C "$copy"
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

# Ctrl-C or `docker stop` reach this shell only. Terraform must hear of it, and be waited for, or it leaves its lock behind.
patiently() {
  "$@" &
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

# Mounted, it belongs to whoever made the checkout.
repository_git() { git -c "safe.directory=$REPOSITORY" -C "$REPOSITORY" "$@"; }

# Debian's AWS CLI does not read AWS_ENDPOINT_URL itself.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

last_line() { printf '%s\n' "$1" | sed '/^$/d' | tail -n 1; }

step() { echo "scheduler-deploy: $*"; }

fail() {
  echo "scheduler-deploy: $*" >&2
  exit 1
}

main
