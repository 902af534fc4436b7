# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy up: from credentials to an API that serves. Sourced by entrypoint.sh.

up() {
  check_repository
  check_credentials
  choose_bucket
  make_bucket
  find_bucket
  make_secrets
  bring_up
}

# The present commit with the present settings, after a question.
bring_up() {
  check_secrets
  choose_commit
  cd_into_copy
  initialise
  refuse_strangers
  choose_networks
  go_on_with_restore
  take_kept_volume
  plan
  if ! has_changes; then
    start_again
  else
    python3 "$LIBRARY/costs.py" <plan.json
    if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then return; fi
    confirm 'Go on?'
    upload
    apply
  fi
  show_result
  say_how_to_call
}

say_how_to_call() {
  echo "token        ADMIN_TOKEN of $secrets:  aws s3 cp $secrets - | grep ^ADMIN_TOKEN="
  echo "command      export SCHEDULER_URL=$(terraform output -raw url) SCHEDULER_TOKEN=<the token>"
  # An output of nothing is none.
  if jobs_url=$(terraform output -raw jobs_url 2>/dev/null); then echo "jobs         ${jobs_url%%://*}://<name>.${jobs_url#*://}"; fi
}

# Private, with versions, and without what was deleted long ago.
make_bucket() {
  if said=$(look_at_bucket 2>&1); then
    if [ -n "$is_default_bucket" ]; then protect_bucket; fi
    return
  fi
  case $said in
    *404* | *'Not Found'* | *NoSuchBucket*) ;;
    *) fail "the bucket $TF_STATE_BUCKET cannot be used: $(last_line "$said")
If it is somebody else's, choose another name: TF_STATE_BUCKET=…" ;;
  esac
  confirm "Make the bucket $TF_STATE_BUCKET in $AWS_REGION, for Terraform's state, the secrets, the bundles and the logs?"
  if [ "$AWS_REGION" = us-east-1 ]; then
    aws s3api create-bucket --bucket "$TF_STATE_BUCKET" >/dev/null
  else
    aws s3api create-bucket --bucket "$TF_STATE_BUCKET" --create-bucket-configuration "LocationConstraint=$AWS_REGION" >/dev/null
  fi
  protect_bucket
  step "made the bucket $TF_STATE_BUCKET"
}

# The versions last: where they are, the rest is as well.
protect_bucket() {
  [ "$(aws s3api get-bucket-versioning --bucket "$TF_STATE_BUCKET" --query Status --output text)" != Enabled ] || return 0
  aws s3api put-public-access-block --bucket "$TF_STATE_BUCKET" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
  # With versions, what the API deletes stays as a former version: of jobs' logs for ever, without this.
  aws s3api put-bucket-lifecycle-configuration --bucket "$TF_STATE_BUCKET" --lifecycle-configuration '{"Rules": [
    {"ID": "deleted logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"},
     "NoncurrentVersionExpiration": {"NoncurrentDays": 7}, "Expiration": {"ExpiredObjectDeleteMarker": true}},
    {"ID": "unfinished uploads", "Status": "Enabled", "Filter": {"Prefix": ""},
     "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]}'
  aws s3api put-bucket-versioning --bucket "$TF_STATE_BUCKET" --versioning-configuration Status=Enabled
}

# Of another stack of this name, or from an apply that was killed: two would share one fleet, each with a database of its own.
refuse_strangers() {
  if [ -n "$api" ]; then return; fi
  name=$(stack_name)
  strangers=$(running_api | cut -d ' ' -f 2 | tr '\n' ' ')
  [ -z "$strangers" ] || fail "the API of a stack $name runs already (${strangers% }), and the state $TF_STATE_KEY of $TF_STATE_BUCKET does not know it.
Is it another stack? Then set TF_VAR_name to another name. Is it left over? aws ec2 terminate-instances --instance-ids ${strangers% }"
}

