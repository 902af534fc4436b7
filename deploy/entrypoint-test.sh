#!/bin/sh
# Of scheduler-test. The image brings dependencies and tools; what is tested is the checkout as it is now, so that a
# forgotten `docker-compose build` cannot let a merge request pass with last week's sources.
set -eu

# An engine elsewhere mounts an empty folder: then the sources in the image are what there is.
if [ -f /checkout/package.json ]; then
  find /app -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
  tar -C /checkout --exclude=./.git --exclude=./.env --exclude=./.local --exclude=./dist --exclude=./coverage \
    --exclude=node_modules --exclude=.terraform --owner=node --group=node -cf - . | tar -C /app -xf -
else
  echo 'scheduler-test: the checkout is not mounted, testing the sources of the image' >&2
fi
export HOME=/home/node
# For the lint, which gets the list of files from git.
[ -e .git ] || setpriv --reuid=node --regid=node --init-groups git init -q
exec setpriv --reuid=node --regid=node --init-groups "$@"
