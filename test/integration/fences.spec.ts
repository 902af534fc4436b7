import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Queryable } from '../../src/database/database.ts';
import { applyFleetPlans } from '../../src/fleet/apply-fleet-plans.ts';
import { claimShapes, type ShapeRow } from '../../src/fleet/load-shapes.ts';
import type { FleetPlan } from '../../src/fleet/plan/plan-fleet.ts';
import { NO_HOSTS } from '../../src/jobs/route-rules.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { shapeKeyOf } from '../../src/deployments/shape-key.ts';
import { shapeSpecOf } from '../../src/deployments/shape-spec.ts';
import { applyJobPlans } from '../../src/scheduler/apply-job-plans.ts';
import { JobPass } from '../../src/scheduler/job-pass.ts';
import { claimJobs } from '../../src/scheduler/load-jobs.ts';
import { planJob } from '../../src/scheduler/plan/plan-job.ts';
import { Retention } from '../../src/retention/retention.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';
import { isBlockedOnLock } from '../support/blocked-on-lock.ts';

const PREMISES = { cluster: 'test', domain: null, hostRules: NO_HOSTS, lateCallerSeconds: 33 };

// What a pass has loaded may be old by the time it writes. Here the world changes in between, and the write must see it.
describe('between the look and the write', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());
  afterEach(async () => {
    await test.database.query('TRUNCATE jobs, instances, launches, shapes CASCADE');
  });

  describe('a job', () => {
    it('that a pass has claimed is not changed by anybody else until the pass is through', async () => {
      const { jobId } = await insertWaiting();
      let isCancelled = false;
      let cancel: Promise<unknown> | undefined;
      await test.database.transaction(async (transaction) => {
        expect((await claimJobs(transaction, PREMISES, 10)).jobs).toHaveLength(1);
        // As every request begins: with the job's row.
        cancel = test.database
          .query('UPDATE jobs SET next_pass_at = clock_timestamp() WHERE id = $1', [jobId])
          .then(() => (isCancelled = true));
        await until(async () => isCancelled || (await isBlockedOnLock(test.database)));
        expect(isCancelled).toBe(false);
      });
      await cancel;
    });

    it('that somebody else holds is left to the next pass', async () => {
      const { jobId } = await insertWaiting();
      const pass = new JobPass(test.database, test.signals, PREMISES, {
        onPlanError: (_, error) => {
          throw error;
        },
      });
      let jobs: number | undefined;
      let running: Promise<unknown> | undefined;
      await test.database.transaction(async (transaction) => {
        await transaction.query('SELECT 1 FROM jobs WHERE id = $1 FOR NO KEY UPDATE', [jobId]);
        running = pass.run().then((result) => (jobs = result.jobs));
        await until(async () => jobs !== undefined || (await isBlockedOnLock(test.database)));
        expect(jobs).toBe(0);
      });
      await running;
      expect((await pass.run()).jobs).toBe(1);
    });
  });

  describe('an assignment', () => {
    it('is written for an attempt in line and a ready instance', async () => {
      const { attemptId, jobId } = await insertWaiting();
      await insertInstance('i-1');
      expect(await apply({ assignments: [assignment(attemptId, jobId, 'i-1')] })).toEqual([
        { attemptId, instanceId: 'i-1' },
      ]);
    });

    it.each([
      ['the instance was retired', `UPDATE instances SET retire_reason = 'operator'`],
      ['the instance was terminated', `UPDATE instances SET terminated_at = clock_timestamp()`],
      ['the instance is shutting down', `UPDATE instances SET state = 'shutting-down'`],
      ['the instance was put in quarantine', `UPDATE instances SET quarantined = true`],
      ['the instance was given to another', `UPDATE instances SET assigned = true`],
      ['the attempt ended', `UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp()`],
    ])('is left out when %s', async (_, change) => {
      const { attemptId, jobId } = await insertWaiting();
      await insertInstance('i-1');
      await test.database.query(change);
      expect(await apply({ assignments: [assignment(attemptId, jobId, 'i-1')] })).toEqual([]);
      expect(await test.database.query('SELECT 1 FROM assignments')).toEqual([]);
    });

    it('is left out when another pass, after the claim of this one ran out, gave the attempt an instance', async () => {
      const { attemptId, jobId } = await insertWaiting();
      await insertInstance('i-1');
      await insertInstance('i-2');
      await apply({ assignments: [assignment(attemptId, jobId, 'i-1')] });
      expect(await apply({ assignments: [assignment(attemptId, jobId, 'i-2')] })).toEqual([]);
      expect(await test.database.query('SELECT instance_id FROM assignments')).toEqual([{ instance_id: 'i-1' }]);
      expect(await test.database.query('SELECT id FROM instances WHERE assigned')).toEqual([{ id: 'i-1' }]);
    });
  });

  describe('a retirement', () => {
    const isRetired = async () =>
      (await test.database.query('SELECT 1 FROM instances WHERE retire_reason IS NOT NULL')).length === 1;

    it.each(['idle-surplus', 'idle-silent'] as const)('by %s spares what was assigned meanwhile', async (reason) => {
      await insertInstance('i-1');
      await insertInstance('i-2');
      await test.database.query(`UPDATE instances SET assigned = true WHERE id = 'i-1'`);
      const retirements = ['i-1', 'i-2'].map((instanceId) => ({ instanceId, reason }));
      await apply({ retirements });
      expect(await test.database.query('SELECT id FROM instances WHERE retire_reason IS NOT NULL')).toEqual([
        { id: 'i-2' },
      ]);
    });

    it('by never-registered spares what registered meanwhile', async () => {
      await insertInstance('i-1');
      await apply({ retirements: [{ instanceId: 'i-1', reason: 'never-registered' }] });
      expect(await isRetired()).toBe(false);
    });
  });

  it('a wake-up of a shape is kept, however late its plan wants to look again', async () => {
    await insertWaiting();
    await test.database.transaction(async (transaction) => {
      const [shape] = await claimShapes(transaction);
      await transaction.query('UPDATE shapes SET next_pass_at = LEAST(next_pass_at, clock_timestamp())');
      await write(transaction, shape!, { recheckAt: new Date(Date.now() + 3_600_000) });
    });
    expect(await test.database.query('SELECT 1 FROM shapes WHERE next_pass_at <= clock_timestamp()')).toHaveLength(1);
  });

  it('a shape that is deleted as unused while an attempt of it is being written is there, and due', async () => {
    const jobId = randomUUID();
    const definition = JobDefinition.parse({});
    await test.database.query(
      `INSERT INTO jobs (id, name, kind, definition, next_pass_at) VALUES ($1, 'web', 'service', $2, clock_timestamp())`,
      [jobId, definition],
    );
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, deadline_at)
       VALUES ($1, $2, 1, 'web:1', $3, 'api', clock_timestamp() + interval '15 min')`,
      [randomUUID(), jobId, definition],
    );
    const spec = shapeSpecOf(definition, null);
    await test.database.query('INSERT INTO shapes (key, spec) VALUES ($1, $2)', [
      shapeKeyOf(spec),
      JSON.stringify(spec),
    ]);
    let deleted: number | undefined;
    await test.database.transaction(async (transaction) => {
      const { now, jobs } = await claimJobs(transaction, PREMISES, 10);
      const meddled: Queryable = {
        query: (sql, values) => transaction.query(sql, values),
        run: async (statement, values) => {
          if (statement.name === 'insert-attempts') deleted = (await new Retention(test.database, 30).run()).shapes;
          return transaction.run(statement, values);
        },
      };
      await applyJobPlans(
        meddled,
        jobs.map((job) => ({ job, plan: planJob(job, now, now) })),
      );
    });
    expect(deleted).toBe(1);
    const due = await test.database.query(
      'SELECT 1 FROM shapes s JOIN attempts a ON a.shape_key = s.key WHERE s.next_pass_at <= clock_timestamp()',
    );
    expect(due).toHaveLength(1);
  });

  async function apply(plan: Partial<FleetPlan>): Promise<readonly { attemptId: string; instanceId: string }[]> {
    return test.database.transaction(async (transaction) => {
      const [shape] = await transaction.query<ShapeRow>(
        `SELECT key, spec, capacity, warm, next_pass_at::text AS "claimedUntil", 0 AS "lagMs" FROM shapes`,
      );
      return (await write(transaction, shape ?? NO_SHAPE, plan)).assigned;
    });
  }

  function write(
    transaction: Queryable,
    shape: ShapeRow,
    plan: Partial<FleetPlan>,
  ): ReturnType<typeof applyFleetPlans> {
    return applyFleetPlans(transaction, [{ shape, plan: { ...NO_PLAN, ...plan }, launch: null }]);
  }

  /** A job with one deployment and one attempt in line; the job and its shape are due. */
  async function insertWaiting(): Promise<{ jobId: string; attemptId: string }> {
    const [jobId, deploymentId, attemptId] = [randomUUID(), randomUUID(), randomUUID()];
    const definition = JobDefinition.parse({});
    await test.database.query(`INSERT INTO shapes (key, spec, next_pass_at) VALUES ('s', '{}', clock_timestamp())`);
    await test.database.query(
      `INSERT INTO jobs (id, name, kind, definition, next_pass_at) VALUES ($1, 'web', 'service', $2, clock_timestamp())`,
      [jobId, definition],
    );
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, status, deadline_at)
       VALUES ($1, $2, 1, 'web:1', $3, 'api', 'deploying', clock_timestamp() + interval '15 min')`,
      [deploymentId, jobId, definition],
    );
    await test.database.query(
      `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority) VALUES ($1, $2, $3, 1, 's', 2)`,
      [attemptId, jobId, deploymentId],
    );
    return { jobId, attemptId };
  }

  async function insertInstance(id: string): Promise<void> {
    await test.database.query(
      `INSERT INTO instances (id, state, registered_at, last_seen_at)
       VALUES ($1, 'running', clock_timestamp(), clock_timestamp())`,
      [id],
    );
  }
});

function assignment(attemptId: string, jobId: string, instanceId: string): FleetPlan['assignments'][number] {
  return { attemptId, jobId, instanceId, reason: 'first-in-line' };
}

const NO_PLAN: FleetPlan = {
  assignments: [],
  launch: null,
  retirements: [],
  quarantines: [],
  verdict: null,
  isVerdictNews: false,
  capacity: {},
  recheckAt: null,
};
const NO_SHAPE = {
  key: 'none',
  spec: {},
  capacity: {},
  warm: 0,
  verdict: null,
  claimedUntil: 'infinity',
  lagMs: 0,
} as unknown as ShapeRow;
