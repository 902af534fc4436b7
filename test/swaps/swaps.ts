// Replaces jobs again and again, by deployments, rollbacks and instances that EC2 takes back, while they are called through
// two of the stack's own nginx and everything between is disturbed; then says how many calls failed:
// `npm run swaps -- --jobs 20 --swaps 50`. It needs nginx, 1.22 or newer (NGINX_PROGRAM names one that is not on the PATH).
// The figures of such a run are in docs/evidence.md.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createRandom } from '../../local/cloud/random.ts';
import { freePort } from '../../local/ports.ts';
import { openHouse } from '../chaos/house.ts';
import { wait } from '../chaos/wait.ts';
import { Nginx } from '../support/nginx.ts';
import { Relay } from '../support/relay.ts';
import type { Caller, Calls } from './calls.ts';
import { Disturber, type Door } from './disturber.ts';
import { healByNotice } from './heal.ts';
import { reportOf } from './report.ts';
import { SteadyCaller, Uploader, Waiter } from './requests.ts';
import { SocketCaller } from './sockets.ts';
import { deploy, rollBack, swapAgainAndAgain } from './swap-again.ts';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '3' },
    swaps: { type: 'string', default: '10' },
    rate: { type: 'string', default: '20' },
    replicas: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    calm: { type: 'boolean', default: false },
  },
});
const [jobCount, swaps, rate] = [Number(values.jobs), Number(values.swaps), Number(values.rate)];
const random = createRandom(Number(values.seed));

/** Every fifth job takes requests of a minute, and drains for as long as they take. */
const LONG_REQUEST_SECONDS = 60;
const isLong = (index: number): boolean => index % 5 === 0;
const ROLLOUT = { stableSeconds: 1, drainSeconds: 2, stopGraceSeconds: 5 };
const LONG_ROLLOUT = { ...ROLLOUT, drainSeconds: LONG_REQUEST_SECONDS + 10 };
/** Programs go on taking requests for a moment after SIGTERM: whoever is sent to one by then is seen. */
const LINGER = '2';
/** What served before is gone: 33 s, its last seconds, and what a busy machine takes. */
const ALONE_MS = 60_000;
/** By how many percent a swap is a rollback, or an instance that EC2 takes back; else it is a deployment. */
const [ROLLBACKS, HEALS] = [20, 20];
const NEVER_CALLED = 'quiet';

const startedAt = performance.now();
const say = (line: string): void =>
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(5)} s  ${line}`);
const directory = mkdtempSync(join(tmpdir(), 'swaps-'));
const ports = [await freePort(), await freePort()];
// Both nginx serve the domain; the URL can name the port of one only.
const jobsUrl = `http://jobs.test:${ports[0]}`;
const house = await openHouse({
  ...{ directory: join(directory, 'house'), seed: Number(values.seed), workers: 1, env: { JOBS_URL: jobsUrl } },
  replicas: Number(values.replicas),
});
const doors: Door[] = [];
const swapCounts: Record<string, number> = {};
let isGood = false;
try {
  for (const [index, port] of ports.entries()) doors.push(await openDoor(port, index));
  house.cloud.faults.reuseAddresses();
  const names = Array.from({ length: jobCount }, (_, index) => `web-${index}`);
  const quiet = { ...swappingOf(1), callersOf: () => [] };
  const disturber = values.calm ? undefined : new Disturber(house, doors, createRandom(random.between(1, 1e9)), say);
  const results = Promise.all([
    swapAgainAndAgain(NEVER_CALLED, quiet),
    ...names.map(async (name, index) => swapAgainAndAgain(name, swappingOf(index))),
  ]);
  // Else a job that cannot be replaced ends the program while the others are called.
  const ended = await results.then(
    (calls) => calls.flat(),
    (error: unknown) => String(error),
  );
  await disturber?.stop();
  if (typeof ended === 'string') say(`a job was not replaced: ${ended}`);
  else {
    const all = [...ended, await callOnce(NEVER_CALLED)];
    const counts = { ...swapCounts, ...disturber?.counts };
    const seconds = (performance.now() - startedAt) / 1000;
    const addresses = house.cloud.ledger.instances().map(({ privateIp }) => privateIp);
    const report = reportOf(all, { counts, seconds, instances: addresses.length, addresses: new Set(addresses).size });
    console.log(report.text);
    isGood = report.isGood && servedOf(ended) >= jobCount * (swaps + 1);
    console.log(`${servedOf(ended)} containers answered calls, at least ${jobCount * (swaps + 1)} expected`);
  }
  if (house.ownEnds.length > 0) console.log(`processes ended by themselves: ${house.ownEnds.join(', ')}`);
} finally {
  await Promise.all(doors.map(({ nginx }) => nginx.stop()));
  await Promise.all(doors.flatMap(({ relays }) => relays.map((relay) => relay.stop())));
  await house.stop();
  if (isGood) rmSync(directory, { recursive: true, force: true });
  else console.log(`the logs are in ${directory}`);
}
process.exit(isGood ? 0 : 1);

