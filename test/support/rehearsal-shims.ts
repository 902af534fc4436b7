/**
 * What an instance has that a container has not: systemd, disks, and two services of AWS that the local cloud does not
 * speak. $WORK is shared by all of them, $INSTANCE is the one that calls. The data volume is the folder ebs/volume; its
 * filesystem, a folder in it, is moved to where it is mounted, so that nobody else can have it.
 */
export const REHEARSAL_SHIMS = {
  systemctl: `case "$*" in
      'enable --now '*scheduler-release.service) setsid "$STACK_DIR/stack" watch >/dev/null 2>&1 & ;;
      'restart --no-block scheduler-stack.service') setsid "$STACK_DIR/stack" start >/dev/null 2>&1 & ;;
    esac`,
  // Adds the network in which AWS is, and the certificate that local instances are known by.
  'docker-compose': `exec /usr/bin/docker-compose "\${@:1:6}" -f "$WORK/docker-compose.rehearsal.yml" "\${@:7}"`,
  mountpoint: '[ -e "$2/.filesystem" ]',
  blkid: '[ -d "$WORK/ebs/volume/filesystem" ] || exit 2',
  'mkfs.ext4': 'mkdir "$WORK/ebs/volume/filesystem" && touch "$WORK/ebs/volume/filesystem/.filesystem"',
  mount: '[ -e "$1" ] && rmdir "$2" && mv "$WORK/ebs/volume/filesystem" "$2" && chmod 755 "$2"',
  umount: `if [ -n "$(docker ps -q --filter "volume=\${COMPOSE_PROJECT}_postgres-data")" ]; then
      echo "umount: $1: target is busy." >&2
      exit 32
    fi
    mv "$1" "$WORK/ebs/volume/filesystem" && mkdir "$1"`,
  aws: `holder=$(cat "$WORK/ebs/holder" 2>/dev/null)
    case "$*" in
      *' ec2 describe-volumes '*) if [ -n "$holder" ]; then printf 'in-use\\t%s\\n' "$holder"; else printf 'available\\tNone\\n'; fi ;;
      *' ec2 attach-volume '*)
        (set -C && printf %s "$INSTANCE" >"$WORK/ebs/holder") && touch "$WORK/ebs/$INSTANCE"
        ;;
      *' ec2 detach-volume '*)
        [ -d "$WORK/ebs/volume/filesystem" ] || { echo 'the volume is mounted' >&2; exit 254; }
        rm "$WORK/ebs/$holder" "$WORK/ebs/holder"
        ;;
      *' route53 change-resource-record-sets '*)
        node -e '
          const { Name, ResourceRecords: [{ Value }] } = JSON.parse(process.argv[1]).Changes[0].ResourceRecordSet;
          process.stdout.write("127.0.0.1 localhost\\n" + Value.padEnd(15) + " " + Name + "\\n");' "\${@: -1}" |
          # In place and of the same length: nobody reads half of it, and it stays the file that is mounted.
          dd of="$WORK/hosts" conv=notrunc status=none
        ;;
      *) exec /usr/bin/aws "$@" ;;
    esac`,
};
