import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { EventPage } from '../../src/events/event.schema.ts';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, type Deployment, type Job, keepAsking, remove, settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

/** What a simulated web server tells of itself. */
type Web = { hostname: string; startedAt: string; hello: string };

const PATIENCE_MS = 200_000;
/** Docker's pauses grow: on a busy machine three failed probes may come before the fifth exit. */
const PATIENT = { health: { ...WEB.health, retries: 100 } };

// All on one stack at once, each with a job of its own: most of a healing is waiting.
const SCENARIOS: Record<string, (around: Around) => Promise<void>> = {
  'an agent that is silent, and EC2 says the instance is impaired: a fresh instance': async (around) => {
    const { stack, id } = await around.serve();
    await stack.cloud.faults.freeze(id);
    const { old, now } = await around.moved(id);
    expect(now.attempt).toBe(2);
    expect(old.reason).toBe('instance-unreachable');
  },

  'an instance terminated by hand: a fresh one at once': async (around) => {
    const { stack, id } = await around.serve();
    stack.cloud.faults.kill(id, 'hand');
    const { old } = await around.moved(id);
    expect(old).toMatchObject({ reason: 'instance-terminated', message: expect.stringContaining(id) });
  },

  'an instance stopped by hand: a fresh one, and the stopped one is terminated': async (around) => {
    const { stack, id } = await around.serve();
    stack.cloud.faults.stop(id);
    const { old } = await around.moved(id);
    expect(old.reason).toBe('instance-stopped');
    await until(() => stack.cloud.instance(id)?.state === 'terminated');
  },

  'an instance rebooted: it stays, and its container comes up again': async (around) => {
    const { stack, id, web } = await around.serve();
    stack.cloud.faults.reboot(id);
    await until(async () => ((await around.ask())?.startedAt ?? web.startedAt) !== web.startedAt);
    expect(await around.ask()).toMatchObject({ hostname: web.hostname });
    await around.stays(id);
    // The agent is back as well: it carries out what is ordered next.
    await around.replaceable();
  },

  'an agent killed: it finds its container, which never stopped': async (around) => {
    const { stack, id, web } = await around.serve();
    await stack.cloud.faults.killAgent(id);
    await around.stays(id);
    expect(await around.ask()).toEqual(web);
    await around.replaceable();
  },

  'Docker dead: a fresh instance': async (around) => {
    const { stack, id } = await around.serve();
    await stack.cloud.faults.breakDocker(id);
    await around.degraded('docker-unavailable', /attempt 2 is /);
    const { old } = await around.moved(id);
    expect(old.reason).toBe('docker-unavailable');
  },

  'Docker away for a moment: nothing moves': async (around) => {
    const { stack, id, web } = await around.serve();
    await stack.cloud.faults.breakDocker(id);
    await around.watchFailed();
    await stack.cloud.faults.mendDocker(id);
    await around.watchOpen();
    await around.stays(id);
    expect(await around.ask()).toEqual(web);
    await around.replaceable();
  },

  'a container killed for want of memory: Docker starts it again, the fifth time it moves': async (around) => {
    const { stack, id, web } = await around.serve(PATIENT);
    let startedAt = web.startedAt;
    for (let times = 1; times <= 5; times++) {
      // An exit that comes before the agent watches for it counts for nobody.
      await around.watchOpen();
      await stack.cloud.faults.exhaustMemory(id);
      if (times === 5) break;
      await until(async () => ((await around.ask())?.startedAt ?? startedAt) !== startedAt);
      startedAt = (await around.ask())?.startedAt ?? '';
      expect((await around.deployment()).attempt).toBe(1);
    }
    const { old } = await around.moved(id);
    expect(old).toMatchObject({ reason: 'out-of-memory', message: expect.stringContaining('code 137') });
  },

  'a container that keeps exiting: degraded with what and when, until the cause goes': async (around) => {
    const { stack, id, job } = await around.serve(PATIENT);
    await around.keepsExiting(1);
    await around.degraded('crash-looping', /[5-9] exits in a row, the last one code 3; attempt 2 is /);
    await around.moved(id);
    await around.keepsExiting(2);
    await around.degraded('crash-looping', /code 3; attempt 3 (begins at 20\d\d-.*Z|is waiting.*)$/);
    const { number } = await stack.call<{ number: number }>('POST', `/v1/jobs/${job}/deployments`, {
      image: 'hello-web:2',
      env: { GREETING: 'mended' },
    });
    expect((await settled(stack, job, number)).status).toBe('active');
    await until(async () => (await around.ask())?.hello === 'mended');
    expect((await around.job()).status).toBe('running');
  },

  'a spot notice: a successor at once, no refused request, and the old one goes before EC2 takes it': async (
    around,
  ) => {
    const { stack, id, job } = await around.serve({ instance: { market: 'spot' } });
    const client = keepAsking(stack, job);
    stack.cloud.faults.spotNotice(id, 60);
    await around.degraded('spot-interrupted', /attempt 2 is /);
    expect(await around.ask()).toBeDefined();
    const { old } = await around.moved(id);
    expect(old.reason).toBe('spot-interrupted');
    await until(() => stack.cloud.instance(id)?.state === 'terminated');
    expect(stack.cloud.instance(id)?.stateReason?.code).toBe('Client.UserInitiatedShutdown');
    expect((await client.stop()).failures).toEqual([]);
  },

  'a spot notice as soon as an instance serves, again: the next fresh one has a pause, and it is told until when':
    async (around) => {
      const { stack, id } = await around.serve({ instance: { market: 'spot' } });
      stack.cloud.faults.spotNotice(id, 120);
      const { instance } = await around.served(2);
      stack.cloud.faults.spotNotice(instance, 120);
      await around.degraded('spot-interrupted', /; attempt 3 begins at 20\d\d-.*Z$/);
      const [, told] = / begins at (.*)$/.exec((await around.deployment()).message ?? '') ?? [];
      expect(await around.ask()).toBeDefined();
      await around.served(3);
      const [third] = await stack.query<{ createdAt: Date }>(
        `SELECT created_at AS "createdAt" FROM attempts WHERE number = 3 AND job_id = (
         SELECT job_id FROM assignments s JOIN attempts a ON a.id = s.attempt_id WHERE s.instance_id = $1)`,
        [id],
      );
      expect(third?.createdAt.getTime()).toBeGreaterThanOrEqual(Date.parse(told ?? ''));
    },
};