async function openDoor(port: number, index: number): Promise<Door> {
  const relays = await Promise.all(house.replicas.map(({ url }) => Relay.to(Number(new URL(url).port))));
  const apiPorts = relays.map((relay) => relay.port);
  const nginx = new Nginx({ ...{ directory: join(directory, `nginx-${index}`), port, apiPorts, jobsUrl } });
  await nginx.start();
  return { nginx, relays };
}

function swappingOf(index: number) {
  const choices = createRandom(random.between(1, 1e9));
  let swapped = 0;
  return {
    call,
    swaps,
    definition: {
      ...{ image: 'web', env: { LINGER }, instance: { market: 'spot' }, route: { port: 8080 } },
      rollout: isLong(index) ? LONG_ROLLOUT : ROLLOUT,
    },
    pauseMs: () => choices.between(200, 2_000),
    callersOf: (name: string, host: string) => callersOf(index, name, host),
    swap: async (name: string) => {
      // There is nothing to roll back to before the second deployment.
      const kind = swapped === 0 ? await swapBy(99, name) : await swapBy(choices.between(0, 99), name);
      swapCounts[kind] = (swapCounts[kind] ?? 0) + 1;
      swapped += 1;
      if (swapped % 10 === 0) say(`${name} was replaced ${swapped} times`);
    },
    // Longer for those that drain longer.
    untilAlone: () => wait(ALONE_MS + (isLong(index) ? LONG_REQUEST_SECONDS * 1_000 : 0)),
  };
}

async function swapBy(draw: number, name: string): Promise<string> {
  if (draw < HEALS) await healByNotice(name, house.cloud, { call });
  else if (draw < HEALS + ROLLBACKS) await rollBack(name, { call });
  else {
    await deploy(name, { call });
    return 'deployments';
  }
  return draw < HEALS ? 'instances taken back' : 'rollbacks';
}

function callersOf(index: number, name: string, host: string): Caller[] {
  const options = { address: '127.0.0.1', ports, host, expected: name };
  return [
    new SteadyCaller({ ...options, perSecond: rate }),
    new Uploader({ ...options, chunks: 20, everyMs: 500 }),
    new SocketCaller(options),
    ...(isLong(index) ? [new Waiter({ ...options, seconds: LONG_REQUEST_SECONDS, everyMs: 5_000 })] : []),
  ];
}

/** A host that nobody asked for since it was made. */
async function callOnce(name: string): Promise<Calls> {
  const { url } = await call<{ url: string }>('GET', `/v1/jobs/${name}`);
  const options = { address: '127.0.0.1', ports, host: new URL(url).hostname, expected: name };
  const caller = new SteadyCaller({ ...options, perSecond: 10 });
  await wait(1_000);
  return { ...(await caller.stop()), kind: 'a host nobody had asked for' };
}

function servedOf(calls: readonly Calls[]): number {
  return calls.filter(({ kind }) => kind === 'calls').reduce((sum, { answeredBy }) => sum + answeredBy.size, 0);
}

/** Of any replica that answers, for a minute: one is killed, or Postgres is away. A POST is sent again with its key. */
async function call<T>(method: string, path: string, body?: object): Promise<T> {
  const key = randomUUID();
  const deadline = Date.now() + 90_000;
  for (let number = 0; ; number += 1) {
    const replica = house.replicas[number % house.replicas.length];
    const response = await fetch(`${replica?.url}${path}`, {
      method,
      headers: {
        ...(method === 'POST' && { 'idempotency-key': key }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    }).catch(() => undefined);
    const text = await response?.text().catch(() => undefined);
    if (response?.ok && text !== undefined) return JSON.parse(text) as T;
    const isFinal = response !== undefined && response.status < 500 && response.status !== 429;
    if (isFinal || Date.now() > deadline) throw new Error(`${method} ${path} answered ${response?.status}: ${text}`);
    await wait(200);
  }
}
