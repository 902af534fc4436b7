#!/bin/sh
# Backs up the Postgres of the stack on AWS, and puts that into its bucket. `scheduler-deploy backup` has the API's instance
# run it (docs/operations.md, Without SSH).
#
#   BACKUP_URI=s3://<bucket>/backups/<stack>/<time>.dump deploy/backup-to-s3.sh
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/on-instance.sh
. deploy/on-instance.sh

if ! grep -q '^  postgres-data:' docker-compose.stack.yml; then
  echo 'backup: Postgres is not on this instance: RDS keeps backups itself' >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sh deploy/backup.sh "$work/dump" >"$work/said"
aws s3 cp --only-show-errors "$work/dump" "$BACKUP_URI"
echo "backup: $BACKUP_URI, $(wc -c <"$work/dump") bytes"
