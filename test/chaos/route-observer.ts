import { httpRequest } from '../../local/instances/agent-http.ts';
import { lateCallerSecondsOf } from '../../src/scheduler/plan/plan-late-callers.ts';
import type { CloudInstance } from '../../local/cloud/instance.ts';
import type { House } from './house.ts';
import { Checks, type Verdict } from './invariants.ts';
import { wait } from './wait.ts';

/** Of the house: every job has a name in it. */
export const DOMAIN = 'jobs.test';

/** What the API says of a host, as an ingress asks it. */
export type Lead = {
  readonly status: number;
  readonly isKnown: boolean;
  readonly target: string | null;
  readonly job: string | null;
  readonly deployment: string | null;
};

/** An ingress does not wait longer, and an answer that comes later leads nobody. */
const LOOKUP_MS = 2_000;
/** From the last statement of a pass to its commit, until which lookups lead to what serves no longer: COMMIT_SECONDS. */
const COMMIT_MS = 2_000;
const LOOKUPS_PER_SECOND = 40;

/** @throws when the process does not answer in time */
export async function leadOf(url: string, name: string): Promise<Lead> {
  const answer = await fetch(`${url}/ingress/v1/routes/${name}.${DOMAIN}`, { signal: AbortSignal.timeout(LOOKUP_MS) });
  await answer.body?.cancel();
  if (answer.status !== 200 && answer.status !== 401) throw new Error(`a lookup was answered with ${answer.status}`);
  return {
    status: answer.status,
    isKnown: answer.headers.has('route-known'),
    target: answer.headers.get('route-target'),
    job: answer.headers.get('route-job'),
    deployment: answer.headers.get('route-deployment'),
  };
}

/** Asks where jobs' hosts lead, again and again, goes there, and keeps what is wrong with it. */
export class RouteObserver {
  readonly #house: House;
  readonly #lateCallerMs: number;
  readonly #checks = new Checks();
  readonly #ending = new AbortController();
  /** When an answer that led to the instance was asked for last. */
  readonly #ledMs = new Map<string, number>();
  readonly lookups = { answered: 0, led: 0 };
  #names: readonly string[] = [];
  #work: Promise<void> = Promise.resolve();

  /** @param staleSeconds ADDRESS_STALE_SECONDS of the processes */
  constructor(house: House, staleSeconds: number) {
    this.#house = house;
    this.#lateCallerMs = lateCallerSecondsOf(staleSeconds) * 1000;
  }

  watch(names: readonly string[]): void {
    const isNew = this.#names.length === 0;
    this.#names = names;
    if (isNew) this.#work = this.#run();
  }

  /** Ends the watch. @returns what was checked, and what was wrong */
  async stop(): Promise<Verdict> {
    this.#ending.abort();
    await this.#work;
    return this.verdict();
  }

  verdict(): Verdict {
    const checks = new Checks();
    for (const [id, stoppedMs] of this.#house.containers.askedToStopMs()) {
      const ledMs = this.#ledMs.get(id);
      const instance = this.#house.cloud.ledger.instances().find((one) => one.id === id);
      // EC2 takes a spot instance back when it says, whoever still comes.
      if (ledMs === undefined || instance?.spotActionAt !== undefined) continue;
      checks.check(
        'no container gets SIGTERM while callers may still come',
        id,
        stoppedMs - ledMs >= this.#lateCallerMs - COMMIT_MS,
        `${stoppedMs - ledMs} ms after an answer that led there was asked for`,
      );
    }
    const [asked, stopped] = [this.#checks.verdict(), checks.verdict()];
    return {
      findings: [...asked.findings, ...stopped.findings],
      checked: { ...asked.checked, ...stopped.checked },
      failed: {},
    };
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    for (let turn = 0; !signal.aborted; turn += 1) {
      const name = this.#names[turn % this.#names.length] ?? '';
      const replica = this.#house.replicas[turn % this.#house.replicas.length];
      const pause = wait(1000 / LOOKUPS_PER_SECOND, signal);
      if (replica?.isRunning && !replica.isPaused) await this.#look(replica.url, name);
      await pause;
    }
  }

  async #look(url: string, name: string): Promise<void> {
    const askedMs = Date.now();
    const lead = await leadOf(url, name).catch(() => null);
    if (lead) this.lookups.answered += 1;
    if (!lead?.target) return;
    this.lookups.led += 1;
    const instance = this.#instanceAt(lead.target);
    if (instance) this.#ledMs.set(instance.id, askedMs);
    const ran = instance && this.#house.containers.running(instance.id);
    // One that just ended has not been noticed yet.
    if (ran) {
      const isRight = ran.job === name && lead.job === name && ran.deployment === lead.deployment;
      const detail = `${lead.target} runs ${ran.job}/${ran.deployment}, and is said to be ${lead.job}/${lead.deployment}`;
      this.#checks.check('a host leads to its own job’s container', name, isRight, detail);
    }
    const greeting = await greetingAt(lead.target);
    if (greeting === null) return;
    const isOurs = greeting.split('.')[0] === name;
    this.#checks.check('a host is answered by its own job', name, isOurs, `${lead.target} answers ${greeting}`);
  }

  /** That has the address now, or had it last. */
  #instanceAt(target: string): CloudInstance | undefined {
    const [address] = target.split(':');
    return this.#house.cloud.ledger.instances().findLast(({ privateIp }) => privateIp === address);
  }
}

/** What the container there says of itself: the name of its job first. null = none answers */
export async function greetingAt(target: string): Promise<string | null> {
  const options = { timeoutMs: LOOKUP_MS, signal: new AbortController().signal, isSingleUse: true };
  try {
    const { body } = await httpRequest(`http://${target}/`, options);
    return (JSON.parse(body.toString()) as { hello: string }).hello;
  } catch {
    return null;
  }
}
