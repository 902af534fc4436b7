#!/bin/sh
# Waits until the API's new instance says that it serves. Settings: INSTANCE_ID, LOG_URI, WAIT_SECONDS, ADDRESS_ID.
set -u

# Debian's AWS CLI does not read AWS_ENDPOINT_URL itself.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# What somebody else may have written there must neither steer a terminal nor fill it.
printable() { tail -c 20000 | LC_ALL=C tr -d '\000-\010\013-\037\177'; }

# One that has gone says nothing any more.
has_gone() {
  now=$(aws ec2 describe-instances --instance-ids "$INSTANCE_ID" --output text --query 'Reservations[0].Instances[0].State.Name' 2>/dev/null)
  case $now in stopping | stopped | shutting-down | terminated) ;; *) return 1 ;; esac
  seen="${seen:+$seen; }EC2: $now"
}

until=$(($(date +%s) + WAIT_SECONDS))
seen=
looks=0
while :; do
  state=$(aws s3 cp "$LOG_URI$INSTANCE_ID.state" - 2>/dev/null | printable)
  if [ -n "$state" ] && [ "$state" != "$seen" ]; then
    echo "$INSTANCE_ID: $state"
    seen=$state
  fi
  case $state in
    serving)
      # It has taken the address itself, where its role may: this makes it true also where it may not.
      [ -z "${ADDRESS_ID:-}" ] ||
        aws ec2 associate-address --allocation-id "$ADDRESS_ID" --instance-id "$INSTANCE_ID" --allow-reassociation >/dev/null ||
        exit 1
      exit 0
      ;;
    failed*) break ;;
  esac
  [ "$(date +%s)" -lt "$until" ] || break
  looks=$((looks + 1))
  if [ $((looks % 10)) = 0 ] && has_gone; then break; fi
  sleep "${POLL_SECONDS:-3}"
done
echo "$INSTANCE_ID does not serve${seen:+ ($seen)}. Its log, $LOG_URI$INSTANCE_ID.log, ends with:"
aws s3 cp "$LOG_URI$INSTANCE_ID.log" - 2>/dev/null | printable | tail -n 30
echo 'The previous instance, if there was one, was left alone. What is wrong mended, the same command tries again.'
exit 1
