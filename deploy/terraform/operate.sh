# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy secrets, rotate-agent-keys: what a running stack needs now and then, without a way into its instance.
# Sourced by entrypoint.sh. Only the requested output goes to standard output.

MAX_VALUE_BYTES=16384
ALIVE=pending,running,stopping,stopped
TAKES_EFFECT='a deployment takes it into use: docker-compose run --rm scheduler-deploy up'

# --- the .env object of the bucket ---

manage_secrets() {
  case ${1:-} in
    list) [ $# = 1 ] || fail 'secrets list takes nothing else' ;;
    get | set | unset)
      case ${2:-} in
        '' | [!A-Z]* | *[!A-Z0-9_]*) fail "secrets $1 NAME: a setting is named like ADMIN_TOKEN" ;;
      esac
      [ $# = 2 ] || fail "secrets $1 NAME: the value is read from standard input, as arguments can be seen by others"
      ;;
    *) fail 'secrets list | get NAME | set NAME | unset NAME' ;;
  esac
  find_stack >&2
  read_secrets
  case $1 in
    list) names_of_settings | sort -u ;;
    get) names_of_settings | grep -Fxq "$2" || fail "$secrets does not set $2" && setting "$2" ;;
    set) set_secret "$2" >&2 ;;
    unset) unset_secret "$2" >&2 ;;
  esac
}

set_secret() {
  refuse_decided "$1"
  read_value "$1"
  if [ "$1" = AWS_REGION ] && [ "$value" != "$AWS_REGION" ]; then
    fail "AWS_REGION is $AWS_REGION here, and Terraform decides it: leave it out of the file"
  fi
  refuse_lost_key "$1"
  line=$1=$(quote "$1")
  if [ "$(lines_of "$1")" = "$line" ]; then
    step "$secrets says so already: nothing was changed"
    return
  fi
  change_setting "$1" "$line"
  upload_secrets
  step "set $1 in $secrets; $TAKES_EFFECT"
}

unset_secret() {
  [ -n "$(lines_of "$1")" ] || fail "$secrets does not set $1"
  value=
  refuse_lost_key "$1"
  change_setting "$1" ''
  upload_secrets
  step "took $1 out of $secrets; $TAKES_EFFECT"
}

read_secrets() {
  secrets=s3://$TF_VAR_bucket/$SECRETS_KEY
  work=$(mktemp -d)
  remove_at_end "$work"
  aws s3 cp --only-show-errors "$secrets" "$work/.env" 2>"$work/error" >&2 ||
    fail "cannot read $secrets: $(last_line "$(cat "$work/error")")"
  text=$(cat "$work/.env")
}

# Into $value: one line, from a pipe, or typed without being shown.
read_value() {
  if [ -t 0 ]; then
    stty -echo
    printf 'Value of %s (not shown): ' "$1"
    IFS= read -r value || value=
    stty echo
    echo
  else
    # The point keeps what $(…) would take away, so that only one end of line is allowed.
    value=$(head -c "$((MAX_VALUE_BYTES + 2))" && echo .)
    value=${value%.}
    value=${value%"$NEWLINE"}
  fi
  [ -n "$value" ] || fail "there is no value: to take the setting out, secrets unset $1"
  [ "$(printf %s "$value" | wc -c)" -le "$MAX_VALUE_BYTES" ] || fail "the value has more than $MAX_VALUE_BYTES bytes"
  [ "$(printf %s "$value" | tr -d '[:cntrl:]' | wc -c)" = "$(printf %s "$value" | wc -c)" ] ||
    fail 'the value has ends of lines or other control characters, which a line of the file cannot hold'
}
NEWLINE='
'

# What the database holds is encrypted with it.
refuse_lost_key() {
  [ "$1" = ENCRYPTION_KEY ] || return 0
  before=$(setting ENCRYPTION_KEY)
  if [ -z "$before" ] || [ "$before" = "$value" ]; then return; fi
  case ,$(setting ENCRYPTION_KEYS_OLD), in *",$before,"*) return ;; esac
  fail "what the database holds is encrypted with the present ENCRYPTION_KEY: add that to ENCRYPTION_KEYS_OLD first, which takes several with commas between (docs/operations.md, Rotation of secrets)"
}

