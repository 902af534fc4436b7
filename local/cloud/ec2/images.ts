import { CloudError } from '../errors.ts';
import { readFilters, readPage, type Filters } from '../filters.ts';
import { findImageParameter, type Image } from '../images.ts';
import type { World } from '../world.ts';
import { tagSet, type Action } from './action.ts';

export const describeImages: Action = {
  parameters: [
    'ImageId',
    'Owner',
    'ExecutableBy',
    'Filter',
    'IncludeDeprecated',
    'IncludeDisabled',
    'MaxResults',
    'NextToken',
  ],
  run: ({ params, world, confirm }) => {
    const ids = params.list('ImageId');
    ids.forEach((id) => findImage(world, id));
    const owners = params.list('Owner');
    const filter = readFilters(params, FILTERS, ({ id }) => world.tags.of(id));
    const found = world.images
      .filter((image) => ids.length === 0 || ids.includes(image.id))
      .filter((image) => owners.length === 0 || owners.some((owner) => isOwnedBy(world, image, owner)))
      .filter(filter);
    const { page, nextToken } = readPage(params, found, (image) => world.images.indexOf(image) + 1, {
      least: 1,
      most: 1000,
    });
    confirm();
    return { imagesSet: page.map((image) => imageItem(world, image)), nextToken };
  },
};

/** An `ami-…` id or `resolve:ssm:…` of a public parameter. */
export function findImage(world: World, id: string): Image {
  if (id.startsWith('resolve:ssm:')) {
    const image = findImageParameter(world.images, id.slice('resolve:ssm:'.length));
    if (image === undefined) throw new CloudError('SsmInvalidParameter', `The parameter in '${id}' does not exist`);
    return image;
  }
  if (!/^ami-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(id)) {
    throw new CloudError('InvalidAMIID.Malformed', `Invalid id: "${id}" (expecting "ami-...")`);
  }
  const image = world.images.find((candidate) => candidate.id === id);
  if (image === undefined) throw new CloudError('InvalidAMIID.NotFound', `The image id '[${id}]' does not exist`);
  return image;
}

function isOwnedBy(world: World, image: Image, owner: string): boolean {
  if (owner === 'self') return image.ownerId === world.accountId;
  return owner === image.ownerId || owner === image.ownerAlias;
}

const FILTERS: Filters<Image> = {
  architecture: ({ architecture }) => architecture,
  'image-id': ({ id }) => id,
  name: ({ name }) => name,
  'owner-alias': ({ ownerAlias }) => ownerAlias,
  'owner-id': ({ ownerId }) => ownerId,
  'root-device-name': ({ rootDevice }) => rootDevice,
  state: () => 'available',
};

function imageItem(world: World, image: Image) {
  return {
    imageId: image.id,
    imageLocation: `${image.ownerAlias ?? image.ownerId}/${image.name}`,
    imageState: 'available',
    imageOwnerId: image.ownerId,
    creationDate: image.createdAt.toISOString(),
    isPublic: true,
    architecture: image.architecture,
    imageType: 'machine',
    imageOwnerAlias: image.ownerAlias,
    name: image.name,
    description: image.description,
    rootDeviceType: 'ebs',
    rootDeviceName: image.rootDevice,
    blockDeviceMapping: [
      {
        deviceName: image.rootDevice,
        ebs: {
          snapshotId: image.snapshotId,
          volumeSize: image.rootGiB,
          deleteOnTermination: true,
          volumeType: 'gp3',
          encrypted: false,
        },
      },
    ],
    virtualizationType: 'hvm',
    hypervisor: 'xen',
    enaSupport: true,
    sriovNetSupport: 'simple',
    bootMode: 'uefi-preferred',
    imdsSupport: 'v2.0',
    platformDetails: 'Linux/UNIX',
    usageOperation: 'RunInstances',
    tagSet: tagSet(world.tags.of(image.id)),
  };
}
