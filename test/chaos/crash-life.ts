import type { ChildProcess } from 'node:child_process';
import type { CrashAnswer, CrashMessage, CrashPoint } from './crash-preload.ts';
import type { DeploymentView, JobView } from './history.ts';
import { openHouse, type House } from './house.ts';
import { checkLedger } from './ledger-invariants.ts';
import { isThere, type Finding } from './invariants.ts';
import type { Replica } from './replica.ts';
import { leadOf, RouteObserver } from './route-observer.ts';
import { wait } from './wait.ts';

/**
 * `replaced`: two deployments, one after the other. `handed-back`: the second one keeps crashing while its predecessor
 * drains, which then serves again and is stopped.
 */
export const STORIES = ['replaced', 'handed-back'] as const;
export type Story = (typeof STORIES)[number];

/** What came of a life in which the process was killed once. */
export type Life = {
  readonly story: Story;
  readonly point: CrashPoint | null;
  /** Points that were passed, in their order; of the process before the crash only. */
  readonly passed: readonly CrashPoint[];
  /** Timing may lead another way: then no process was killed. */
  readonly isReached: boolean;
  readonly findings: readonly Finding[];
  readonly seconds: number;
};

const LIMIT_MS = 240_000;
/** Instead of 22: each life waits twice, for this and what a lookup and a commit take. */
const STALE_SECONDS = 1;
/** Of what keeps crashing: as long as five crashes take, and a crash of ours. */
const DRAIN_SECONDS = 20;

/** One process on a Postgres and a cloud of its own, killed at one point after the other. */
export class CrashHouse {
  readonly #house: House;
  readonly #replica: Replica;
  #lives = 0;

  private constructor(house: House, replica: Replica) {
    this.#house = house;
    this.#replica = replica;
  }

  static async open(directory: string): Promise<CrashHouse> {
    const house = await openHouse({
      directory,
      seed: 1,
      replicas: 1,
      workers: 1,
      bootMs: 50,
      staleSeconds: STALE_SECONDS,
      preload: [new URL('crash-preload.ts', import.meta.url).href],
    });
    const [replica] = house.replicas;
    if (!replica) throw new Error('a house has a replica');
    return new CrashHouse(house, replica);
  }

  /** A job from its creation over a second deployment to its deletion. @param point none = the process is not killed */
  async live(point: CrashPoint | null, story: Story = 'replaced'): Promise<Life> {
    const startedAt = performance.now();
    const name = `life-${(this.#lives += 1)}`;
    const before = this.#house.cloud.ledger.instances().length;
    const passed: CrashPoint[] = [];
    const findings: Finding[] = [];
    const watch = this.#restartWhenKilled();
    const child = await this.#arm(null);
    const listener = (message: CrashAnswer): void => {
      if (message !== 'heard') passed.push(message);
    };
    child.on('message', listener);
    await this.#arm(point);
    const observer = new RouteObserver(this.#house, STALE_SECONDS);
    observer.watch([name]);
    try {
      await (story === 'replaced' ? this.#replace(name) : this.#handBack(name));
      await this.#delete(name);
    } catch (error) {
      findings.push({ invariant: 'a life comes to its end', subject: name, detail: String(error) });
    } finally {
      // It may be killed in this last moment: then another process is there for what comes.
      await this.#arm(null);
      watch.stop();
      findings.push(...(await observer.stop()).findings);
      child.off('message', listener);
    }
    findings.push(...(await this.#check(name, this.#house.cloud.ledger.instances().length - before)));
    return {
      ...{ story, point, passed },
      isReached: this.#replica.process !== child,
      findings,
      seconds: (performance.now() - startedAt) / 1000,
    };
  }

  close(): Promise<void> {
    return this.#house.stop();
  }

  /** @returns the process that heard it: another one where it ended before it did */
  async #arm(point: CrashPoint | null): Promise<ChildProcess> {
    for (;;) {
      const { process: child } = this.#replica;
      if (child && (await isHeard(child, { arm: point }))) return child;
      await wait(20);
    }
  }

  async #create(name: string): Promise<void> {
    await this.#until(`${name} is created`, async () => {
      // Sent again when the process was killed meanwhile: then the name may be taken.
      const created = await this.#call('POST', '/v1/jobs', { name, image: 'crash/web:1', ...this.#definition(name) });
      return created.status === 201 || created.status === 409;
    });
    await this.#untilActive(name, 1);
    await this.#untilLedTo(name, 1);
  }

