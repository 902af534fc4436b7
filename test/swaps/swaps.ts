// Replaces a job again and again while it is called through the stack's own nginx, and says how many calls failed:
// `npm run swaps -- --swaps 20`. It needs nginx, 1.22 or newer (NGINX_PROGRAM names one that is not on the PATH).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../../local/ports.ts';
import { openHouse } from '../chaos/house.ts';
import { swapAgainAndAgain } from './swap-again.ts';
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
  const swapping = {
    ...{
      call,
      address: '127.0.0.1',
      port,
      perSecond: Number(values.rate),
      swaps: Number(values.swaps),
      pauseMs: 1_000,
    },
    definition: { image: 'web', rollout: { stableSeconds: 1, drainSeconds: 2, stopGraceSeconds: 5 } },
    // As long as the last predecessor serves, and until it is gone.
    untilAlone: () => new Promise<void>((done) => setTimeout(done, 45_000)),
  };
  const results = await Promise.all(jobs.map(async (name) => swapAgainAndAgain(name, swapping)));
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
