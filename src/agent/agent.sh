#!/bin/sh
# The agent of one instance: it takes orders from the scheduler, pipes them to the Docker engine and sends the raw answers back.
# It decides nothing and parses no body: all it needs stands in response headers, and nothing it is sent is ever evaluated.
# Its memory is the state folder. Each file is moved into place whole, so a kill at any moment leaves nothing half done:
#   token after registered dead-man probe logs stream-<name>
#   orders/<number>/{headers,body}: taken, + begun: may have been carried out, + answer, result: to be sent, gone: sent
set -u
umask 077
export LC_ALL=C # [A-Z] means ASCII

VERSION=3
SOCKET=${DOCKER_SOCKET:-/var/run/docker.sock}
IMDS=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
cd "${SCHEDULER_AGENT_DIR:-/var/lib/scheduler-agent}" || exit 1
API=$(cat api-url)/agent/v1
PINS=$(cat pins 2>/dev/null)

main() {
  mkdir -p orders sent && rm -rf fresh sent/*
  arm_dead_man
  ensure_token
  wait=1 && until [ -e registered ] || register; do back_off; done
  resume
  poll_for_ever
}

say() { printf '%s scheduler-agent: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
# Seconds for durations: nobody can set this clock. Where there is none, as on a Mac, the other one has to do.
now() { if read -r up _ 2>/dev/null </proc/uptime; then echo "${up%.*}"; else date +%s; fi; }
keep() { cat >"$1.part" && mv -f "$1.part" "$1"; }
header() { sed -n "s/^$2://p" "orders/$1/headers" | head -n 1; }
# Nine digits at most and no leading zero: more would overflow, and $((010)) is eight.
is_number() { case $1 in '' | *[!0-9]* | 0?* | ??????????*) return 1 ;; esac }
is_path() { case $1 in *[!A-Za-z0-9/._~%?\&=:,+@-]*) return 1 ;; /*) ;; *) return 1 ;; esac }
is_type() { case $1 in *[!a-z0-9/.+-]* | */*/*) return 1 ;; ?*/?*) ;; *) return 1 ;; esac }
is_duration() { case $1 in '' | *[!0-9.]* | .* | *. | *.*.* | ??????????*) return 1 ;; esac }
# $$ is the main process in background ones too. Without this nobody would end them after a kill -9.
is_alive() { kill -0 $$ 2>/dev/null; }

# Sleeps between half and one and a half times $wait, then doubles it: a fleet must not come back in step.
back_off() {
  millis=$((wait * (500 + $(od -An -N1 -tu1 /dev/urandom) * 1000 / 256)))
  sleep "$((millis / 1000)).$(printf %03d $((millis % 1000)))"
  wait=$((wait < 8 ? wait * 2 : 15))
}

# Arguments: seconds, path, more curl arguments. Prints the HTTP status, or 000 and why for anything but a complete answer.
# Secrets go in by file (-H @file, name@file), never as an argument: any process may read the arguments of others.
# With pins no authority is asked (-k): nothing is sent to who has none of these keys, whatever certificate it shows.
api() {
  seconds=$1 path=$2 protocols='=http,https' && shift 2
  [ -z "$PINS" ] || { protocols='=https' && set -- -k --pinnedpubkey "$PINS" "$@"; }
  status=$(curl -q -gsS --proto "$protocols" --connect-timeout 10 --max-time "$seconds" -H 'Expect:' \
    -w '%{http_code}' "$@" "$API$path" 2>/dev/null) || status="000 (curl $?)"
  printf %s "$status"
}

# Arguments: path, file for the body. True only for 200.
imds() {
  [ -s imds-token ] || curl -q -gsf --noproxy '*' --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' \
    "$IMDS/api/token" | sed '1s/^/X-aws-ec2-metadata-token: /' | keep imds-token
  status=$(curl -q -gs --noproxy '*' --max-time 5 -H @imds-token -o "$2" -w '%{http_code}' "$IMDS/$1") || status=000
  [ "$status" != 401 ] || rm -f imds-token
  [ "$status" = 200 ]
}