// What becomes of instances when nobody is left to end them: one after the other, on a stack of their own beside that of the
// others. Real minutes pass: the shortest limit a job may set is one.
const ALONE: Record<string, (stack: Stack) => Promise<void>> = {
  'runs on while we are silent, unless its job limits the silence: then it ends itself, and is healed': async (
    stack,
  ) => {
    const job = (name: string) => stack.call<Job>('GET', `/v1/jobs/${name}`);
    const [patient, limited] = await Promise.all([
      serveOn(stack, 'patient', {}),
      serveOn(stack, 'limited', { maxSilenceSeconds: 60 }),
    ]);
    await until(async () => (await switchesOf(stack)).every(({ isSet }) => isSet));
    expect(await switchesOf(stack)).toMatchObject([
      { job: 'limited', minutes: 1, renews: true },
      { job: 'patient', minutes: 0, renews: null },
    ]);

    await stack.kill(0);
    await until(() => stack.cloud.instance(limited)?.state === 'terminated', 100_000);
    expect(stack.cloud.instance(limited)?.stateReason?.code).toBe('Client.InstanceInitiatedShutdown');
    expect(alive(stack)).toEqual([patient]);

    await stack.restart(0);
    await until(async () => {
      const { status, instance } = await job('limited');
      return status === 'running' && instance !== null && instance.id !== limited;
    });
    expect((await job('patient')).instance?.id).toBe(patient);
    expect(alive(stack)).toHaveLength(2);
  },

  'has its switch on again before its container is told to stop': async (stack) => {
    const job = (name: string) => stack.call<Job>('GET', `/v1/jobs/${name}`);
    const { instance } = await job('patient');
    await stack.call('POST', '/v1/jobs/patient/stop');
    await until(async () => (await job('patient')).status === 'stopped');
    const orders = await stack.query<{ purpose: string; minutes: number | null; status: number }>(
      `SELECT purpose, (spec ->> 'minutes')::int AS minutes, result_status AS status FROM orders
       WHERE instance_id = $1 ORDER BY number DESC LIMIT 3`,
      [instance?.id],
    );
    expect(orders).toMatchObject([
      { purpose: 'flush-logs', status: 200 },
      { purpose: 'stop', status: 204 },
      { purpose: 'dead-man', minutes: 16 },
    ]);
  },
};

const running = new Map<string, Promise<void>>();
let stack: Stack;
let stackOfAlone: Stack;

