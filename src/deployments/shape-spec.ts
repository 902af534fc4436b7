import type { JobDefinition } from '../jobs/job-definition.js';

/** What an instance must be: everything of RunInstances that a job may choose. */
export type ShapeSpec = {
  /** AMI id, alias, or null for the operator's DEFAULT_IMAGE_ID. */
  imageId: string | null;
  types: string[];
  subnetIds: string[];
  securityGroupIds: string[];
  profile: string | null;
  diskGiB: number;
  market: 'on-demand' | 'spot';
  /** Asked for where `market` has nothing. Absent when there is none, so that keys of shapes stay what they are. */
  fallbackMarket?: 'on-demand';
  publicIp: boolean;
};

/** @param pinnedImageId AMI an earlier attempt of the same deployment ran on; wins over the definition's. */
export function shapeSpecOf(definition: JobDefinition, pinnedImageId: string | null = null): ShapeSpec {
  const { instance, onCapacity } = definition;
  const fallbackMarket = onCapacity === 'fail' ? undefined : onCapacity.fallback?.market;
  return {
    imageId: pinnedImageId ?? instance.imageId ?? null,
    types: instance.types,
    subnetIds: instance.subnetIds,
    securityGroupIds: instance.securityGroupIds,
    profile: instance.profile ?? null,
    diskGiB: instance.diskGiB,
    market: instance.market,
    ...(fallbackMarket !== undefined && fallbackMarket !== instance.market && { fallbackMarket }),
    publicIp: instance.publicIp,
  };
}