  async #deploy(name: string, definition: object): Promise<void> {
    const job = `/v1/jobs/${name}`;
    await this.#until(`${name} is deployed`, async () => {
      const { body } = await this.#call('GET', job);
      if ((body as JobView | undefined)?.latestDeployment === 2) return true;
      const { status } = await this.#call('POST', `${job}/deployments`, { image: 'crash/web:2', ...definition });
      return status === 202;
    });
  }

  async #replace(name: string): Promise<void> {
    await this.#create(name);
    await this.#deploy(name, {});
    await this.#untilActive(name, 2);
    await this.#untilLedTo(name, 2);
    await this.#until(`deployment 1 of ${name} is superseded`, async () => {
      const one = await this.#deployment(name, 1);
      return one?.status === 'superseded' && this.#alive().length === 1;
    });
  }

  async #handBack(name: string): Promise<void> {
    const job = `/v1/jobs/${name}`;
    await this.#create(name);
    const { rollout } = this.#definition(name);
    const env = { GREETING: name, EXIT_AFTER: '1' };
    await this.#deploy(name, { env, rollout: { ...rollout, drainSeconds: DRAIN_SECONDS } });
    await this.#until(`deployment 1 of ${name} serves again`, async () => {
      const [one, two] = [await this.#deployment(name, 1), await this.#deployment(name, 2)];
      return one?.status === 'active' && two?.status === 'failed';
    });
    await this.#untilLedTo(name, 1);
    await this.#until(`deployment 2 of ${name} has ended`, () => Promise.resolve(this.#alive().length === 1));
    await this.#until(`the stop of ${name} is accepted`, async () => {
      return (await this.#call('POST', `${job}/stop`)).status === 202;
    });
    await this.#until(`${name} is stopped`, async () => {
      const { body } = await this.#call('GET', job);
      return (body as JobView | undefined)?.status === 'stopped';
    });
    await this.#untilLedTo(name, null);
  }

  async #delete(name: string): Promise<void> {
    const job = `/v1/jobs/${name}`;
    await this.#until(`the deletion of ${name} is accepted`, async () => {
      const { status } = await this.#call('DELETE', job);
      return status === 202 || status === 404;
    });
    await this.#until(`${name} is gone`, async () => (await this.#call('GET', job)).status === 404);
    await this.#until(`nothing of ${name} is alive`, () => Promise.resolve(this.#alive().length === 0));
  }

  #untilActive(name: string, number: number): Promise<void> {
    return this.#until(`deployment ${number} of ${name} is active`, async () => {
      const deployment = await this.#deployment(name, number);
      if (deployment?.status === 'failed') throw new Error(`deployment ${number} failed: ${deployment.message ?? ''}`);
      return deployment?.status === 'active';
    });
  }

  /** @param number null: the host is the job's, and leads nowhere */
  #untilLedTo(name: string, number: number | null): Promise<void> {
    return this.#until(`${name} leads to ${number === null ? 'nothing' : `deployment ${number}`}`, async () => {
      const lead = await leadOf(this.#replica.url, name).catch(() => null);
      return lead !== null && lead.isKnown && lead.deployment === (number === null ? null : String(number));
    });
  }

  async #deployment(name: string, number: number): Promise<DeploymentView | undefined> {
    return (await this.#call('GET', `/v1/jobs/${name}/deployments/${number}`)).body as DeploymentView | undefined;
  }

  async #check(name: string, launched: number): Promise<Finding[]> {
    const findings = [...checkLedger(this.#house, [], { throttled: [] }).findings];
    const find = (invariant: string, isTrue: boolean, detail: string): void => {
      if (!isTrue) findings.push({ invariant, subject: name, detail });
    };
    find('nothing alive that is not needed', this.#alive().length === 0, this.#alive().join());
    const history = await this.#historyOf(name);
    const left = await this.#house.postgres.query<{ what: string }>(
      `SELECT 'host ' || host AS what FROM routes r JOIN jobs j ON j.id = r.job_id WHERE j.name = $1 AND removed_at IS NULL
       UNION ALL
       SELECT 'attempt ' || a.number || ' ' || phase FROM attempts a JOIN jobs j ON j.id = a.job_id
       WHERE j.name = $1 AND phase <> 'ended'`,
      [name],
    );
    find('no row is left', left.length === 0, left.map(({ what }) => what).join());
    find('a crash costs no instance', launched === 2, `${launched} were launched for two deployments: ${history}`);
    return findings;
  }

  async #historyOf(name: string): Promise<string> {
    const rows = await this.#house.postgres.query<{ line: string }>(
      `SELECT concat_ws(' ', to_char(at, 'MI:SS.MS'), type, deployment, attempt, instance, cause ->> 'reason', data ->> 'message') AS line
       FROM events WHERE job = $1 ORDER BY id`,
      [name],
    );
    return rows.map(({ line }) => line).join('; ');
  }

  /** A shape of its own for each life, so that shapes are made in each. */
  #definition(name: string) {
    return {
      env: { GREETING: name },
      ports: [{ container: 8080, host: 8080 }],
      health: { path: '/', port: 8080, intervalSeconds: 1, timeoutSeconds: 1, startPeriodSeconds: 20 },
      rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 2, deadlineSeconds: 300 },
      instance: { diskGiB: 30 + this.#lives },
    };
  }

  #alive(): string[] {
    return this.#house.cloud.ledger
      .instances()
      .filter(isThere)
      .map(({ id }) => id);
  }

  async #call(method: string, path: string, body?: object): Promise<{ status: number; body?: unknown }> {
    try {
      const response = await fetch(`${this.#replica.url}${path}`, {
        method,
        ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(20_000),
      });
      return { status: response.status, body: await response.json() };
    } catch {
      return { status: 0 };
    }
  }

  async #until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + LIMIT_MS;
    while (!(await isTrue())) {
      if (performance.now() > deadline) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
      await wait(50);
    }
  }

  /** Its supervisor. The lease of the dead process is ended by hand: 15 s would pass otherwise, and nothing else. */
  #restartWhenKilled(): { stop(): void } {
    let isBusy = false;
    const timer = setInterval(() => {
      if (this.#replica.isRunning || isBusy) return;
      isBusy = true;
      void this.#house.postgres
        .query('UPDATE owner SET expires_at = clock_timestamp()')
        .then(() => this.#replica.start())
        .finally(() => (isBusy = false));
    }, 20);
    return { stop: () => clearInterval(timer) };
  }
}

/** @returns false where the process ends, or has ended, before it hears the message */
function isHeard(child: ChildProcess, message: CrashMessage): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isHeardNow: boolean): void => {
      child.off('message', onAnswer).off('exit', onExit);
      resolve(isHeardNow);
    };
    const onAnswer = (answer: CrashAnswer): void => {
      if (answer === 'heard') end(true);
    };
    const onExit = (): void => end(false);
    child.on('message', onAnswer).once('exit', onExit);
    child.send(message, (error) => {
      if (error) end(false);
    });
  });
}
