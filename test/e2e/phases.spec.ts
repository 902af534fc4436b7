import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, type Deployment, type Job, remove, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

// Every request in every status and phase. All cells run at once on one stack, each with a job and an instance type (and
// so a shape) of its own: nobody gets another one's instance, and capacity can be taken away from one alone.

const PHASES: Record<string, (cell: Cell) => Promise<void>> = {
  waiting: async (cell) => {
    await cell.create();
    await cell.is(1, { status: 'deploying', phase: 'waiting' });
  },
  'waiting for capacity': async (cell) => {
    cell.stack.cloud.faults.setCapacity({ type: cell.type }, 0);
    await cell.create();
    await cell.is(1, { phase: 'waiting', reason: 'waiting-for-capacity' });
  },
  assigned: async (cell) => {
    cell.holdOrders();
    await cell.create();
    await cell.is(1, { phase: 'assigned' });
  },
  pulling: async (cell) => {
    await cell.create({ image: 'sim/slow:30' });
    await cell.is(1, { phase: 'pulling' });
  },
  starting: async (cell) => {
    await cell.create({ image: 'sim/unhealthy:1', health: { ...WEB.health, startPeriodSeconds: 600 } });
    await cell.is(1, { phase: 'starting' });
  },
  'healthy, not yet stable': async (cell) => {
    await cell.create({ rollout: { ...WEB.rollout, stableSeconds: 30 } });
    await cell.is(1, { status: 'deploying', phase: 'healthy' });
  },
  active: async (cell) => {
    await cell.create();
    await cell.is(1, { status: 'active' });
  },
  'draining for its successor': async (cell) => {
    await replaced(cell, DRAIN_SECONDS);
    await cell.is(1, { status: 'draining', phase: 'healthy' });
  },
  'stopping for its successor': async (cell) => {
    await cell.create();
    await cell.is(1, { status: 'active' });
    await cell.freeze();
    await cell.deploy({ rollout: { drainSeconds: 0 } });
    await cell.is(1, { status: 'draining', phase: 'stopping' });
  },
  'stopping for a stop': async (cell) => {
    await cell.create();
    await cell.is(1, { status: 'active' });
    await cell.freeze();
    expect(await cell.request('POST', '/stop')).toBe('202');
    await cell.is(1, { status: 'draining', phase: 'stopping' });
  },
  'degraded, without an instance': async (cell) => {
    await cell.create();
    await cell.is(1, { status: 'active' });
    cell.stack.cloud.faults.setCapacity({ type: cell.type }, 0);
    cell.stack.cloud.faults.kill((await cell.job()).instance?.id ?? '');
    await cell.is(1, { status: 'active', attempt: 2, phase: 'waiting' });
    await until(async () => (await cell.job()).status === 'degraded');
  },
};

type End = {
  /** Status, and the problem's code where it is refused. */
  answer: string;
  /** null: gone. */
  job: string | null;
  /** Statuses by number. */
  deployments?: string[];
};

const GONE: End = { answer: '202', job: null };

/** Never active so far. */
const CANDIDATE = {
  cancel: { answer: '202', job: 'idle', deployments: ['cancelled'] },
  delete: GONE,
  stop: { answer: '202', job: 'stopped', deployments: ['cancelled'] },
  deploy: { answer: '202', job: 'running', deployments: ['cancelled', 'active'] },
  restart: { answer: '409 nothing-to-start', job: 'deploying', deployments: ['deploying'] },
  rollback: { answer: '409 cannot-roll-back', job: 'deploying', deployments: ['deploying'] },
} satisfies Record<string, End>;

const ACTIVE = {
  cancel: { answer: '409 deployment-active', job: 'running', deployments: ['active'] },
  delete: GONE,
  stop: { answer: '202', job: 'stopped', deployments: ['stopped'] },
  deploy: { answer: '202', job: 'running', deployments: ['superseded', 'active'] },
  restart: { answer: '202', job: 'running', deployments: ['superseded', 'active'] },
  rollback: { answer: '409 cannot-roll-back', job: 'running', deployments: ['active'] },
} satisfies Record<string, End>;

/** The second of two is active, the first on its way out. */
const LEAVING = {
  cancel: { answer: '409 deployment-draining', job: 'running', deployments: ['superseded', 'active'] },
  delete: GONE,
  stop: { answer: '202', job: 'stopped', deployments: ['superseded', 'stopped'] },
  deploy: { answer: '202', job: 'running', deployments: ['superseded', 'superseded', 'active'] },
  restart: { answer: '202', job: 'running', deployments: ['superseded', 'superseded', 'active'] },
  rollback: { answer: '202', job: 'running', deployments: ['superseded', 'superseded', 'active'] },
} satisfies Record<string, End>;

