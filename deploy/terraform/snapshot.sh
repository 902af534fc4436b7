# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy restore snap-…: a volume from a snapshot takes the place of the stack's. Sourced by entrypoint.sh.
#
# Where it was interrupted is recorded in the account, and nowhere else: the new volume has the tag $RESTORED_FROM from when it is
# made until the apply, which takes away tags that Terraform does not know.
#   1. the new volume is made: the API serves on, and nothing happens by itself
#   2. the API's instances are stopped, or two schedulers with two databases would share one fleet
#   3. the old volume gets another name and leaves the state, the new one enters it
#   4. the apply makes an instance with it, and ends the old one
# The same command goes on from each of them; from the second on `up` and a plain deployment do as well.
RESTORED_FROM=scheduler-api:restored-from

restore_snapshot() {
  snapshot=$wanted
  if [ -n "$rehearse" ]; then
    rehearse_snapshot
    return
  fi
  [ "${DEPLOY_PLAN_ONLY:-}" != 1 ] || fail 'DEPLOY_PLAN_ONLY: a restore has to make and stop things before its plan is known'
  check_repository
  find_stack
  check_secrets
  name=$(checked_name)
  check_snapshot
  choose_commit
  cd_into_copy
  initialise
  choose_networks
  find_begun
  # The apply has taken the tag away by then.
  if [ -z "$restored" ] && is_deploying_it; then restored=$current from=$snapshot; fi
  if [ -z "$restored" ]; then
    [ -n "$current" ] || fail "the state has no volume to put aside. A new stack begins with a snapshot: docker-compose run --rm -e TF_VAR_data_snapshot_id=$snapshot scheduler-deploy up"
    step 'what the deployment would change besides'
    # What cannot be planned is better known while the API serves.
    plan
    say_what_it_means
    confirm "Restore $snapshot ($size GiB, of $taken) into $name in $AWS_REGION, and deploy $commit with it?"
    make_volume
  elif [ "$from" != "$snapshot" ]; then
    fail "a restore of $from was begun: finish that one first, or give it up: aws ec2 delete-volume --volume-id $restored"
  else
    step "a restore of $snapshot was begun, and its volume $restored is made"
    confirm 'Go on with it?'
  fi
  if [ "$current" != "$restored" ]; then exchange_volumes; fi
  plan
  upload
  apply
  show_result
  say_how_to_call
  step "restored $snapshot. The volume of before is kept, and paid for, as $name-data-before-…: delete it when you are sure"
}

# Before a plan: a restore that stopped the API is brought to its end; one that did not is only mentioned.
go_on_with_restore() {
  name=$(stack_name)
  find_begun
  if [ -z "$restored" ] || [ "$restored" = "$current" ]; then return; fi
  if [ "${DEPLOY_PLAN_ONLY:-}" = 1 ] || { [ -n "$current" ] && [ -n "$(running_api)" ]; }; then
    step "NOTE: a restore of $from was begun. To go on: restore $from; to give it up: aws ec2 delete-volume --volume-id $restored"
    return
  fi
  step "a restore of $from was begun, and the API is stopped since"
  confirm 'Go on with it?'
  exchange_volumes
}

# Into $current the volume in the state, and into $restored and $from one that a restore has made and no instance uses yet.
find_begun() {
  current=$(data_volume)
  begun=$(aws ec2 describe-volumes --output text --query "Volumes[].[VolumeId, Tags[?Key=='$RESTORED_FROM'] | [0].Value]" \
    --filters "Name=tag:scheduler-api:stack,Values=$name" "Name=tag-key,Values=$RESTORED_FROM" Name=status,Values=creating,available)
  [ "$(printf '%s\n' "$begun" | wc -l)" = 1 ] ||
    fail "several restores were begun, each with its volume: delete those that are not meant
$begun"
  restored=$(printf %s "$begun" | cut -f 1) from=$(printf %s "$begun" | cut -f 2)
}

# Whether the volume in the state is already the snapshot's, and waits for an instance that serves with it.
is_deploying_it() {
  [ -n "$current" ] && [ -z "$(running_api | instance_that_serves)" ] || return 1
  [ "$(aws ec2 describe-volumes --volume-ids "$current" --output text --query 'Volumes[0].SnapshotId')" = "$snapshot" ]
}

data_volume() { in_state aws_ebs_volume.data id; }

# When, which, GiB and state of each, the newest first.
snapshots_of_stack() {
  aws ec2 describe-snapshots --owner-ids self --output text --query 'Snapshots[].[StartTime, SnapshotId, VolumeSize, State]' \
    --filters "Name=tag:scheduler-api:stack,Values=$name" | grep snap- | sort -r
}