# One that \`down\` stopped before it was interrupted, or somebody by hand.
start_again() {
  [ "$(aws ec2 describe-instances --instance-ids "$api" --output text --query 'Reservations[0].Instances[0].State.Name')" = stopped ] ||
    return 0
  step "starting $api, which was stopped"
  aws ec2 start-instances --instance-ids "$api" >/dev/null
  aws ec2 wait instance-running --instance-ids "$api"
}

# Random values, which are only in the bucket.
make_secrets() {
  if has_object "$SECRETS_KEY"; then return; fi
  cat <<END | aws s3 cp --only-show-errors - "s3://$TF_VAR_bucket/$SECRETS_KEY"
POSTGRES_USER=scheduler
POSTGRES_PASSWORD=$(openssl rand -hex 24)
ADMIN_TOKEN=$(openssl rand -hex 32)
ENCRYPTION_KEY=$(openssl rand -base64 32)
END
  step "made s3://$TF_VAR_bucket/$SECRETS_KEY with random values"
}

# Who may call: what is said, else what was chosen before, else this machine's own address, after a question.
choose_networks() {
  if has_networks; then return; fi
  before=$(terraform output -no-color -json allowed_cidrs 2>/dev/null) || before=
  case $before in
    '["'*) networks=$before ;;
    *)
      address=$(python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read(64).decode().strip())' \
        "${ADDRESS_URL:-https://checkip.amazonaws.com}" 2>/dev/null) || address=
      case $address in
        *[!0-9.]* | '') fail "this machine's address is not known: say who may call the API, TF_VAR_allowed_cidrs='[\"203.0.113.7/32\"]'" ;;
      esac
      confirm "Only $address/32, where you are now, may call the API. Is that right? (Others: TF_VAR_allowed_cidrs='[\"203.0.113.0/24\"]')"
      networks=$(printf '["%s/32"]' "$address")
      ;;
  esac
  export TF_VAR_allowed_cidrs="$networks"
}

# The data volume that `down` kept, which is the stack's again. There may be one only: among several it could not choose.
take_kept_volume() {
  [ "$(variable database volume)" = volume ] || return 0
  if terraform state list 2>/dev/null | grep -qF 'aws_ebs_volume.data'; then return; fi
  name=$(stack_name)
  kept=$(aws ec2 describe-volumes --output text --query 'Volumes[].VolumeId' \
    --filters "Name=tag:scheduler-api:stack,Values=$name" "Name=tag:Name,Values=$name-data" Name=status,Values=available,in-use)
  # shellcheck disable=SC2086  # several, by spaces
  set -- $kept
  case $# in
    0) ;;
    1)
      holder=$(aws ec2 describe-volumes --volume-ids "$1" --output text --query 'Volumes[0].Attachments[0].InstanceId')
      [ "$holder" = None ] || fail "the volume $1 of $name is still on $holder: finish \`down\` first, or terminate that instance"
      if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ]; then
        step "NOTE: the volume $1 would be taken into use again, which the plan does not show"
        return
      fi
      step "taking the volume $1 into use again"
      patiently terraform import -input=false -no-color 'aws_ebs_volume.data[0]' "$1"
      ;;
    *) fail "there are several volumes of $name, $*: delete or rename (tag Name) those that are not meant" ;;
  esac
}

stack_name() { variable name scheduler; }

# A variable of terraform/variables.tf, a text: as terraform.tfvars or the environment say, which is Terraform's own order;
# else $2.
variable() {
  said=$(cat "$REPOSITORY"/terraform/terraform.tfvars "$REPOSITORY"/terraform/*.auto.tfvars 2>/dev/null |
    sed -n "s/^$1 *= *\"\([^\"]*\)\".*/\1/p" | tail -n 1)
  eval "given=\${TF_VAR_$1:-}"
  # shellcheck disable=SC2154  # by eval
  echo "${said:-${given:-$2}}"
}

has_changes() {
  python3 <plan.json -c 'import json, sys; sys.exit(all(c["change"]["actions"] in (["no-op"], ["read"]) for c in json.load(sys.stdin).get("resource_changes", [])))'
}
