import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom } from '../../local/cloud/random.ts';
import { httpRequest } from '../../local/instances/agent-http.ts';
import { runClient } from './client.ts';
import type { JobHistory, Operation, Outcome } from './history.ts';
import { openHouse, type House } from './house.ts';
import { Injector } from './injector.ts';
import { checkLedger } from './ledger-invariants.ts';
import { isThere, checkRest, type Finding, type Verdict } from './invariants.ts';
import { RouteObserver } from './route-observer.ts';
import { drawSchedule } from './schedule.ts';
import { wait } from './wait.ts';

export type ChaosOptions = {
  readonly seed: number;
  readonly jobs: number;
  readonly replicas: number;
  readonly workers: number;
  readonly minutes: number;
  readonly faultsPerMinute: number;
  /** ADDRESS_STALE_SECONDS; default: as the program is shipped. */
  readonly staleSeconds?: number;
  /** Data, logs and, when something is wrong, the ledger. */
  readonly directory: string;
  /** Rest must come within so long after the last fault. */
  readonly restLimitSeconds: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
};

export type ChaosResult = {
  readonly isRight: boolean;
  readonly findings: readonly Finding[];
  readonly faults: Readonly<Record<string, number>>;
  readonly skipped: number;
  /** By `operation outcome`. */
  readonly requests: Readonly<Record<string, number>>;
  /** Requests of unknown outcome that were looked up. */
  readonly resolved: { readonly carriedOut: number; readonly lost: number };
  /** Jobs of which a request's outcome could not be looked up: for them more than one end is right. */
  readonly uncertainJobs: number;
  readonly checked: Readonly<Record<string, number>>;
  /** Deployments of good images that failed for a reason they may fail for. */
  readonly failed: Readonly<Record<string, number>>;
  /** EC2 calls by `action outcome`. */
  readonly calls: Readonly<Record<string, number>>;
  readonly instances: number;
  /** Answers of where a host leads, and how many of them led somewhere. */
  readonly lookups: { readonly answered: number; readonly led: number };
  /** From the end of the faults until everything was as requested. */
  readonly restSeconds: number;
  /** From the request to delete everything until nothing was alive. */
  readonly emptySeconds: number;
};

const SHIPPED_STALE_SECONDS = 22;
const LOOK_EVERY_MS = 3_000;
/** A rest that does not last is none. */
const STAYS_MS = 4_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, jobs, say, signal } = options;
  const durationMs = options.minutes * 60_000;
  const house = await openHouse(options);
  try {
    const requests: Record<string, number> = {};
    const random = createRandom(seed);
    const clientsEnd = new AbortController();
    const clients = Array.from({ length: jobs }, (_, index) =>
      runClient({
        name: `job-${index}`,
        random: createRandom(random.between(1, 2 ** 31)),
        urls: house.replicas.map(({ url }) => url),
        thinkMs: Math.max(8_000, jobs * THINK_MS_PER_JOB),
        startWithinMs: Math.min(20_000, durationMs / 6),
        signal: AbortSignal.any([signal, clientsEnd.signal]),
        settled: () => house.postgres.settled(),
        onOutcome: (operation, outcome) => count(requests, `${operation} ${outcome}`),
      }),
    );
    const observer = new RouteObserver(house, options.staleSeconds ?? SHIPPED_STALE_SECONDS);
    observer.watch(Array.from({ length: jobs }, (_, index) => `job-${index}`));
    house.cloud.faults.reuseAddresses();
    const injector = new Injector(house);
    const schedule = drawSchedule(seed, durationMs, options.faultsPerMinute);
    const progress = setInterval(() => say(progressOf(house, injector, requests)), 30_000);
    await injector.run(schedule, signal);
    await wait(durationMs - (schedule.at(-1)?.atMs ?? 0), signal);
    clientsEnd.abort();
    await injector.stop();
    const histories = await Promise.all(clients);
    clearInterval(progress);
    await Promise.all(house.replicas.map((replica) => replica.untilReady()));
    say(`the faults have stopped: ${progressOf(house, injector, requests)}`);

    const restedAt = performance.now();
    const rest = await untilRest(() => checkRest(house, histories), options);
    const restSeconds = (performance.now() - restedAt) / 1000;
    say(`${rest.findings.length === 0 ? 'at rest' : 'no rest'} after ${restSeconds.toFixed(1)} s`);
    const uncertainJobs = histories.filter(({ isCertain }) => !isCertain).length;
    const emptiedAt = performance.now();
    const empty = rest.findings.length > 0 ? rest : await deleteAll(house, histories, options);
    const emptySeconds = (performance.now() - emptiedAt) / 1000;
    const ledger = checkLedger(house, histories, injector);
    const addresses = await observer.stop();

    const findings = [...new Set([...rest.findings, ...empty.findings, ...ledger.findings, ...addresses.findings])];
    const result: ChaosResult = {
      isRight: findings.length === 0,
      findings,
      faults: tally(injector.injected.map(({ kind }) => kind)),
      skipped: injector.skipped,
      requests,
      uncertainJobs,
      resolved: {
        carriedOut: histories.reduce((sum, { resolved }) => sum + resolved.carriedOut, 0),
        lost: histories.reduce((sum, { resolved }) => sum + resolved.lost, 0),
      },
      checked: sum(rest.checked, ledger.checked, addresses.checked),
      lookups: observer.lookups,
      failed: rest.failed,
      calls: tally(house.cloud.ledger.calls().map(({ action, outcome }) => `${action} ${outcome}`)),
      instances: house.cloud.ledger.instances().length,
      restSeconds,
      emptySeconds,
    };
    if (!result.isRight) await keepEvidence(house, histories, injector, options.directory);
    return result;
  } finally {
    await house.stop();
  }
}