const ENDS: Record<string, Record<Request, End>> = {
  waiting: { ...CANDIDATE, ...goesOn('running', ['active']) },
  'waiting for capacity': CANDIDATE,
  assigned: { ...CANDIDATE, ...goesOn('running', ['active']) },
  pulling: CANDIDATE,
  starting: CANDIDATE,
  'healthy, not yet stable': CANDIDATE,
  active: ACTIVE,
  'draining for its successor': LEAVING,
  'stopping for its successor': LEAVING,
  'stopping for a stop': {
    ...ACTIVE,
    cancel: { answer: '409 deployment-draining', job: 'stopped', deployments: ['stopped'] },
    deploy: { answer: '202', job: 'running', deployments: ['stopped', 'active'] },
    restart: { answer: '202', job: 'running', deployments: ['stopped', 'active'] },
    rollback: { answer: '409 cannot-roll-back', job: 'stopped', deployments: ['stopped'] },
  },
  'degraded, without an instance': {
    ...ACTIVE,
    cancel: { ...ACTIVE.cancel, job: 'degraded' },
    // EC2 has nothing for a copy, either: both wait.
    restart: { answer: '202', job: 'degraded', deployments: ['active', 'deploying'] },
    rollback: { ...ACTIVE.rollback, job: 'degraded' },
  },
};

const REQUESTS = {
  cancel: (cell: Cell) => cell.request('POST', '/deployments/1/cancel'),
  delete: (cell: Cell) => cell.request('DELETE', ''),
  stop: (cell: Cell) => cell.request('POST', '/stop'),
  deploy: (cell: Cell) => cell.deploy(),
  restart: (cell: Cell) => cell.request('POST', '/restart'),
  rollback: (cell: Cell) => cell.request('POST', '/rollback', {}),
};
type Request = keyof typeof REQUESTS;

/** Time enough to be seen draining; the last cells end when it is over twice. */
const DRAIN_SECONDS = 15;
/** EC2 has many, and every one makes a shape of its own. */
const TYPES = ['c', 'm', 'r'].flatMap((kind) =>
  ['5', '5a', '5d', '6a', '6i', '7a', '7i'].flatMap((family) =>
    ['large', 'xlarge', '2xlarge', '4xlarge'].map((size) => `${kind}${family}.${size}`),
  ),
);
const CELLS = Object.keys(PHASES).flatMap((phase) =>
  (Object.keys(REQUESTS) as Request[]).map((request) => ({ phase, request })),
);

describe('what is asked of a job at any moment', () => {
  let stack: Stack;
  const holds = new Map<string, Promise<undefined>>();
  const running: Promise<void>[] = [];

  beforeAll(async () => {
    const typeOf = (id: string): string => stack.cloud.instance(id)?.spec.instanceType ?? '';
    const runtime = createSimulatedRuntime({
      beforeOrder: (id) => holds.get(typeOf(id)) ?? Promise.resolve(undefined),
    });
    stack = await startStack({
      runtime,
      // Long enough to be met while it boots.
      cloud: { quotas: 'none', bootMs: 2_000 },
      // Not about budgets: each cell has launches of its own, and would wait for those of the others.
      env: { EC2_QUOTA_SHARE: '1', MAX_LAUNCHES_PER_MINUTE: '10000' },
    });
    CELLS.forEach(({ phase, request }, index) => {
      const outcome = play(new Cell(stack, index, holds), phase, request);
      outcome.catch(() => undefined);
      running.push(outcome);
    });
  }, 60_000);
  afterAll(() => stack.stop(), 60_000);

  it.each(CELLS.map((cell, index) => ({ ...cell, index })))(
    '$phase: $request',
    async ({ index }) => running[index],
    150_000,
  );

  it('leaves no instance behind', async () => {
    await Promise.allSettled(running);
    await Promise.all(CELLS.map((_, index) => remove(stack, `cell-${index}`)));
    expect(alive(stack)).toEqual([]);
    const [left] = await stack.query<{ count: number }>(
      'SELECT count(*)::int AS count FROM instances WHERE terminated_at IS NULL',
    );
    expect(left).toEqual({ count: 0 });
  }, 120_000);
});

async function play(cell: Cell, phase: string, request: Request): Promise<void> {
  const end = ENDS[phase]?.[request];
  if (!end) throw new Error(`what becomes of ${phase}: ${request}?`);
  await PHASES[phase]?.(cell);
  expect(await REQUESTS[request](cell)).toBe(end.answer);
  await cell.letGo();
  await cell.endsAs(end);
}

async function replaced(cell: Cell, drainSeconds: number): Promise<void> {
  await cell.create();
  await cell.is(1, { status: 'active' });
  await cell.deploy({ rollout: { drainSeconds } });
}

