import type { Caller, Calls } from './calls.ts';

export type Swapping = {
  /** Parsed JSON answer of the API. @throws Error for statuses other than 2xx */
  readonly call: <T>(method: string, path: string, body?: object) => Promise<T>;
  readonly swaps: number;
  /** Of the job, beside what every job here has. */
  readonly definition: { readonly env?: Readonly<Record<string, string>>; readonly image: string };
  /** Between two swaps. */
  readonly pauseMs: () => number;
  /** Those who call it from its first deployment on, by its host. */
  readonly callersOf: (name: string, host: string) => readonly Caller[];
  /** Puts another container in the place of the one that serves, and resolves once it does. Default: a deployment. */
  readonly swap?: (name: string) => Promise<void>;
  /** Resolves once what served before is gone: a call that it had taken would fail by then. */
  readonly untilAlone: (name: string) => Promise<void>;
};

/** Makes a job, and replaces it again and again while it is called through nginx. */
export async function swapAgainAndAgain(name: string, swapping: Swapping): Promise<Calls[]> {
  const { call, swaps, definition, pauseMs, callersOf, untilAlone } = swapping;
  const swap = swapping.swap ?? (() => deploy(name, swapping));
  await call('POST', '/v1/jobs', {
    ports: [{ container: 8080, host: 8080 }],
    health: { path: '/', port: 8080, intervalSeconds: 1 },
    ...definition,
    name,
    env: { ...definition.env, GREETING: name },
  });
  await isActive(name, 1, swapping);
  const { url } = await call<{ url: string }>('GET', `/v1/jobs/${name}`);
  const callers = callersOf(name, new URL(url).hostname);
  try {
    for (let left = swaps; left > 0; left--) {
      await swap(name);
      await new Promise((done) => setTimeout(done, pauseMs()));
    }
    await untilAlone(name);
  } catch (error) {
    await Promise.all(callers.map((caller) => caller.stop()));
    throw error;
  }
  return await Promise.all(callers.map((caller) => caller.stop()));
}

export async function deploy(name: string, { call }: Pick<Swapping, 'call'>): Promise<void> {
  const { number } = await call<{ number: number }>('POST', `/v1/jobs/${name}/deployments`, {});
  await isActive(name, number, { call });
}

export async function rollBack(name: string, { call }: Pick<Swapping, 'call'>): Promise<void> {
  const { number } = await call<{ number: number }>('POST', `/v1/jobs/${name}/rollback`, {});
  await isActive(name, number, { call });
}

export async function isActive(name: string, number: number, { call }: Pick<Swapping, 'call'>): Promise<void> {
  for (;;) {
    const path = `/v1/jobs/${name}/deployments/${number}?wait=20&until=settled`;
    const { status, message } = await call<{ status: string; message: string | null }>('GET', path);
    if (status === 'active') return;
    if (status !== 'queued' && status !== 'deploying') throw new Error(`${name}/${number} is ${status}: ${message}`);
  }
}