# As docker-compose, the deploy container and the instance all read it.
quote() {
  case $value in
    *[!A-Za-z0-9._~:/?@%\&*+=,\;-]*) ;;
    *) printf %s "$value" && return ;;
  esac
  # shellcheck disable=SC2016  # a dollar sign that is meant
  case $value in
    *\'* | *\\* | *'${'*) fail "a value of $1 with ', \\ or \${ in it is read differently by different versions of docker-compose: choose another" ;;
  esac
  printf "'%s'" "$value"
}

names_of_settings() {
  printf '%s\n' "$text" | sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}\([A-Za-z_][A-Za-z_0-9]*\)=.*/\2/p"
}

lines_of() {
  printf '%s\n' "$text" | grep -E "^[[:space:]]*(export[[:space:]]+)?$1=" || true
}

# $2 in the place of the last line that sets $1, which is the one that counts, or at the end; no line more that sets it, and
# all others as they are. By the environment, as awk would read backslashes in what -v is given.
change_setting() {
  # shellcheck disable=SC2016  # of awk
  line=$2 lines="^[ \t]*(export[ \t]+)?$1=" awk '
    NR == FNR { if ($0 ~ ENVIRON["lines"]) last = FNR; next }
    FNR == last && ENVIRON["line"] != "" { print ENVIRON["line"]; next }
    $0 !~ ENVIRON["lines"] { print }
    END { if (!last && ENVIRON["line"] != "") print ENVIRON["line"] }
  ' "$work/.env" "$work/.env" >"$work/.env.new"
  mv "$work/.env.new" "$work/.env"
}

upload_secrets() {
  aws s3 cp --only-show-errors "$work/.env" "$secrets"
  text=$(cat "$work/.env")
}

# --- the keys of agents' TLS ---

# The next one becomes the one in use, and a new one the next: docs/operations.md, TLS for agents. Stopped between the two
# it has made both the same, which the same command mends.
rotate_agent_keys() {
  find_stack
  current=${AGENT_KEYS_PREFIX}current.pem
  next=${AGENT_KEYS_PREFIX}next.pem
  if ! since=$(changed_at "$current") || ! changed_at "$next" >/dev/null; then
    fail "there are no keys to rotate in s3://$TF_VAR_bucket/${current%current.pem}: the first deployment makes them"
  fi
  refuse_unknown_keys
  pem=$(mktemp)
  remove_at_end "$pem"
  make_agent_key "$pem"
  aws s3 cp --only-show-errors "s3://$TF_VAR_bucket/$next" "s3://$TF_VAR_bucket/$current"
  aws s3 cp --only-show-errors "$pem" "s3://$TF_VAR_bucket/$next"
  step "rotated the keys of agents' TLS (the one that goes was in use since $since); $TAKES_EFFECT"
}

# Agents know the key that was in use when their instance was launched, and the one after it.
refuse_unknown_keys() {
  # Stopped between its two uploads: the rest of that rotation.
  if [ "$(aws s3 cp "s3://$TF_VAR_bucket/$current" -)" = "$(aws s3 cp "s3://$TF_VAR_bucket/$next" -)" ]; then return; fi
  name=$(stack_name)
  serving=$(running_api | instance_that_serves)
  [ -n "$serving" ] || fail "no instance of $name serves, so it is not known which keys agents have: deploy first"
  if [ "$(printf '%s\n' "${serving%% *}" "$since" | sort | head -n 1)" != "$since" ]; then
    fail "the keys were rotated at $since, and no deployment has taken that into use: agents would know neither key. Deploy first"
  fi
  old=$(launched "$ALIVE" "Name=tag:scheduler-api:cluster,Values=$name" | awk -v since="$since" '$1 < since { print $2 }' | head -n 20)
  [ -z "$old" ] || confirm "Instances of jobs that were launched before the last rotation ($since) will not know the key that
comes after this one: $(printf %s "$old" | tr '\n' ' '). Their containers run on, and their jobs need a restart. Go on?"
}

# When and what, a line each, of instances in the states $1; times as changed_at's.
launched() {
  states=$1
  shift
  aws ec2 describe-instances --output text --query 'Reservations[].Instances[].[LaunchTime, InstanceId]' \
    --filters "$@" "Name=instance-state-name,Values=$states" | sed 's/^\(.\{19\}\)[^[:space:]]*[[:space:]]*/\1 /'
}

changed_at() {
  time=$(aws s3api head-object --bucket "$TF_VAR_bucket" --key "$1" --query LastModified --output text 2>/dev/null) || return 1
  # Whatever cli_timestamp_format says.
  date -u -d "$time" +%FT%T
}
