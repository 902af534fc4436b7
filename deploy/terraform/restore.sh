# shellcheck shell=sh disable=SC2154  # entrypoint.sh sets the rest
# scheduler-deploy restore: a dump of the bucket, or a snapshot of the volume (snapshot.sh). Sourced by entrypoint.sh. Only
# the requested output goes to standard output.

RESTORE_USAGE='restore [BACKUP] [--rehearse], or restore list: BACKUP is one of the list, and by default the newest dump'
LISTED=20
# From when it is made to when the instance begins to read: SSM waits a minute at most.
LINK_SECONDS=900

restore() {
  wanted='' rehearse=''
  for word in "$@"; do
    case $word in
      --rehearse) rehearse=1 ;;
      -* | *[!A-Za-z0-9._/:-]*) fail "$RESTORE_USAGE" ;;
      *)
        [ -z "$wanted" ] || fail "$RESTORE_USAGE"
        wanted=$word
        ;;
    esac
  done
  case $wanted in
    list)
      [ -z "$rehearse" ] || fail "$RESTORE_USAGE"
      list_backups
      ;;
    snap-*)
      refuse_other_databases
      restore_snapshot
      ;;
    *)
      refuse_other_databases
      restore_dump
      ;;
  esac
}

refuse_other_databases() {
  case $(variable database volume) in
    rds) fail 'Postgres is on RDS (database = "rds"), which keeps 14 days itself: aws rds restore-db-instance-to-point-in-time makes a second instance of any moment of them, from which pg_dump and pg_restore bring back what is missed. docs/operations.md, Restore' ;;
    external) fail 'Postgres is yours (database = "external"): restore it there, with the API stopped meanwhile. docs/operations.md, Restore, says what that means for running instances' ;;
  esac
}

list_backups() {
  find_stack >&2
  name=$(checked_name)
  listed=$(dumps)
  echo "dumps in s3://$TF_VAR_bucket/backups/$name/, the newest first:"
  if [ -z "$listed" ]; then echo '  none: docker-compose run --rm scheduler-deploy backup makes one'; fi
  printf '%s\n' "$listed" | head -n "$LISTED" | awk -F '\t' 'NF { sub(".*/", "", $3); printf "  %s  %s bytes, of %s\n", $3, $2, substr($1, 1, 19) }'
  listed=$(snapshots_of_stack)
  echo 'snapshots of the volume, the newest first:'
  if [ -z "$listed" ]; then echo '  none'; fi
  printf '%s\n' "$listed" | head -n "$LISTED" | awk -F '\t' 'NF { printf "  %s  %s GiB, of %s (%s)\n", $2, $3, substr($1, 1, 19), $4 }'
}

# Time, bytes and key of each, the newest first.
dumps() {
  listed=$(aws s3api list-objects-v2 --bucket "$TF_VAR_bucket" --prefix "backups/$name/" --output text \
    --query 'Contents[].[LastModified, Size, Key]') || fail "the backups in $TF_VAR_bucket cannot be listed"
  printf '%s\n' "$listed" | grep -E "	backups/$name/[A-Za-z0-9._-]+\$" | sort -r
}

restore_dump() {
  find_instance >&2
  name=$(checked_name)
  choose_dump
  what="$key ($bytes bytes, of $(printf %.19s "$taken") UTC)"
  if [ -z "$rehearse" ]; then
    say_what_it_means >&2
    confirm "Restore $what into $name in $AWS_REGION?"
  fi
  make_link
  step "$(if [ -n "$rehearse" ]; then echo rehearsing with; else echo restoring; fi) $what on $instance; this may take an hour, and goes on there where it is interrupted here" >&2
  run_on_instance "cd $APP || exit
[ -e deploy/restore-from-s3.sh ] || { echo 'restore: this instance has a release without it: deploy first' >&2; exit 1; }
BACKUP_URL='$link' BACKUP_BYTES=$bytes sh deploy/restore-from-s3.sh${rehearse:+ --rehearse}" 7200
}

# Into $key, $bytes and $taken.
choose_dump() {
  all=$(dumps)
  [ -n "$all" ] || fail "there is no backup in s3://$TF_VAR_bucket/backups/$name/: docker-compose run --rm scheduler-deploy backup makes one"
  key=${wanted#"s3://$TF_VAR_bucket/"}
  case $key in
    '' | latest) key=$(printf '%s\n' "$all" | head -n 1 | cut -f 3) ;;
    */*) ;;
    *) key=backups/$name/$key ;;
  esac
  chosen=$(printf '%s\n' "$all" | awk -F '\t' -v key="$key" '$3 == key')
  [ -n "$chosen" ] || fail "there is no backup $wanted of $name: restore list says which there are"
  taken=$(printf %s "$chosen" | cut -f 1) bytes=$(printf %s "$chosen" | cut -f 2)
}

say_what_it_means() {
  cat <<END
A restore puts $name back to that moment (docs/operations.md, Restore, has the whole of it):
  - Jobs that came later are forgotten, and what was deployed later as well. Instances that the backup does not know are
    quarantined: they run on, and count for MAX_INSTANCES, until you adopt or retire them.
  - Jobs that were deleted or stopped later run again. Events are sent to webhooks again.
  - $(if [ -n "${snapshot:-}" ]; then echo 'The API is away until a new instance serves, some ten minutes. The volume of now is kept.'; else echo 'The API is away for seconds. The database of now is kept on its volume, under another name.'; fi)
END
}

# Into $link: everyone who has it may read, so it is short-lived and never printed.
make_link() {
  link=$(aws s3 presign "s3://$TF_VAR_bucket/$key" --region "$TF_VAR_bucket_region" --expires-in "$LINK_SECONDS") ||
    fail "no link to s3://$TF_VAR_bucket/$key could be made"
  case $link in
    *[!A-Za-z0-9._~:/?\&=%+,@-]*) fail 'the link to the backup has characters that a command cannot hold' ;;
    http*) ;;
    *) fail 'the link to the backup is none' ;;
  esac
}