# The dead-man switch ends an instance that never hears from the scheduler. A restart keeps the deadline there was, or an agent
# that crashes in a circle would put it off for ever. A deadline in the past means that the machine was off, so it is a
# time of day: the other clock starts over with the machine.
arm_dead_man() {
  minutes=15 deadline=0
  [ ! -s dead-man ] || read -r minutes deadline <dead-man || :
  is_number "$minutes" || minutes=15
  [ "$minutes" != 0 ] || return 0
  case $deadline in *[!0-9]* | 0?* | ????????????*) deadline=0 ;; esac
  left=$((${deadline:-0} - $(date +%s)))
  if [ $left -gt 0 ] && [ $left -le $((minutes * 60)) ]; then shutdown -h +$((left / 60)); else set_dead_man "$minutes"; fi
}

set_dead_man() {
  is_number "$1" || return 1
  echo "$1 $(($(date +%s) + $1 * 60))" | keep dead-man
  if [ "$1" = 0 ]; then shutdown -c; else shutdown -h "+$1"; fi
}

# With Dead-Man-Renews any answer of the scheduler starts the switch over, every 20 s at most.
renew_dead_man() {
  [ -e renews ] && read -r minutes deadline <dead-man && [ $((deadline + 20)) -lt $(($(date +%s) + minutes * 60)) ] && set_dead_man "$minutes"
}

# On disk before it is first used: a token lost after the registration would lock the instance out for good.
ensure_token() {
  token=$(head -c 65 token 2>/dev/null | tr -d '\0')
  case $token in *[!0-9a-f]*) token='' ;; esac
  if [ ${#token} != 64 ]; then
    rm -f registered
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' | keep token
    sync token 2>/dev/null || :
    token=$(cat token)
  fi
  printf 'Authorization: Bearer %s\n' "$token" | keep authorization
}

register() {
  for name in document signature; do
    imds dynamic/instance-identity/$name $name || { say "no identity $name: the metadata service answers $status" && return 1; }
  done
  imds meta-data/public-ipv4 public-ip || : >public-ip
  status=$(api 30 /register -o /dev/null --data-urlencode document@document --data-urlencode signature@signature \
    --data-urlencode secret@launch-secret --data-urlencode token@token --data-urlencode publicIp@public-ip -d agent=$VERSION -d after="${after:-0}")
  say "registration: $status"
  [ "$status" = 204 ] && : | keep registered
}

# Starts every order that an earlier run took and did not answer.
resume() {
  after=$(head -n 1 after 2>/dev/null)
  is_number "$after" || after=0
  for number in $(cd orders && printf '%s\n' * | sort -n); do
    if ! is_number "$number" || [ ! -s "orders/$number/headers" ]; then rm -rf "orders/$number" && continue; fi
    after=$((number > after ? number : after)) && start "$number"
  done
}

# All but 200 and 204 is silence: it starts and stops nothing. 401: the API may have lost its rows of this instance, until an operator adopts it.
poll_for_ever() {
  wait=1 quick=0 asked=0 said=''
  while :; do
    rm -rf fresh && mkdir fresh && asked=$(now)
    status=$(api 40 "/orders?after=$after" --max-filesize 4194304 -H @authorization -D fresh/raw -o fresh/body)
    case $status in 20[04]) said='' ;; "$said") ;; *) said=$status && say "orders: $status" ;; esac
    case $status in
      200) renew_dead_man; if take; then wait=1; else say 'an order that makes no sense' && back_off; fi ;;
      # A server that does not hold on to its polls must not be asked a thousand times a second.
      204) renew_dead_man; wait=1 quick=$(($(now) == asked ? quick + 1 : 0)); [ $quick -lt 20 ] || sleep 1 ;;
      401) if register; then wait=1; else back_off; fi ;;
      410) wait=15 && back_off ;; *) back_off ;;
    esac
  done
}