# Into $size and $taken. One made by hand has no tag, and is known by its volume.
check_snapshot() {
  if ! said=$(aws ec2 describe-snapshots --owner-ids self --snapshot-ids "$snapshot" --output text --query \
    "Snapshots[0].[State, VolumeSize, StartTime, VolumeId, Tags[?Key=='scheduler-api:stack'] | [0].Value]" 2>&1); then
    fail "there is no snapshot $snapshot: $(last_line "$said")"
  fi
  state=$(printf %s "$said" | cut -f 1) size=$(printf %s "$said" | cut -f 2) taken=$(printf %s "$said" | cut -f 3 | cut -c -19)
  of=$(printf %s "$said" | cut -f 5)
  [ "$state" = completed ] || fail "$snapshot is $state: wait until it is completed"
  if [ "$of" = None ]; then
    of=$(aws ec2 describe-volumes --volume-ids "$(printf %s "$said" | cut -f 4)" --output text \
      --query "Volumes[0].Tags[?Key=='scheduler-api:stack'] | [0].Value" 2>/dev/null) || of=None
  fi
  [ "$of" = "$name" ] || fail "$snapshot is none of $name's volume. If it is: aws ec2 create-tags --resources $snapshot --tags Key=scheduler-api:stack,Value=$name"
}

# A volume from the snapshot, for as long as the instance that serves looks at it.
rehearse_snapshot() {
  find_instance >&2
  name=$(checked_name)
  check_snapshot
  trap 'exit 1' INT TERM
  # What one that was killed left.
  take_rehearsed_away
  zone=$(aws ec2 describe-instances --instance-ids "$instance" --output text --query 'Reservations[0].Instances[0].Placement.AvailabilityZone')
  trap take_rehearsed_away EXIT
  volume=$(aws ec2 create-volume --availability-zone "$zone" --volume-type gp3 --encrypted --snapshot-id "$snapshot" --output text \
    --query VolumeId --tag-specifications "ResourceType=volume,Tags=[{Key=Name,Value=$name-rehearsal},{Key=scheduler-api:stack,Value=$name}]")
  step "rehearsing with $snapshot ($size GiB, of $taken UTC) on $instance, as $volume; this may take an hour" >&2
  aws ec2 wait volume-available --volume-ids "$volume"
  aws ec2 attach-volume --volume-id "$volume" --instance-id "$instance" --device /dev/sdr >/dev/null
  aws ec2 wait volume-in-use --volume-ids "$volume"
  run_on_instance "cd $APP || exit
[ -e deploy/rehearse-volume.sh ] || { echo 'restore: this instance has a release without it: deploy first' >&2; exit 1; }
VOLUME_ID=$volume sh deploy/rehearse-volume.sh" 7200
}

# By its name, so that any rehearsal's is found.
take_rehearsed_away() {
  aws ec2 describe-volumes --output text --query 'Volumes[].[VolumeId, Attachments[0].InstanceId]' \
    --filters "Name=tag:scheduler-api:stack,Values=$name" "Name=tag:Name,Values=$name-rehearsal" | while read -r left holder; do
    # Where it is mounted still, EC2 waits until the instance has unmounted it.
    [ "$holder" = None ] || aws ec2 detach-volume --volume-id "$left" --instance-id "$holder" >/dev/null || true
    if aws ec2 wait volume-available --volume-ids "$left" && aws ec2 delete-volume --volume-id "$left"; then
      step "took the volume $left of the rehearsal away" >&2
    else
      step "NOTE: the volume $left of the rehearsal stays until the next one: an instance holds it" >&2
    fi
  done
}

# Into $restored: as the one that it will replace, so that Terraform finds nothing to change.
make_volume() {
  if ! said=$(aws ec2 describe-volumes --volume-ids "$current" --output text \
    --query 'Volumes[0].[AvailabilityZone, Size, KmsKeyId]' 2>&1); then
    fail "the stack's volume cannot be looked at: $(last_line "$said")"
  fi
  gib=$(printf %s "$said" | cut -f 2) kms_key=$(printf %s "$said" | cut -f 3)
  [ "$size" -le "$gib" ] || fail "$snapshot has $size GiB and the volume $gib: set data_volume_gib = $size and deploy that first"
  if [ "$kms_key" = None ]; then kms_key=; fi
  restored=$(aws ec2 create-volume --availability-zone "$(printf %s "$said" | cut -f 1)" --size "$gib" --volume-type gp3 \
    --encrypted ${kms_key:+--kms-key-id "$kms_key"} --snapshot-id "$snapshot" --output text --query VolumeId --tag-specifications \
    "ResourceType=volume,Tags=[{Key=Name,Value=$name-data-restored},{Key=scheduler-api:stack,Value=$name},{Key=$RESTORED_FROM,Value=$snapshot}]")
  step "made the volume $restored from $snapshot"
}

exchange_volumes() {
  aws ec2 wait volume-available --volume-ids "$restored"
  # Also one that was made later and does not serve: it would take the volume that becomes free.
  # shellcheck disable=SC2046  # several
  set -- $(launched pending,running,stopping "Name=tag:scheduler-api:stack,Values=$name" "Name=tag:Name,Values=$name-api" | cut -d ' ' -f 2)
  if [ $# != 0 ]; then stop_and_wait "$@"; fi
  if [ -n "$current" ]; then
    aside=$name-data-before-$(date -u +%Y%m%dT%H%M%SZ)
    aws ec2 create-tags --resources "$current" --tags "Key=Name,Value=$aside"
    patiently terraform state rm 'aws_ebs_volume.data[0]' >/dev/null
    step "put the volume $current aside, as $aside"
  fi
  patiently terraform import -input=false -no-color 'aws_ebs_volume.data[0]' "$restored" >/dev/null
  step "the volume $restored takes its place"
}
