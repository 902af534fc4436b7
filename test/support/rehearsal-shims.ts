import type { Place } from './rehearsal-place.ts';

/**
 * What an instance has that a container has not: systemd, disks, Amazon's agent, and two services of AWS that the local
 * cloud does not speak. $WORK is shared by all of them, $INSTANCE is the one that calls. The data volume is the folder
 * ebs/volume; its filesystem, a folder in it, is moved to where it is mounted, so that only one instance has it.
 */
export function rehearsalShims({ volumeId, addressId, zoneId }: Place): Record<string, string> {
  // Where Nitro instances have it.
  const device = `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volumeId.replace('-', '')}`;
  return {
    systemctl: `case "$*" in
        'enable --now '*scheduler-release.service) setsid "$STACK_DIR/stack" watch >/dev/null 2>&1 & ;;
        'restart --no-block scheduler-stack.service') setsid "$STACK_DIR/stack" start >/dev/null 2>&1 & ;;
      esac`,
    'amazon-ssm-agent': '',
    // Adds the network in which AWS is, and what else is not of the instance's own settings.
    'docker-compose': `exec /usr/bin/docker-compose "\${@:1:8}" -f "$WORK/docker-compose.rehearsal.yml" "\${@:9}"`,
    mountpoint: '[ -e "$2/.filesystem" ]',
    blkid: '[ -d "$WORK/ebs/volume/filesystem" ] || exit 2',
    'mkfs.ext4': 'mkdir "$WORK/ebs/volume/filesystem" && touch "$WORK/ebs/volume/filesystem/.filesystem"',
    mount: `[ "$1" = ${device} ] && [ -e "$1" ] && rmdir "$2" && mv "$WORK/ebs/volume/filesystem" "$2" && chmod 755 "$2"`,
    umount: `if [ -n "$(docker ps -q --filter "volume=\${COMPOSE_PROJECT}_postgres-data")" ]; then
        echo "umount: $1: target is busy." >&2
        exit 32
      fi
      mv "$1" "$WORK/ebs/volume/filesystem" && mkdir "$1"`,
    // Another volume, address or zone does not exist here: that is a call of the local cloud, which refuses it.
    aws: `holder=$(cat "$WORK/ebs/holder" 2>/dev/null)
      case "$*" in
        *' ec2 describe-volumes --volume-ids ${volumeId} '*)
          if [ -n "$holder" ]; then printf 'in-use\\t%s\\n' "$holder"; else printf 'available\\tNone\\n'; fi
          ;;
        *" ec2 attach-volume --volume-id ${volumeId} --instance-id $INSTANCE "*)
          (set -C && printf %s "$INSTANCE" >"$WORK/ebs/holder") && mkdir -p /dev/disk/by-id && touch ${device}
          ;;
        *" ec2 detach-volume --volume-id ${volumeId} --instance-id $INSTANCE")
          [ -d "$WORK/ebs/volume/filesystem" ] || { echo 'the volume is mounted' >&2; exit 254; }
          rm ${device} "$WORK/ebs/holder"
          ;;
        *" ec2 associate-address --allocation-id ${addressId} --instance-id $INSTANCE "*)
          # Whole at once: others read it all the time.
          printf %s "$HTTP_ADDRESS" >"$WORK/address.new" && mv "$WORK/address.new" "$WORK/address"
          ;;
        *' route53 change-resource-record-sets --hosted-zone-id ${zoneId} '*)
          # The first is the instance's own name; those of jobs are more than a file of hosts can have.
          node -e '
            const { Name, ResourceRecords: [{ Value }] } = JSON.parse(process.argv[1]).Changes[0].ResourceRecordSet;
            process.stdout.write("127.0.0.1 localhost\\n" + Value.padEnd(15) + " " + Name + "\\n");' "\${@: -1}" |
            # In place and of the same length: no reader sees half of it, and it stays the file that is mounted.
            dd of="$WORK/hosts" conv=notrunc status=none
          ;;
        *) exec /usr/bin/aws "$@" ;;
      esac`,
  };
}