take() {
  tr -d '\r' <fresh/raw | sed -n -e '/^[A-Za-z][A-Za-z-]*:/!d' -e h -e 's/:.*//' \
    -e 'y/ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/' -e G -e 's/\n[^:]*:[ 	]*/:/' -e 's/[ 	]*$//' -e p >fresh/headers || return 1
  number=$(sed -n 's/^order-number://p' fresh/headers | head -n 1)
  if ! is_number "$number" || [ "$number" -le "$after" ] || ! mv fresh "orders/$number"; then return 1; fi
  # Without this on disk an answered order would be given, and carried out, again after a restart.
  if ! echo "$number" | keep after; then mv "orders/$number" fresh && return 1; fi
  after=$number && start "$number"
}

start() {
  kind=$(header "$1" order-kind) mode=$(header "$1" order-mode)
  if [ -e "orders/$1/begun" ] && [ ! -e "orders/$1/result" ]; then
    refuse "$1" 'unknown: the agent ended while it carried this out'
  fi
  [ ! -e "orders/$1/result" ] || kind=answered
  case $kind/$mode in
    answered/*) send_for_ever "$1" & ;;
    probe/*)
      before=$(cat probe 2>/dev/null || :) && echo "$1" | keep probe
      [ "${before:-$1}" = "$1" ] || rm -rf "orders/$before"
      follow_probe "$1" & ;;
    logs/* | stream/*)
      name=$(header "$1" stream-name) && name=$kind${name:+-$name}
      case $name in
        stream | *[!a-z-]* | ?????????????????????????*) refuse "$1" 'malformed Stream-Name' && send_for_ever "$1" & ;;
        *) if replace "$1"; then ship "$1" & else refuse "$1" 'the disk takes no mark' && send_for_ever "$1" & fi ;;
      esac ;;
    watch-spot/*) watch_spot "$1" & ;;
    */background) carry_out "$1" & ;;
    *) carry_out "$1" ;;
  esac
}

# The newest stream of a name goes on where the one before was acknowledged; that one ends with its segment.
replace() {
  [ -e "orders/$1/since" ] || cp "orders/$(cat "$name" 2>/dev/null)/since" "orders/$1/" 2>/dev/null
  echo "$1" | keep "$name"
}

carry_out() {
  once=$(header "$1" order-once)
  case $once in
    '' | yes) ;;
    *) refuse "$1" 'malformed Order-Once' && send_for_ever "$1" & return ;;
  esac
  if [ -n "$once" ] && ! mark "$1"; then refuse "$1" 'not begun: the disk takes no mark' && send_for_ever "$1" & return; fi
  case $kind in
    docker) call_docker "$1" ;;
    dead-man) if [ "$(header "$1" dead-man-renews)" = yes ]; then : | keep renews; else rm -f renews; fi
      if set_dead_man "$(header "$1" dead-man-minutes)"; then result "$1" 200; else refuse "$1" 'malformed Dead-Man-Minutes'; fi ;;
    shutdown) result "$1" 200 && send "$1"; shutdown -h now ;;
    *) refuse "$1" 'unknown order kind' ;;
  esac
  send_for_ever "$1" &
}

# On disk before the call: an order that has it and no result is never carried out again.
mark() { : | keep "orders/$1/begun" && { sync -f "orders/$1/begun" 2>/dev/null || sync; }; }

