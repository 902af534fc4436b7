import { createHash } from 'node:crypto';
import type { Architecture } from './instance-types.ts';

export type Image = {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly ownerId: string;
  /** Only Amazon's own images carry it; a look-up by name alone also finds strangers' (whoAMI). */
  readonly ownerAlias: 'amazon' | undefined;
  readonly architecture: Architecture;
  readonly createdAt: Date;
  readonly rootDevice: string;
  readonly rootGiB: number;
  readonly snapshotId: string;
};

/** Ids depend on the name only, so that a configured id stays right between runs. */
export function createImages(): Image[] {
  return [
    ecsImage('20260105', 'x86_64'),
    ecsImage('20251117', 'x86_64'),
    ecsImage('20260105', 'arm64'),
    ecsImage('20251117', 'arm64'),
    image({
      name: 'al2023-ami-2023.9.20260105.0-kernel-6.1-x86_64',
      ownerId: '137112412989',
      date: '20260105',
      rootGiB: 8,
    }),
    // Many images of other vendors name their root device so: a mapping of /dev/xvda is then a second volume, and the
    // root stays as small as it is.
    {
      ...image({
        name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260105',
        ownerId: '099720109477',
        date: '20260105',
        rootGiB: 8,
      }),
      ownerAlias: undefined,
      rootDevice: '/dev/sda1',
    },
    // A stranger's image with Amazon's naming and a later date: a look-up without the owner finds this one.
    {
      ...image({
        name: 'al2023-ami-ecs-hvm-2023.0.20991231-kernel-6.1-x86_64',
        ownerId: '666666666666',
        date: '20260110',
        rootGiB: 30,
      }),
      ownerAlias: undefined,
    },
  ];
}

/** Amazon's next ECS-optimised image, newer than all there are. */
export function newestImage(images: readonly Image[]): Image {
  const newest = Math.max(...images.filter(({ ownerAlias }) => ownerAlias).map(({ createdAt }) => createdAt.getTime()));
  return ecsImage(new Date(newest + 7 * 86_400_000).toISOString().slice(0, 10).replaceAll('-', ''), 'x86_64');
}

/** `ImageId=resolve:ssm:NAME`, which RunInstances resolves on the server's side. */
export function findImageParameter(images: readonly Image[], parameter: string): Image | undefined {
  const match = /^\/aws\/service\/ecs\/optimized-ami\/amazon-linux-2023\/(arm64\/)?recommended\/image_id$/.exec(
    parameter,
  );
  if (match === null) return undefined;
  const architecture = match[1] === undefined ? 'x86_64' : 'arm64';
  return images.find((candidate) => candidate.ownerId === ECS_OWNER && candidate.architecture === architecture);
}

const ECS_OWNER = '591542846629';

function ecsImage(date: string, architecture: Architecture): Image {
  const name = `al2023-ami-ecs-hvm-2023.0.${date}-kernel-6.1-${architecture}`;
  return image({ name, ownerId: ECS_OWNER, date, rootGiB: 30 });
}

function image({
  name,
  ownerId,
  date,
  rootGiB,
}: {
  name: string;
  ownerId: string;
  date: string;
  rootGiB: number;
}): Image {
  const digest = createHash('sha256').update(`${ownerId}/${name}`).digest('hex');
  return {
    id: `ami-${digest.slice(0, 17)}`,
    name,
    description: `Local stand-in for ${name}`,
    ownerId,
    ownerAlias: 'amazon',
    architecture: name.endsWith('arm64') ? 'arm64' : 'x86_64',
    createdAt: new Date(`${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}T18:00:00.000Z`),
    rootDevice: '/dev/xvda',
    rootGiB,
    snapshotId: `snap-${digest.slice(17, 34)}`,
  };
}
