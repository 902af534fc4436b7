// Replaces a job again and again while it is called through the stack's own nginx, and says how many calls failed:
// `npm run swaps -- --swaps 20`. It needs nginx, 1.22 or newer (NGINX_PROGRAM names one that is not on the PATH).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../../local/ports.ts';
import { openHouse } from '../chaos/house.ts';
import { Caller } from './callers.ts';
import { Nginx } from '../support/nginx.ts';

const { values } = parseArgs({
  options: {
    swaps: { type: 'string', default: '20' },
    jobs: { type: 'string', default: '1' },
    rate: { type: 'string', default: '20' },
    replicas: { type: 'string', default: '2' },
  },
});

const directory = mkdtempSync(join(tmpdir(), 'swaps-'));
const port = await freePort();
const jobsUrl = `http://jobs.test:${port}`;
const house = await openHouse({
  directory: join(directory, 'house'),
  seed: 1,
  replicas: Number(values.replicas),
  workers: 1,
  env: { JOBS_URL: jobsUrl },
});
const nginx = new Nginx({
  directory: join(directory, 'nginx'),
  port,
  apiPorts: house.replicas.map(({ url }) => Number(new URL(url).port)),
  jobsUrl,
});
let isGood = false;
try {
  await nginx.start();
  const jobs = Array.from({ length: Number(values.jobs) }, (_, index) => `web-${index}`);
  const results = await Promise.all(jobs.map(swapAgainAndAgain));
  const made = results.reduce((sum, result) => sum + result.made, 0);
  const failures = results.flatMap((result) => result.failures);
  const served = results.reduce((sum, { answeredBy }) => sum + answeredBy.size, 0);
  console.log(`${made} calls, answered by ${served} containers: ${failures.length} failed`);
  for (const failure of failures.slice(0, 20)) console.log(`  ${failure}`);
  isGood = failures.length === 0 && served === jobs.length * (Number(values.swaps) + 1);
} finally {
  await nginx.stop();
  await house.stop();
  if (isGood) rmSync(directory, { recursive: true, force: true });
  else console.log(`the logs are in ${directory}`);
}
process.exit(isGood ? 0 : 1);

async function swapAgainAndAgain(name: string) {
  await call('POST', '/v1/jobs', {
    name,
    image: 'web',
    env: { GREETING: name },
    ports: [{ container: 8080, host: 8080 }],
    health: { path: '/', port: 8080, intervalSeconds: 1 },
    rollout: { stableSeconds: 1, drainSeconds: 2, stopGraceSeconds: 5 },
  });
  await isActive(name, 1);
  const { url } = await call<{ url: string }>('GET', `/v1/jobs/${name}`);
  const caller = new Caller({
    address: '127.0.0.1',
    port,
    host: new URL(url).hostname,
    expected: name,
    perSecond: Number(values.rate),
  });
  for (let number = 2; number <= Number(values.swaps) + 1; number++) {
    await call('POST', `/v1/jobs/${name}/deployments`, {});
    await isActive(name, number);
    await new Promise((done) => setTimeout(done, 1_000));
  }
  // As long as the last predecessor serves, and until it is gone.
  await new Promise((done) => setTimeout(done, 45_000));
  return await caller.stop();
}

async function isActive(name: string, number: number): Promise<void> {
  for (;;) {
    const path = `/v1/jobs/${name}/deployments/${number}?wait=20&until=settled`;
    const { status, message } = await call<{ status: string; message: string | null }>('GET', path);
    if (status === 'active') return;
    if (status !== 'queued' && status !== 'deploying') throw new Error(`${name}/${number} is ${status}: ${message}`);
  }
}

async function call<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${house.replicas[0]?.url}${path}`, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}