call_docker() (
  order=$1 dir=orders/$1
  method=$(header "$1" docker-method) path=$(header "$1" docker-path) auth=$(header "$1" docker-registry-auth)
  seconds=$(header "$1" order-timeout) bytes=$(header "$1" docker-max-bytes) type=$(header "$1" docker-content-type) wrong=''
  case $method in GET | HEAD | POST | PUT | DELETE) ;; *) wrong=Docker-Method ;; esac
  is_path "$path" || wrong=Docker-Path
  is_type "${type:-a/b}" || wrong=Docker-Content-Type
  case $auth in *[!A-Za-z0-9_=-]*) wrong=Docker-Registry-Auth ;; esac
  if ! is_number "$seconds" || [ "$seconds" = 0 ]; then wrong=Order-Timeout; fi
  is_number "${bytes:-262144}" || wrong=Docker-Max-Bytes
  if [ -n "$wrong" ]; then refuse "$order" "malformed $wrong"; return; fi

  set -- -X "$method" -H 'Expect:'
  [ "$method" != HEAD ] || set -- -I
  [ "$method" != POST ] || [ -s "$dir/body" ] || set -- "$@" -d '' # for its Content-Length: 0
  [ ! -s "$dir/body" ] || set -- "$@" -H "Content-Type: ${type:-application/json}" --data-binary "@$dir/body"
  [ -z "$auth" ] || { printf 'X-Registry-Auth: %s\n' "$auth" | keep "$dir/auth" && set -- "$@" -H "@$dir/auth"; }
  # The engine may still be starting, so a refused connection is worth another try for a minute.
  patience=$(($(now) + (seconds < 60 ? seconds : 60))) code=7
  until [ "$code" != 7 ] || [ "$(now)" -ge $patience ]; do
    [ ! -e "$dir/exit" ] || sleep 1
    {
      curl -q -gs --path-as-is --unix-socket "$SOCKET" --max-time "$seconds" -D "$dir/raw" "$@" "http://docker$path"
      echo $? >"$dir/exit"
    } | tail -c "${bytes:-262144}" >"$dir/answer" || : >"$dir/cut"
    read -r code <"$dir/exit"
  done
  status=$(sed -n 's/^HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' "$dir/raw" 2>/dev/null | tail -n 1)
  # Half an answer is none: the disk is full.
  [ ! -e "$dir/cut" ] || code=23
  if [ "$code" = 0 ]; then result "$order" "${status:-0}"; else result "$order" 0 "curl $code"; fi
)

# Arguments: order, status, error or none. Once this is on disk the order is never carried out again, only answered.
result() {
  say "order $1, $kind: $2 ${3:-}"; : >>"orders/$1/answer"
  printf "Result-Status: %s\n${3:+Result-Error: $3\n}" "$2" | keep "orders/$1/result"
}
refuse() { echo "$2" >"orders/$1/answer" && result "$1" 0 "$2"; }

# True when nothing is left to send. The folder is moved before it is removed: half of one could be taken for an order.
send() {
  case $(api 30 "/orders/$1/result" -o /dev/null -H @authorization -H "@orders/$1/result" \
    -H 'Content-Type: application/octet-stream' --data-binary "@orders/$1/answer") in
    204 | 404 | 409 | 410) forget "$1" ;;
    *) return 1 ;;
  esac
}
forget() { mv "orders/$1" "sent/$1" && rm -rf "sent/$1"; }

send_for_ever() (
  wait=1
  until send "$1"; do
    if is_alive && [ -d "orders/$1" ]; then back_off; else exit; fi
    [ -e "orders/$1/result" ] || result "$1" 0 'the disk took no answer'
  done
)

watch_spot() (
  until imds meta-data/spot/instance-action "orders/$1/answer"; do if is_alive; then sleep 5; else exit; fi; done
  result "$1" 200 && send_for_ever "$1"
)

# Posts the first state and then every change. $told stays behind $state while the scheduler cannot be reached.
follow_probe() (
  url=$(header "$1" probe-url) interval=$(header "$1" probe-interval) timeout=$(header "$1" probe-timeout)
  retries=$(header "$1" probe-retries) grace=$(header "$1" probe-start-period) began=$(now) state='' told='' failures=0 wait=1
  case $url in *[!A-Za-z0-9/._~%?\&=:,+@-]*) url='' ;; http://?*) ;; *) url='' ;; esac
  is_number "$retries" && is_number "$grace" && is_duration "$interval" && is_duration "$timeout" || url=''
  if [ -z "$url" ]; then refuse "$1" 'malformed probe' && send_for_ever "$1" && return; fi
  while is_alive && [ "$(cat probe)" = "$1" ]; do
    status=$(curl -q -gs --noproxy '*' --max-time "$timeout" -o /dev/null -w '%{http_code}' "$url")
    code=$?
    case $code in 0) detail="HTTP $status" ;; 7) detail='connection refused (curl 7)' ;; 28) detail='timed out (curl 28)' ;;
      *) detail="failed (curl $code)" ;; esac
    case $detail in 'HTTP 2'* | 'HTTP 3'*) state=healthy failures=0 grace=0 ;;
      *) failures=$(($(now) - began < grace ? 0 : failures + 1)) ;; esac
    if [ $failures -gt 0 ] && [ $failures -ge "$retries" ]; then state=unhealthy; fi
    if [ "$state" != "$told" ]; then
      case $(api 10 "/orders/$1/result" -o /dev/null -H @authorization -H "Result-Status: $((code == 0 ? status : 0))" \
        -H "Probe-State: $state" -H 'Content-Type: application/octet-stream' --data-binary "$detail") in
        204 | 404 | 409 | 410) told=$state wait=1 && say "probe: $state, $detail" ;;
        *) back_off && continue ;;
      esac
    fi
    sleep "$interval"
  done
)