beforeAll(async () => {
  const runtime = createSimulatedRuntime;
  [stack, stackOfAlone] = await Promise.all([
    startStack({ runtime: runtime(), cloud: { quotas: 'none', statusCheckMs: 1_000 } }),
    startStack({ runtime: runtime(), cloud: { quotas: 'none' } }),
  ]);
  const begin = (name: string, outcome: Promise<void>): Promise<void> => {
    running.set(name, outcome);
    return outcome.catch(() => undefined);
  };
  Object.entries(SCENARIOS).forEach(([name, scenario], index) => {
    void begin(name, scenario(new Around(stack, `healing-${index}`)));
  });
  let before = Promise.resolve();
  for (const [name, scenario] of Object.entries(ALONE)) {
    before = begin(
      name,
      before.then(() => scenario(stackOfAlone)),
    );
  }
}, 120_000);
afterAll(() => Promise.all([stack.stop(), stackOfAlone.stop()]), 60_000);

describe('an active service heals', () => {
  it.each(Object.keys(SCENARIOS))('%s', (name) => running.get(name), PATIENCE_MS);

  it('and leaves nothing behind', async () => {
    await Promise.allSettled(Object.keys(SCENARIOS).map(async (name) => running.get(name)));
    await Promise.all(Object.keys(SCENARIOS).map((_, index) => remove(stack, `healing-${index}`)));
    expect(alive(stack)).toEqual([]);
  }, 90_000);
});

describe('an instance on its own', () => {
  it.each(Object.keys(ALONE))('%s', (name) => running.get(name), 240_000);
});

async function serveOn(stack: Stack, name: string, definition: object): Promise<string> {
  await stack.call('POST', '/v1/jobs', { name, image: 'hello-web:1', ...WEB, ...definition });
  expect((await settled(stack, name, 1)).status).toBe('active');
  return (await stack.call<Job>('GET', `/v1/jobs/${name}`)).instance?.id ?? '';
}

/** The latest dead-man order of each job that serves, and whether its agent has carried it out. */
function switchesOf(stack: Stack) {
  return stack.query<{ job: string; minutes: number; renews: boolean | null; isSet: boolean }>(
    `SELECT DISTINCT ON (j.name) j.name AS job, (o.spec ->> 'minutes')::int AS minutes,
         (o.spec ->> 'renews')::boolean AS renews, o.answered_at IS NOT NULL AS "isSet"
       FROM orders o JOIN attempts a ON a.id = o.attempt_id JOIN jobs j ON j.id = a.job_id
       WHERE o.purpose = 'dead-man' ORDER BY j.name, o.number DESC`,
  );
}

type EndedAttempt = { reason: string | null; message: string | null };

/** One scenario's job, and what is around it. */
class Around {
  constructor(
    private readonly stack: Stack,
    private readonly name: string,
  ) {}

  async serve(definition: object = {}) {
    const { stack, name } = this;
    await stack.call('POST', '/v1/jobs', { ...WEB, name, image: 'hello-web:1', ...definition });
    expect((await settled(stack, name, 1)).status).toBe('active');
    // Docker must have been told to keep it up: what ends before that is replaced.
    await until(async () => {
      const [policy] = await this.#orders('restart-policy');
      return policy?.status === 200;
    });
    const { instance } = await this.job();
    // One that keeps exiting may be down for a moment.
    let web: Awaited<ReturnType<typeof this.ask>>;
    await until(async () => (web = await this.ask()) !== undefined);
    if (!instance || !web) throw new Error(`${name} does not serve`);
    return { stack, job: name, id: instance.id, web };
  }

  job(): Promise<Job> {
    return this.stack.call<Job>('GET', `/v1/jobs/${this.name}`);
  }

  deployment(number = 1): Promise<Deployment> {
    return this.stack.call<Deployment>('GET', `/v1/jobs/${this.name}/deployments/${number}`);
  }

  /** Undefined: it did not answer. */
  async ask(): Promise<Web | undefined> {
    const { endpoints } = await this.job();
    try {
      const response = await fetch(endpoints[0] ?? '', { signal: AbortSignal.timeout(2_000), headers: CLOSE });
      return (await response.json()) as Web;
    } catch {
      return undefined;
    }
  }

