# shellcheck shell=sh
# scheduler-deploy down: takes the stack away, and keeps what holds data. Sourced by entrypoint.sh.

down() {
  check_repository
  find_stack
  choose_commit
  cd_into_copy
  initialise
  [ -n "$(made_here)" ] || fail "the state $TF_STATE_KEY of $TF_STATE_BUCKET holds nothing of a stack"
  name=$(stack_name)
  # Also one that the state does not know any more: after an upgrade that failed that is the one that serves.
  instances=$(running_api | cut -d ' ' -f 2 | tr '\n' ' ')
  jobs=$(instances_of_jobs)
  volume=$(data_volume)
  others=$(aws ec2 describe-volumes --output text --query 'Volumes[].VolumeId' \
    --filters "Name=tag:scheduler-api:stack,Values=$name" "Name=tag:Name,Values=$name-data-*" | tr '\t' ' ')
  snapshots=$(snapshots_of_stack | wc -l)
  say_what_goes
  confirm "Take $name in $AWS_REGION away?"
  # Alive, it would replace what is taken away.
  # shellcheck disable=SC2086  # several, by spaces
  if [ -n "$instances" ]; then stop_and_wait $instances; fi
  end_jobs
  keep_data
  targets=$(made_here | sed 's/^/-target=/')
  # Without one all that the state holds would go, others' things as well.
  if [ -n "$targets" ]; then
    step 'terraform destroy'
    # Required, and without meaning here.
    has_networks || export TF_VAR_allowed_cidrs='["127.0.0.1/32"]'
    # shellcheck disable=SC2086  # addresses have no spaces
    patiently terraform destroy -auto-approve -input=false -no-color -lock-timeout=60s $targets
  fi
  step "$name is gone. Kept, and still paid for:"
  say_what_stays
}

instances_of_jobs() {
  aws ec2 describe-instances --output text --query 'Reservations[].Instances[].InstanceId' \
    --filters "Name=tag:scheduler-api:cluster,Values=$name" Name=instance-state-name,Values=pending,running,stopping,stopped |
    tr '\t\n' '  ' | sed 's/ *$//'
}

# Looked at again: one may have been launched since the question, and EC2 lists it seconds later.
end_jobs() {
  for look in 1 2 3; do
    jobs=$(instances_of_jobs)
    if [ -n "$jobs" ]; then
      step "ending the jobs' instances: $jobs"
      # shellcheck disable=SC2086  # several, by spaces
      aws ec2 terminate-instances --instance-ids $jobs >/dev/null
      # shellcheck disable=SC2086
      aws ec2 wait instance-terminated --instance-ids $jobs
    fi
    [ "$look" = 3 ] || sleep "${POLL_SECONDS:-5}"
  done
  jobs=$(instances_of_jobs)
  [ -z "$jobs" ] || fail "instances of jobs are still launched ($jobs): by whom? Stop that scheduler, then \`down\` again"
}

say_what_goes() {
  echo "To be taken away: everything that Terraform made for $name, ${instances:-no running instance }among it."
  if [ -n "$jobs" ]; then echo "The instances of jobs, which no API would manage any more: $jobs"; fi
  echo 'Kept:'
  say_what_stays
}

say_what_stays() {
  if [ -n "$volume" ]; then echo "  the volume $volume with Postgres's data; \`up\` takes it into use again"; fi
  if [ -n "$others" ]; then echo "  $others, which a restore from a snapshot left"; fi
  if [ "$snapshots" != 0 ]; then echo "  the snapshots of the volume, $snapshots of them, which the scheduler no longer deletes: \`restore list\`"; fi
  if terraform state list 2>/dev/null | grep -q '^aws_db_instance\.' || [ -n "${database:-}" ]; then
    database=yes
    echo '  the RDS instance, which is protected: delete it in the console when you are sure'
  fi
  echo "  the bucket $TF_STATE_BUCKET with the secrets, the backups, the logs and Terraform's state"
}

stop_and_wait() {
  step "stopping $*"
  aws ec2 stop-instances --instance-ids "$@" >/dev/null
  aws ec2 wait instance-stopped --instance-ids "$@"
}

# Taken out of the state, so that Terraform lets it be.
keep_data() {
  for address in $(terraform state list | grep -E '^aws_(ebs_volume\.data|db_instance\.this|db_subnet_group\.this|security_group\.database)(\[|$)'); do
    terraform state rm "$address" >/dev/null
  done
}

# Addresses in the state of what these files make: the state may hold other things, which stay.
made_here() {
  sed -n 's/^resource "\([a-z0-9_]*\)" "\([a-z0-9_]*\)" {$/\1.\2/p' ./*.tf | sort -u >made-here
  terraform state list | sed 's/\[.*//' | sort -u | grep -Fxf made-here
}
