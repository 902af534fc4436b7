import type { LocalCloud } from '../../local/cloud/local-cloud.ts';
import { until } from '../../local/until.ts';
import { isActive, type Swapping } from './swap-again.ts';

type Job = {
  readonly status: string;
  readonly activeDeployment: number;
  readonly instance: { readonly id: string } | null;
};

/** EC2's: so long before it takes a spot instance back. */
const NOTICE_SECONDS = 120;
const SERVES_WITHIN_MS = 300_000;

/**
 * EC2 says that it takes the job's instance back. Resolves once the deployment serves on another one: meanwhile the one before
 * it may serve again, if that is still there.
 */
export async function healByNotice(name: string, cloud: LocalCloud, { call }: Pick<Swapping, 'call'>): Promise<void> {
  const { id, number } = await inService(name, { call });
  cloud.faults.spotNotice(id, NOTICE_SECONDS);
  await until(async () => (await inService(name, { call })).id !== id, SERVES_WITHIN_MS);
  await isActive(name, number, { call });
}

async function inService(name: string, { call }: Pick<Swapping, 'call'>): Promise<{ id: string; number: number }> {
  let found: { id: string; number: number } | undefined;
  await until(async () => {
    const { status, activeDeployment: number, instance } = await call<Job>('GET', `/v1/jobs/${name}`);
    if (status === 'failed' || status === 'stopped') throw new Error(`${name} is ${status}`);
    found = instance ? { id: instance.id, number } : undefined;
    return found !== undefined;
  }, SERVES_WITHIN_MS);
  if (!found) throw new Error(`${name} does not serve`);
  return found;
}
