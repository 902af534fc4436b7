# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy rotate-keys: another ENCRYPTION_KEY, and everything encrypted again with it. Sourced by entrypoint.sh.
#
# The .env file of the bucket has how far it came, in a comment that is written together with the keys and names the old
# key by a fingerprint.
#   1. where the old instance runs next to the new one, so not with database = "volume": the new key into ENCRYPTION_KEYS_OLD,
#      and a deployment, so that both can open what the new one writes
#   2. the new key into ENCRYPTION_KEY, the old one into ENCRYPTION_KEYS_OLD, and a deployment
#   3. the instance encrypts again what still has the old key
#   4. the old key out of ENCRYPTION_KEYS_OLD, and the comment with it
ROTATION='# scheduler-deploy rotate-keys: '
ROTATION_TRIES=5

rotate_keys() {
  [ "${DEPLOY_PLAN_ONLY:-}" != 1 ] || fail 'DEPLOY_PLAN_ONLY: a rotation changes the file before there is a plan'
  check_repository
  find_stack
  name=$(checked_name)
  read_secrets
  read_rotation
  if [ -z "$going" ]; then begin_rotation; else step "a rotation was begun at $since: going on with it"; fi
  if [ "$(fingerprint "$(setting ENCRYPTION_KEY)")" = "$going" ]; then
    bring_up
    take_new_key
  fi
  bring_up
  encrypt_anew
  end_rotation
}

# Into $since and $going: when it was begun, and which key goes. Both empty = none is under way.
read_rotation() {
  said=$(printf '%s\n' "$text" | sed -n "s/^$ROTATION\(.*\)/\1/p" | tail -n 1)
  since=$(printf %s "$said" | cut -d ' ' -f 1) going=$(printf %s "$said" | cut -d ' ' -f 2)
}

fingerprint() { printf %s "$1" | sha256sum | cut -c -16; }

begin_rotation() {
  old=$(setting ENCRYPTION_KEY)
  [ -n "$old" ] || fail "$secrets sets no ENCRYPTION_KEY"
  refuse_undeployed
  confirm "Rotate ENCRYPTION_KEY of $name in $AWS_REGION? A new instance takes it into use, and encrypts again what the database holds."
  new=$(openssl rand -base64 32)
  since=$(date -u +%FT%TZ) going=$(fingerprint "$old")
  is_alone=$([ "$(variable database volume)" != volume ] || echo 1)
  if [ -n "$is_alone" ]; then change_keys "$new" "$old"; else change_keys "$old" "$new"; fi
  printf '%s%s %s\n' "$ROTATION" "$since" "$going" >>"$work/.env"
  upload_secrets
  if [ -n "$is_alone" ]; then
    step "wrote a new ENCRYPTION_KEY into $secrets, and the old one into ENCRYPTION_KEYS_OLD"
  else
    step "wrote a new key into ENCRYPTION_KEYS_OLD of $secrets: both instances of the next deployments will know it"
  fi
}

# Else an operator who did not see the end of a rotation would do it again.
refuse_undeployed() {
  serving=$(running_api | instance_that_serves)
  [ -n "$serving" ] || fail "no instance of $name serves, and the new key would have to be taken into use: deploy first"
  changed=$(changed_at "$SECRETS_KEY")
  [ "$(printf '%s\n' "${serving%% *}" "$changed" | sort | head -n 1)" = "$changed" ] ||
    fail "$secrets was changed at $changed, after the instance that serves was made: deploy that first (up). If that change was the end of a rotation, nothing else is to be done"
}

# The first key becomes ENCRYPTION_KEY; the second one is put before those in ENCRYPTION_KEYS_OLD, where the first one is not
# any more.
change_keys() {
  olds=$(old_keys | while read -r one; do if [ "$one" != "$1" ] && [ "$one" != "$2" ]; then echo "$one"; fi; done)
  value=$1
  change_setting ENCRYPTION_KEY "ENCRYPTION_KEY=$(quote ENCRYPTION_KEY)"
  value=$(printf '%s\n' "$2" "$olds" | sed '/^$/d' | paste -sd , -)
  change_setting ENCRYPTION_KEYS_OLD "ENCRYPTION_KEYS_OLD=$(quote ENCRYPTION_KEYS_OLD)"
}

old_keys() { setting ENCRYPTION_KEYS_OLD | tr ',' '\n' | tr -d ' \t'; }

take_new_key() {
  read_secrets
  new=$(old_keys | head -n 1)
  [ -n "$new" ] || fail "ENCRYPTION_KEYS_OLD of $secrets holds no new key any more: somebody else changed it"
  change_keys "$new" "$(setting ENCRYPTION_KEY)"
  upload_secrets
  step "the new key is ENCRYPTION_KEY of $secrets, and the old one in ENCRYPTION_KEYS_OLD"
}

# Until nothing is left: a process may hold a row just then.
encrypt_anew() {
  choose_instance
  key=$(fingerprint "$(setting ENCRYPTION_KEY)")
  try=1
  while :; do
    step "encrypting again on $instance what still has the old key"
    ask_instance "cd $APP || exit
$COMPOSE run --rm --no-deps -T scheduler sh -c '[ \"\$(printf %s \"\$ENCRYPTION_KEY\" | sha256sum | cut -c -16)\" = $key ] ||
  { echo \"rotate-keys: this instance runs with another ENCRYPTION_KEY than the file in the bucket has\" >&2; exit 3; }
exec node dist/main.js rotate-keys' </dev/null" 3600
    if [ "$ended" = Success ]; then return; fi
    [ "$try" -lt "$ROTATION_TRIES" ] ||
      fail "something is left of the old key after $try tries (above). It stays in ENCRYPTION_KEYS_OLD, and everything can be opened; the same command goes on"
    sleep "${POLL_SECONDS:-$((try * 10))}"
    try=$((try + 1))
  done
}

# Read again: others may have changed the file in these minutes.
end_rotation() {
  read_secrets
  begun=$going
  read_rotation
  [ "$going-$(fingerprint "$(setting ENCRYPTION_KEY)")" = "$begun-$key" ] ||
    fail "$secrets was changed meanwhile, and is of another rotation or none: nothing was taken out of it"
  olds=$(old_keys | while read -r one; do if [ "$(fingerprint "$one")" != "$going" ]; then echo "$one"; fi; done)
  sed -i "/^$ROTATION/d" "$work/.env"
  value=$(printf '%s\n' "$olds" | sed '/^$/d' | paste -sd , -)
  change_setting ENCRYPTION_KEYS_OLD "${value:+ENCRYPTION_KEYS_OLD=$(quote ENCRYPTION_KEYS_OLD)}"
  upload_secrets
  step "nothing is left of the old key: took it out of ENCRYPTION_KEYS_OLD of $secrets; $TAKES_EFFECT"
  step "backups made before still need it: versions of $secrets from before keep it"
}
