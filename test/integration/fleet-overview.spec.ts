import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createRandom } from '../../local/cloud/random.ts';
import { FleetOverview } from '../../src/fleet/fleet-overview.ts';
import { ListInstances } from '../../src/fleet/fleet.schema.ts';
import { type Launched, insertAgent, insertLaunch } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const MINUTE_MS = 60_000;
const STATES = ['pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated', 'gone'] as const;

/** What the rows of one instance say. Ages in minutes. */
type Row = {
  readonly id: string;
  readonly state: (typeof STATES)[number];
  readonly launch: Launched | null;
  readonly job: { readonly name: string; readonly attemptId: string } | null;
  readonly phase: 'healthy' | 'ended';
  readonly endedAge: number;
  readonly assigned: boolean;
  readonly retiredAge: number | null;
  readonly quarantined: boolean;
  readonly isRegistered: boolean;
  readonly launchedAge: number;
  readonly isTerminated: boolean;
};

describe('the overview of the fleet', () => {
  const random = createRandom(12);
  const chance = (share: number): boolean => random.fraction() < share;
  const rows: Row[] = [];
  let test: TestDatabase;
  let overview: FleetOverview;
  let launches: (Launched & { readonly age: number; readonly status: string })[];
  let waiting = 0;

  beforeAll(async () => {
    test = await createTestDatabase();
    overview = new FleetOverview(test.database, 'test');
    launches = await Promise.all(
      Array.from({ length: 12 }, async (_, at) => {
        const status = (['planned', 'unknown', 'done', 'failed'] as const)[at % 4]!;
        return { ...(await insertLaunch(test.database, { status })), age: at < 6 ? 8 : 12, status };
      }),
    );
    for (const { launchId, age } of launches)
      await test.database.query(
        `UPDATE launches SET created_at = clock_timestamp() - make_interval(mins => $2) WHERE id = $1`,
        [launchId, age],
      );
    for (let n = 0; n < 250; n += 1) await insertRow();
    for (const { id, job } of rows)
      if (job)
        await test.database.query(`UPDATE jobs SET name = $2 WHERE name = $1`, [`job-${id.slice(-12)}`, job.name]);
  }, 60_000);
  afterAll(() => test.close());

  async function insertRow(): Promise<void> {
    const hasJob = chance(0.6);
    const agent = hasJob ? await insertAgent(test.database) : null;
    const id = agent?.instanceId ?? `i-0${random.hex(16)}`;
    const row: Row = {
      id,
      state: STATES[random.between(0, STATES.length - 1)]!,
      launch: chance(0.8) ? launches[random.between(0, launches.length - 1)]! : null,
      job: agent && { name: `${chance(0.5) ? 'team-a' : 'team-b'}-${id.slice(-12)}`, attemptId: agent.attemptId },
      phase: chance(0.5) ? 'healthy' : 'ended',
      endedAge: chance(0.5) ? 4 : 6,
      assigned: hasJob,
      retiredAge: chance(0.3) ? (chance(0.5) ? 9 : 11) : null,
      quarantined: !hasJob && chance(0.3),
      isRegistered: hasJob || chance(0.5),
      launchedAge: chance(0.5) ? 14 : 16,
      isTerminated: chance(0.3),
    };
    rows.push(row);
    if (!agent) await test.database.query('INSERT INTO instances (id) VALUES ($1)', [id]);
    await test.database.query(
      `UPDATE instances SET state = $2, launch_id = $3, assigned = $4, quarantined = $6,
         retire_reason = CASE WHEN $5::int IS NOT NULL THEN 'idle-surplus' END,
         retired_at = clock_timestamp() - make_interval(mins => $5),
         registered_at = CASE WHEN $7 THEN clock_timestamp() END,
         launched_at = clock_timestamp() - make_interval(mins => $8),
         terminated_at = CASE WHEN $9 THEN clock_timestamp() END
       WHERE id = $1`,
      [
        id,
        row.state,
        row.launch?.launchId ?? null,
        row.assigned,
        row.retiredAge,
        row.quarantined,
        row.isRegistered,
        row.launchedAge,
        row.isTerminated,
      ],
    );
    if (!agent) return;
    await test.database.query(
      `UPDATE attempts SET phase = $2, ended_at = CASE WHEN $2 = 'ended' THEN clock_timestamp() - make_interval(mins => $3) END
       WHERE id = $1`,
      [agent.attemptId, row.phase, row.endedAge],
    );
    if (!chance(0.2)) return;
    waiting += 1;
    await test.database.query(
      `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority)
       SELECT $2, job_id, deployment_id, 2, shape_key, 2 FROM attempts WHERE id = $1`,
      [agent.attemptId, randomUUID()],
    );
  }

  it('counts each instance where it belongs, and what is left over', async () => {
    const living = rows.filter(({ isTerminated }) => !isTerminated);
    const count = (isIt: (row: Row) => boolean, among = living): number => among.filter(isIt).length;
    const isKept = ({ quarantined, retiredAge }: Row): boolean => !quarantined && retiredAge === null;
    const isLeftOver = (row: Row): boolean =>
      (row.retiredAge !== null && row.retiredAge > 10) ||
      (isKept(row) &&
        ((row.job !== null && row.phase === 'ended' && row.endedAge > 5) ||
          (!row.assigned && !row.isRegistered && row.launchedAge > 15)));
    const ageOf = ({ launch }: Row): number =>
      launches.find(({ launchId }) => launchId === launch?.launchId)?.age ?? Infinity;
    await test.database.query(
      `INSERT INTO owner (cluster, holder, epoch, expires_at, budgets)
       VALUES ('test', 'a', 3, clock_timestamp() + interval '1 minute', '{"RunInstances": {}}'), ('other', 'b', 4, clock_timestamp() + interval '1 minute', '{}')`,
    );
    const { owner, ...rest } = await overview.overview();
    expect(rest).toEqual({
      instances: {
        pending: count((row) => isKept(row) && !row.assigned && !row.isRegistered),
        registered: count((row) => isKept(row) && !row.assigned && row.isRegistered),
        assigned: count((row) => isKept(row) && row.assigned),
        retiring: count(({ retiredAge }) => retiredAge !== null),
        quarantined: count(({ quarantined, retiredAge }) => quarantined && retiredAge === null),
        orphaned: count(isLeftOver),
      },
      lost: count((row) => ageOf(row) < 10 && !row.isRegistered && (row.isTerminated || row.retiredAge !== null), rows),
      demand: waiting,
      launches: {
        planned: launches.filter(({ status }) => status === 'planned').length,
        unknown: launches.filter(({ status }) => status === 'unknown').length,
      },
      budgets: { RunInstances: {} },
    });
    expect(owner).toMatchObject({ holder: 'a', epoch: 3 });
    expect(Date.parse(owner?.expiresAt ?? '')).toBeGreaterThan(Date.now());
    await test.database.query(
      `UPDATE owner SET expires_at = clock_timestamp() - interval '1 second' WHERE cluster = 'test'`,
    );
    expect(await overview.overview()).toEqual({ ...rest, budgets: {}, owner: null });
  });

  it.each([
    [undefined, null],
    ['running', null],
    ['terminated', ['team-a-']],
    [undefined, ['team-a-', 'team-b-1']],
    [undefined, ['nobody-']],
  ] as const)('lists each instance once, page by page (state %s, scope %j)', async (state, scope) => {
    const wanted = rows
      .filter((row) => state === undefined || row.state === state)
      .filter(({ job }) => scope === null || scope.some((prefix) => job?.name.startsWith(prefix)))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const seen = [];
    let cursor: string | null | undefined;
    do {
      const query = ListInstances.parse({ limit: '40', ...(state && { state }), ...(cursor && { cursor }) });
      const page = await overview.list(query, scope);
      expect(page.items.length).toBeLessThanOrEqual(40);
      seen.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen.map(({ id, job, quarantined, state: of }) => ({ id, job, quarantined, of }))).toEqual(
      wanted.map(({ id, job, quarantined, state: of }) => ({ id, job: job?.name ?? null, quarantined, of })),
    );
    for (const one of seen) {
      const row = rows.find(({ id }) => id === one.id)!;
      expect([one.launchId, one.retireReason !== null]).toEqual([
        row.launch?.launchId ?? null,
        row.retiredAge !== null,
      ]);
      expect([one.registeredAt !== null, one.terminatedAt !== null]).toEqual([row.isRegistered, row.isTerminated]);
      expect(Math.round((Date.now() - Date.parse(one.launchedAt)) / MINUTE_MS)).toBe(row.launchedAge);
    }
    const [first] = seen;
    if (first) expect(await overview.find(first.id)).toEqual(first);
  });
});