/** 150 requests a minute over all jobs: with the launches they cause well within EC2's 2 instances a second. */
const THINK_MS_PER_JOB = 400;

/** Looks until two looks in a row find nothing wrong, or the limit; the last look counts. */
async function untilRest(look: () => Promise<Verdict>, options: ChaosOptions): Promise<Verdict> {
  const deadline = performance.now() + options.restLimitSeconds * 1000;
  let isCalm = false;
  for (;;) {
    const verdict = await look();
    const isClean = verdict.findings.length === 0;
    if (isClean && isCalm) return verdict;
    const [last] = verdict.findings;
    if (last)
      options.say(
        `not yet: ${verdict.findings.length}, like ${last.subject}, ${last.invariant}: ${last.detail.split('\n')[0] ?? ''}`,
      );
    if (options.signal.aborted || (!isClean && performance.now() > deadline)) return verdict;
    isCalm = isClean;
    await wait(isClean ? STAYS_MS : LOOK_EVERY_MS, options.signal);
  }
}

async function deleteAll(house: House, histories: readonly JobHistory[], options: ChaosOptions): Promise<Verdict> {
  for (const history of histories) {
    const url = `${house.replicas[0]?.url ?? ''}/v1/jobs/${history.name}`;
    const { status } = await httpRequest(url, {
      method: 'DELETE',
      timeoutMs: 20_000,
      signal: NEVER,
      isSingleUse: true,
    });
    if (status === 202) history.deleted();
    // What was never certain is certain now.
    history.unknown.length = 0;
    history.wanted = 'gone';
  }
  const verdict = await untilRest(() => checkRest(house, histories), options);
  const left = house.cloud.ledger.instances().filter(isThere);
  options.say(`${left.length} instances alive after everything was deleted`);
  return verdict;
}

const NEVER = new AbortController().signal;

async function keepEvidence(
  house: House,
  histories: readonly JobHistory[],
  injector: Injector,
  directory: string,
): Promise<void> {
  const { ledger } = house.cloud;
  const write = (name: string, value: unknown) => writeFile(join(directory, name), JSON.stringify(value, null, 1));
  await write('instances.json', ledger.instances().map(({ userData, ...instance }) => ({ ...instance, hasUserData: userData !== '' }))); // prettier-ignore
  await write('calls.json', ledger.calls());
  await write('faults.json', injector.injected);
  await write('containers.json', house.containers.started());
  await write('requests.json', Object.fromEntries(histories.map(({ name, log }) => [name, log])));
  for (const table of [
    'jobs',
    'deployments',
    'attempts',
    'assignments',
    'instances',
    'launches',
    'orders',
    'shapes',
    'owner',
  ])
    await write(`table-${table}.json`, await house.postgres.query(`SELECT * FROM ${table}`).catch(String));
}

function progressOf(house: House, { injected }: Injector, requests: Readonly<Record<string, number>>): string {
  const instances = house.cloud.ledger.instances();
  const asked = Object.values(requests).reduce((total, one) => total + one, 0);
  return `${injected.length} faults, ${asked} requests, ${instances.length} instances, ${instances.filter(isThere).length} alive`;
}

function count(counts: Record<string, number>, key: `${Operation} ${Outcome}`): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

function tally(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of keys.toSorted()) counts[key] = (counts[key] ?? 0) + 1;
  return counts;
}

function sum(...all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const counts of all) for (const [key, value] of Object.entries(counts)) total[key] = (total[key] ?? 0) + value;
  return total;
}
