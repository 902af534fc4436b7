import { Caller, type Calls } from './callers.ts';

export type Swapping = {
  /** Parsed JSON answer of the API. @throws Error for statuses other than 2xx */
  readonly call: <T>(method: string, path: string, body?: object) => Promise<T>;
  /** Of nginx. */
  readonly address: string;
  readonly port: number;
  readonly perSecond: number;
  readonly swaps: number;
  /** Of the job, beside what every job here has. */
  readonly definition: object;
  /** Between two swaps. */
  readonly pauseMs: number;
  /** Resolves once what served before is gone: a call that it had taken would fail by then. */
  readonly untilAlone: (name: string) => Promise<void>;
};

/** Makes a job, and replaces it again and again while it is called through nginx. */
export async function swapAgainAndAgain(name: string, swapping: Swapping): Promise<Calls> {
  const { call, address, port, perSecond, swaps, definition, pauseMs, untilAlone } = swapping;
  await call('POST', '/v1/jobs', {
    name,
    env: { GREETING: name },
    ports: [{ container: 8080, host: 8080 }],
    health: { path: '/', port: 8080, intervalSeconds: 1 },
    ...definition,
  });
  await isActive(name, 1, swapping);
  const { url } = await call<{ url: string }>('GET', `/v1/jobs/${name}`);
  const caller = new Caller({ address, port, host: new URL(url).hostname, expected: name, perSecond });
  for (let number = 2; number <= swaps + 1; number++) {
    await call('POST', `/v1/jobs/${name}/deployments`, {});
    await isActive(name, number, swapping);
    await new Promise((done) => setTimeout(done, pauseMs));
  }
  await untilAlone(name);
  return await caller.stop();
}

async function isActive(name: string, number: number, { call }: Swapping): Promise<void> {
  for (;;) {
    const path = `/v1/jobs/${name}/deployments/${number}?wait=20&until=settled`;
    const { status, message } = await call<{ status: string; message: string | null }>('GET', path);
    if (status === 'active') return;
    if (status !== 'queued' && status !== 'deploying') throw new Error(`${name}/${number} is ${status}: ${message}`);
  }
}
