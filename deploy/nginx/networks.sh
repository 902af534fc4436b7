#!/bin/sh
# sh networks.sh NAME LIST: what a `geo` block of nginx says of the networks of LIST (203.0.113.7/32,10.0.0.0/8): 1 of
# addresses in them, 0 of all others. Without a LIST it is 1 of everyone's.
set -euf

if [ -z "$2" ]; then
  echo 'default 1;'
  exit
fi
case $2 in
  *[!0-9A-Fa-f.:/,\ ]*)
    echo "$1: must be networks like 203.0.113.7/32, with commas between them" >&2
    exit 78
    ;;
esac
lines='default 0;'
IFS=', '
for network in $2; do
  case $network in
    # Two commas, or one at the end.
    '') ;;
    # Of the whole there is a line already, the default: nginx warns of a second one.
    0.0.0.0/0) lines="$lines 0.0.0.0/1 1; 128.0.0.0/1 1;" ;;
    ::/0) lines="$lines ::/1 1; 8000::/1 1;" ;;
    *) lines="$lines $network 1;" ;;
  esac
done
echo "$lines"