/** A request that is refused changes nothing: what was under way goes on. */
function goesOn(job: string, deployments: string[]): Pick<Record<Request, End>, 'restart' | 'rollback'> {
  return {
    restart: { ...CANDIDATE.restart, job, deployments },
    rollback: { ...CANDIDATE.rollback, job, deployments },
  };
}

/** One request to one job in one phase. */
class Cell {
  readonly type: string;
  readonly #name: string;
  #release: (() => void) | undefined;
  #frozen: string | undefined;

  constructor(
    readonly stack: Stack,
    index: number,
    private readonly holds: Map<string, Promise<undefined>>,
  ) {
    this.type = TYPES[index] ?? '';
    this.#name = `cell-${index}`;
  }

  async create(definition: object = {}): Promise<void> {
    const { type } = this;
    const body = { name: this.#name, image: 'hello-web:1', ...WEB, rollout: ROLLOUT, ...definition };
    await this.stack.call('POST', '/v1/jobs', { ...body, instance: { types: [type] } });
  }

  /** On another type, which is to be had. */
  deploy(overrides: object = {}): Promise<string> {
    const good = { health: WEB.health, rollout: ROLLOUT, instance: { types: ['t3.small'] } };
    return this.request('POST', '/deployments', { image: 'hello-web:2', ...good, ...overrides });
  }

  job(): Promise<Job> {
    return this.stack.call<Job>('GET', this.#path(''));
  }

  /** `202`, or `409 deployment-active`. */
  async request(method: string, path: string, body?: object): Promise<string> {
    const { status, problem } = await this.stack.answer(method, this.#path(path), body);
    return problem === undefined ? String(status) : `${status} ${problem}`;
  }

  async is(number: number, expected: Partial<Deployment>): Promise<void> {
    let last: Deployment | undefined;
    await until(async () => {
      last = await this.#deployment(number);
      return Object.entries(expected).every(([key, value]) => last?.[key as keyof Deployment] === value);
    }, 90_000).catch((error: unknown) => {
      throw new Error(`never ${JSON.stringify(expected)}, last ${JSON.stringify(last)}`, { cause: error });
    });
  }

  /** The agent takes no order. */
  holdOrders(): void {
    const hold = Promise.withResolvers<undefined>();
    this.#release = () => hold.resolve(undefined);
    this.holds.set(this.type, hold.promise);
  }

  /** The instance that serves stands still: an order to stop finds nobody. */
  async freeze(): Promise<void> {
    this.#frozen = (await this.job()).instance?.id;
    await this.stack.cloud.faults.freeze(this.#frozen ?? '');
  }

  async letGo(): Promise<void> {
    this.#release?.();
    this.holds.delete(this.type);
    const isRunning = this.stack.cloud.instance(this.#frozen ?? '')?.state === 'running';
    if (this.#frozen !== undefined && isRunning) await this.stack.cloud.faults.thaw(this.#frozen);
  }

  async endsAs({ job, deployments = [] }: End): Promise<void> {
    let last: (string | null)[] = [];
    await until(async () => {
      last = await this.#state();
      return JSON.stringify(last) === JSON.stringify([job, ...deployments]);
    }, 90_000).catch((error: unknown) => {
      throw new Error(`did not end as ${job}, ${deployments.join()}: ${JSON.stringify(last)}`, { cause: error });
    });
    // One instance for what runs, none for what does not; a candidate may have none yet.
    const expected = job === 'running' ? 1 : 0;
    if (job !== 'deploying' && job !== 'degraded') await until(async () => (await this.#instances()) === expected);
  }

  /** Living ones by the cloud's own word; which of them are the job's only the database knows. */
  async #instances(): Promise<number> {
    const rows = await this.stack.query<{ id: string }>(
      `SELECT s.instance_id AS id FROM assignments s JOIN attempts a ON a.id = s.attempt_id JOIN jobs j ON j.id = a.job_id
       WHERE j.name = $1`,
      [this.#name],
    );
    const living = new Set(alive(this.stack));
    return rows.filter(({ id }) => living.has(id)).length;
  }

  /** Status of the job, then of its deployments by number; null: gone, also when it went just now. */
  async #state(): Promise<(string | null)[]> {
    const job = await this.stack.answer('GET', this.#path(''));
    const list = await this.stack.answer('GET', this.#path('/deployments'));
    if (job.status === 404 || list.status === 404) return [null];
    const { items } = list.body as { items: Deployment[] };
    return [(job.body as Job).status, ...items.map(({ status }) => status).toReversed()];
  }

  #deployment(number: number): Promise<Deployment> {
    return this.stack.call<Deployment>('GET', this.#path(`/deployments/${number}`));
  }

  #path(path: string): string {
    return `/v1/jobs/${this.#name}${path}`;
  }
}

const ROLLOUT = { ...WEB.rollout, drainSeconds: 0 };