  /** Is degraded so, or was: on a busy machine the next step may come between two looks, and only its event is left. */
  async degraded(reason: string, message: RegExp): Promise<void> {
    let seen: unknown;
    await until(async () => {
      const [{ status }, deployment] = [await this.job(), await this.deployment()];
      const query = `job=${this.name}&type=job.degraded&order=newest`;
      const { items } = await this.stack.call<EventPage>('GET', `/v1/events?${query}`);
      seen = { status, deployment, items };
      const recorded = items.map(({ cause, data }) => ({ reason: cause['reason'], message: data['message'] }));
      const states = status === 'degraded' ? [deployment, ...recorded] : recorded;
      return states.some((state) => state.reason === reason && message.test(String(state.message)));
    }, PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`never degraded for ${reason}, last: ${JSON.stringify(seen)}`, { cause: error });
    });
  }

  /** Waits until another instance serves, and this one is terminated. */
  async moved(id: string): Promise<{ old: EndedAttempt; now: Deployment }> {
    const { stack } = this;
    await until(async () => {
      const { status, instance } = await this.job();
      return status === 'running' && instance !== null && instance.id !== id;
    }, PATIENCE_MS);
    expect(await this.ask()).toBeDefined();
    await until(() => stack.cloud.instance(id)?.state === 'terminated', 60_000);
    const [old] = await stack.query<EndedAttempt>(
      'SELECT a.reason, a.message FROM attempts a JOIN assignments s ON s.attempt_id = a.id WHERE s.instance_id = $1',
      [id],
    );
    if (!old) throw new Error(`${id} had no attempt`);
    return { old, now: await this.deployment() };
  }

  /** Waits until Docker keeps the container of this attempt up. */
  async served(attempt: number): Promise<{ instance: string }> {
    await until(async () => {
      const { status } = await this.job();
      const policies = await this.#orders('restart-policy', attempt);
      return status === 'running' && policies.at(-1)?.status === 200;
    }, PATIENCE_MS);
    return { instance: (await this.job()).instance?.id ?? '' };
  }

  /** The program of this attempt, which serves, ends until five exits have been told: more where the agent did not watch yet. */
  async keepsExiting(attempt: number): Promise<void> {
    const { instance } = await this.served(attempt);
    await until(async () => {
      const watches = await this.#orders('wait', attempt);
      if (watches.filter(({ status }) => status === 200).length >= 5) return true;
      if (watches.at(-1)?.isOpen) await this.stack.cloud.faults.failProgram(instance);
      return false;
    }, PATIENCE_MS);
  }

  /** The same instance serves, with the attempt it had. */
  async stays(id: string): Promise<void> {
    expect(await this.job()).toMatchObject({ status: 'running', instance: { id } });
    expect(await this.deployment()).toMatchObject({ status: 'active', attempt: 1 });
  }

  /** Waits until Docker gave no answer to the exit watch … */
  watchFailed(): Promise<void> {
    return until(async () => (await this.#orders('wait')).at(-1)?.status === 0);
  }

  /** … and until the agent has a new one. */
  watchOpen(): Promise<void> {
    return until(async () => (await this.#orders('wait')).at(-1)?.isOpen === true);
  }

  /** A new deployment takes its place, for which its agent must stop the container. */
  async replaceable(): Promise<void> {
    const { stack, name } = this;
    await stack.call('POST', `/v1/jobs/${name}/deployments`, { image: 'hello-web:2' });
    expect((await settled(stack, name, 2)).status).toBe('active');
    await until(async () => (await this.deployment(1)).status === 'superseded');
    const [stop] = await stack.query<{ status: number }>(
      `SELECT o.result_status AS status FROM orders o JOIN attempts a ON a.id = o.attempt_id JOIN jobs j ON j.id = a.job_id
       WHERE j.name = $1 AND o.purpose = 'stop' AND a.number = 1 ORDER BY o.created_at LIMIT 1`,
      [name],
    );
    expect(stop).toEqual({ status: 204 });
    expect((await this.deployment(1)).attempt).toBe(1);
  }

  #orders(purpose: string, attempt: number | null = null): Promise<{ status: number | null; isOpen: boolean }[]> {
    return this.stack.query(
      `SELECT o.result_status AS status, o.answered_at IS NULL AND o.taken_at IS NOT NULL AS "isOpen"
       FROM orders o JOIN attempts a ON a.id = o.attempt_id JOIN jobs j ON j.id = a.job_id
       WHERE j.name = $1 AND o.purpose = $2 AND a.number = coalesce($3, a.number) ORDER BY o.number`,
      [this.name, purpose, attempt],
    );
  }
}

const CLOSE = { connection: 'close' };
