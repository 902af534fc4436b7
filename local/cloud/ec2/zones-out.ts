import { CloudError } from '../errors.ts';
import type { CloudInstance } from '../instance.ts';
import type { World } from '../world.ts';

/**
 * In a zone's outage EC2 describes instances of other zones only, and only by their ids (DescribeInstances in its API
 * reference).
 * @param named those whose ids were given; undefined = none were
 */
export function refuseZonesOut({ zonesOut }: World, named: readonly CloudInstance[] | undefined): void {
  if (zonesOut.size === 0) return;
  if (named !== undefined && !named.some(({ spec }) => zonesOut.has(spec.availabilityZone))) return;
  throw new CloudError('Unavailable', 'The server is overloaded and can’t handle the request.');
}
