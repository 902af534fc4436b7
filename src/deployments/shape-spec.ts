import type { JobDefinition } from '../jobs/job-definition.js';
import { architectureOf } from './architecture.js';

/** What an instance must be: everything of RunInstances that a job may choose. */
export type ShapeSpec = {
  /** AMI id, alias, or null for the operator's DEFAULT_AMI. Named as in RunInstances and in stored keys of shapes. */
  imageId: string | null;
  /** The `imageId` before it was pinned, for types of another architecture. Absent when no type needs it. */
  unpinnedImageId?: string | null;
  types: string[];
  subnetIds: string[];
  securityGroupIds: string[];
  profile: string | null;
  diskGiB: number;
  market: 'on-demand' | 'spot';
  /** Used where `market` has no capacity. Absent when there is none, so that keys of shapes do not change. */
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
