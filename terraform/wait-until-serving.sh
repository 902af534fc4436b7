#!/bin/sh
# Waits until the API's new instance says that it serves. Settings: INSTANCE_ID, LOG_URI, WAIT_SECONDS.
set -u
until=$(($(date +%s) + WAIT_SECONDS))
seen=
while :; do
  if state=$(aws s3 cp "$LOG_URI$INSTANCE_ID.state" - 2>/dev/null) && [ "$state" != "$seen" ]; then
    echo "$INSTANCE_ID: $state"
    seen=$state
  fi
  case $state in
    serving) exit 0 ;;
    failed*) break ;;
  esac
  [ "$(date +%s)" -lt "$until" ] || break
  sleep "${POLL_SECONDS:-3}"
done
echo "$INSTANCE_ID does not serve${seen:+ ($seen)}. Its log, $LOG_URI$INSTANCE_ID.log, ends with:"
aws s3 cp "$LOG_URI$INSTANCE_ID.log" - 2>/dev/null | tail -n 30
echo 'The previous instance, if there was one, was left alone.'
exit 1
