import type { JobDefinition } from '../jobs/job-definition.js';
import { architectureOf } from './architecture.js';

/** What an instance must be: everything of RunInstances that a job may choose. */
export type ShapeSpec = {
  /** AMI id, alias, or null for the operator's DEFAULT_AMI. Named as RunInstances names it, and as keys of shapes hold it. */
  imageId: string | null;
  /** What stood in place of a pinned `imageId`, for types of another architecture. Absent when no type needs it. */
  unpinnedImageId?: string | null;
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

/** @param pinnedAmi AMI an earlier attempt of the same deployment ran on; wins over the definition's. */
export function shapeSpecOf(definition: JobDefinition, pinnedAmi: string | null = null): ShapeSpec {
  const { instance, onCapacity } = definition;
  const ami = instance.ami ?? null;
  const isMixed = new Set(instance.types.map(architectureOf)).size > 1;
  const fallbackMarket = onCapacity === 'fail' ? undefined : onCapacity.fallback?.market;
  return {
    imageId: pinnedAmi ?? ami,
    ...(isMixed && pinnedAmi !== null && pinnedAmi !== ami && { unpinnedImageId: ami }),
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
