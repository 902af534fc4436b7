import { get } from 'node:http';
import { DEFAULT_SAMPLE } from './options.ts';
import { say } from './say.ts';

export const SAMPLE_NAME = 'hello';

const PORT = 8080;
const SERVER = `require('http').createServer((req, res) => res.end('Hello from ' + require('os').hostname() + '\\n')).listen(${PORT}, () => console.log('listening on ${PORT}'))`;

type Job = {
  status: string;
  ports: object[];
  url: string | null;
  endpoints: string[];
  latestDeployment: number | null;
};
type Deployment = { status: string; phase: string | null; reason: string | null; message: string | null };

/**
 * Makes the sample job unless it is there, and shows its deployment on the way to active.
 * @param port the image listens on; undefined = none, then it only has to run
 * @returns its URL; undefined without a port
 */
export async function showSample(
  api: string,
  image: string,
  port: number | undefined,
  timeoutMs: number,
): Promise<string | undefined> {
  const existing = await request<Job>('GET', `${api}/v1/jobs/${SAMPLE_NAME}`);
  if (!existing) {
    const job = {
      name: SAMPLE_NAME,
      kind: 'service',
      image,
      ...(image === DEFAULT_SAMPLE ? { command: ['node', '-e', SERVER], ...published(PORT) } : published(port)),
      rollout: { stableSeconds: 2, drainSeconds: 2, stopGraceSeconds: 5 },
    };
    await request('POST', `${api}/v1/jobs`, job);
    say(`POST /v1/jobs  →  job "${SAMPLE_NAME}" with image ${image}`);
  }
  return await follow(api, timeoutMs);
}

function published(port: number | undefined): object {
  if (port === undefined) return {};
  return { ports: [{ container: port, host: PORT }], health: { path: '/', port: PORT, intervalSeconds: 1 } };
}

async function follow(api: string, timeoutMs: number): Promise<string | undefined> {
  const startedAt = performance.now();
  let shown = '';
  while (performance.now() - startedAt < timeoutMs) {
    const job = await request<Job>('GET', `${api}/v1/jobs/${SAMPLE_NAME}`);
    const number = job?.latestDeployment ?? 1;
    const deployment = await request<Deployment>('GET', `${api}/v1/jobs/${SAMPLE_NAME}/deployments/${number}`);
    if (deployment && ['failed', 'cancelled'].includes(deployment.status)) {
      throw new Error(`the sample ${deployment.status}: ${deployment.reason ?? ''} ${deployment.message ?? ''}`);
    }
    const line = deployment ? `${deployment.status}, ${deployment.phase ?? 'no attempt yet'}` : 'no deployment';
    if (line !== shown)
      say(`  ${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s  deployment ${number}: ${line}`);
    shown = line;
    // Right after a restart the job still counts as running on an instance that is gone: only an answer proves it.
    const isRunning = job?.status === 'running';
    const address = job?.url ?? job?.endpoints[0];
    if (isRunning && (address === undefined ? job.ports.length === 0 : await answers(address))) return address;
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error('the sample is not active in time');
}

/** Names below localhost are loopback, whether or not this system resolves them. */
async function answers(address: string): Promise<boolean> {
  const { host, hostname, port } = new URL(address);
  const options = { host: hostname.endsWith('.localhost') ? '127.0.0.1' : hostname, port, headers: { host } };
  return await new Promise((resolve) => {
    const sent = get({ ...options, signal: AbortSignal.timeout(2_000) }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    sent.once('error', () => resolve(false));
  });
}

async function request<T>(method: string, url: string, body?: object): Promise<T | undefined> {
  const token = process.env['ADMIN_TOKEN'];
  const response = await fetch(url, {
    method,
    headers: {
      ...(body && { 'content-type': 'application/json' }),
      ...(token && { authorization: `Bearer ${token}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
  if (response.status === 404) return undefined;
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}