# What Docker goes on answering leaves as it comes, in segments of half a minute or 8 MiB: each is piped into an upload, whose
# answer says where the next one begins. What was not acknowledged is sent again.
ship() (
  dir=orders/$1 at=orders/$1/at seconds=$(header "$1" order-timeout) began=$(now) follow='' wrong='' wait=1
  [ "$(header "$1" "$kind-follow")" != yes ] || follow=yes
  if [ "$kind" = logs ]; then
    type=application/vnd.docker.multiplexed-stream
    from="/containers/job/logs?stdout=1&stderr=1&timestamps=1${follow:+&follow=1}&"
  else
    type=$(header "$1" stream-content-type) from=$(header "$1" docker-path)
    is_type "$type" || wrong=Stream-Content-Type
    is_path "$from" || wrong=Docker-Path
    case $from in *\?*) from="$from&" ;; *) from="$from?" ;; esac
  fi
  is_number "$seconds" || wrong=Order-Timeout
  if [ -n "$wrong" ]; then refuse "$1" "malformed $wrong" && send_for_ever "$1" && return; fi
  while is_alive && [ "$(cat "$name")" = "$1" ] && [ ! -e "$dir/result" ]; do
    since=$(cat "$dir/since" 2>/dev/null || echo 0)
    if ! rm -rf "$at" || ! mkdir "$at"; then back_off && continue; fi
    status=$({
      curl -q -gsfN --path-as-is --unix-socket "$SOCKET" --max-time 30 -w '%{stderr}%{http_code}' 2>"$at/answer" \
        "http://docker${from}since=$since" &
      echo $! >"$at/pid" && wait $!; echo $? >"$at/code"
    } | {
      # A silent stream costs no request. dd: head would hold a trickle back. Rest: whether a stream that ends was cut.
      dd bs=1 count=1 of="$at/first" 2>/dev/null
      [ ! -s "$at/first" ] || {
        cat "$at/first" && dd bs=1k count=8192 2>/dev/null && { [ -n "$follow" ] || dd bs=1 count=1 of="$at/rest" 2>/dev/null; }
      } | { api 60 "/orders/$1/$kind?since=$since" -o /dev/null -D "$at/told" -X POST -T - -H @authorization \
        -H "Content-Type: $type"; kill "$(cat "$at/pid")" 2>/dev/null; }
    })
    code='' && read -r code <"$at/code"
    [ "$status" = 200 ] && sed -n 's/^[A-Za-z]*-[Ss]ince: *\([0-9]\{1,10\}\.[0-9]\{9\}\)[^0-9]*$/\1/p' "$at/told" >"$at/since" &&
      [ -s "$at/since" ] && mv -f "$at/since" "$dir/since" && wait=1 status=''
    case ${status:-$code} in
      404 | 409 | 410) forget "$1" && return ;;
      23 | 28 | 143) ;;
      0) if [ -n "$follow" ]; then sleep 1; elif [ ! -s "$at/rest" ]; then result "$1" 200; fi ;;
      22) result "$1" "$(cat "$at/answer")" ;;
      *) back_off ;;
    esac
    [ -n "$follow" ] || [ -e "$dir/result" ] || [ $(($(now) - began)) -lt "$seconds" ] || result "$1" 0 'curl 28'
  done
  if [ -e "$dir/result" ]; then send_for_ever "$1"; elif is_alive; then forget "$1"; fi
)

main
