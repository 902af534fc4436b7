import type { LocalCloud } from '../../local/cloud/local-cloud.ts';
import type { Swapping } from './swap-again.ts';

type Job = { readonly status: string; readonly instance: { readonly id: string } | null };

/** EC2's: so long before it takes a spot instance back. */
const NOTICE_SECONDS = 120;
const LOOK_EVERY_MS = 500;

/** EC2 says that it takes the job's instance back. Resolves once another one serves. */
export async function healByNotice(name: string, cloud: LocalCloud, { call }: Pick<Swapping, 'call'>): Promise<void> {
  const before = await inService(name, { call });
  cloud.faults.spotNotice(before, NOTICE_SECONDS);
  while ((await inService(name, { call })) === before) await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
}

async function inService(name: string, { call }: Pick<Swapping, 'call'>): Promise<string> {
  for (;;) {
    const { status, instance } = await call<Job>('GET', `/v1/jobs/${name}`);
    if (instance) return instance.id;
    if (status === 'failed' || status === 'stopped') throw new Error(`${name} is ${status}`);
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
}
