import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Queryable } from '../../src/database/database.ts';
import { applyFleetPlans } from '../../src/fleet/apply-fleet-plans.ts';
import { claimShapes, loadShapes } from '../../src/fleet/load-shapes.ts';
import type { FleetPlan } from '../../src/fleet/plan/plan-fleet.ts';
import { applyJobPlans } from '../../src/scheduler/apply-job-plans.ts';
import { claimJobs } from '../../src/scheduler/load-jobs.ts';
import type { JobPlan } from '../../src/scheduler/plan/plan-facts.ts';
import { histories, play } from '../histories/events.ts';
import {
  freezeClock,
  insertTables,
  keyOf,
  launchRowOf,
  makeClock,
  plainFleetFacts,
  plainJobFacts,
  plainTables,
  readTables,
  type Tables,
  tablesOfJob,
  tablesOfShape,
  translateFleetFacts,
  translateFleetPlan,
  translateJobFacts,
  translateJobPlan,
  uuidOf,
} from '../histories/in-postgres.ts';
import { DOMAIN, HOST_RULES, LATE_CALLER_SECONDS } from '../histories/rows.ts';
import { World } from '../histories/world.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const HISTORIES = 500;
const SEED = Number(process.env['SEED'] ?? 1);
/** Of each kind in one history, of those that write something. */
const MOST_PASSES = 6;
/** Of the scheduler, which has more of them, each second one is taken. */
const ONE_IN = { scheduler: 2, fleet: 1 };

/** One pass of the model: when, what it read and left, and how Postgres repeats it. */
type Pass = {
  readonly now: Date;
  readonly before: Tables;
  readonly facts: unknown;
  readonly after: Tables;
  /** @returns what SQL read */
  readonly repeat: (transaction: Queryable) => Promise<unknown>;
};

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
  await makeClock(test.database);
});
afterAll(() => test.close());

// The histories prove the planners on a model of the tables: they prove nothing if SQL reads or writes something else.
it.each([
  ['scheduler', jobPassesOf],
  ['fleet', fleetPassesOf],
] as const)(
  `in passes of the %s SQL loads and writes what the model of the tables does, in ${HISTORIES} histories`,
  async (_, passesOf) => {
    let compared = 0;
    for (const [index, history] of fc.sample(histories, { numRuns: HISTORIES, seed: SEED }).entries()) {
      for (const { now, before, facts, after, repeat } of passesOf(history, index)) {
        compared += 1;
        const { read, written } = await takenBack(async (transaction) => {
          await freezeClock(transaction, now);
          await insertTables(transaction, before);
          return { read: await repeat(transaction), written: await readTables(transaction) };
        });
        expect(read).toEqual(facts);
        expect(written).toEqual(plainTables(after));
      }
    }
    expect(compared).toBeGreaterThan(HISTORIES);
  },
  600_000,
);

type History = Parameters<typeof play>[1][];

function jobPassesOf(history: History, offset: number): Pass[] {
  const world = new World();
  const { rows } = world;
  const taken: Pass[] = [];
  const isTaken = takeSome(taken, ONE_IN.scheduler, offset);
  const apply = rows.applyJobPlan.bind(rows);
  rows.applyJobPlan = (job, plan, now) => {
    const { deployments, attempts, newAttempts, orders } = plan;
    if (!isTaken(deployments.length + attempts.length + newAttempts.length + orders.length > 0)) {
      apply(job, plan, now);
      return;
    }
    const before = tablesOfJob(rows, job);
    const facts = plainJobFacts(translateJobFacts(rows.jobFacts(job)));
    apply(job, plan, now);
    const repeat = (transaction: Queryable): Promise<unknown> => repeatJobPass(transaction, job.id, plan);
    taken.push({ now, before, facts, after: tablesOfJob(rows, job), repeat });
  };
  for (const event of history) play(world, event);
  return taken;
}

async function repeatJobPass(transaction: Queryable, jobId: string, plan: JobPlan): Promise<unknown> {
  const place = { domain: DOMAIN, hostRules: HOST_RULES };
  const premises = { cluster: 'ours', ...place, lateCallerSeconds: LATE_CALLER_SECONDS };
  const { jobs } = await claimJobs(transaction, premises, 1, { among: [uuidOf(jobId)] });
  const [job] = jobs;
  if (!job) throw new Error('the job was not claimed');
  await applyJobPlans(transaction, [{ job, plan: translateJobPlan(plan) }]);
  return plainJobFacts(job);
}

function fleetPassesOf(history: History, offset: number): Pass[] {
  const world = new World();
  const { rows, fleet } = world;
  const taken: Pass[] = [];
  const isTaken = takeSome(taken, ONE_IN.fleet, offset);
  const apply = fleet['apply'].bind(fleet);
  fleet['apply'] = (shape, plan, claimedUntil) => {
    const { assignments, retirements, launch, isVerdictNews } = plan;
    const { now } = world;
    if (!isTaken(assignments.length + retirements.length > 0 || launch !== null || isVerdictNews)) {
      apply(shape, plan, claimedUntil);
      return;
    }
    const before = tablesOfShape(rows, shape);
    const facts = plainFleetFacts(translateFleetFacts(fleet.factsOf(shape)));
    const key = shape.key;
    const nextPassAt = shape.nextPassAt?.getTime() === claimedUntil.getTime() ? null : shape.nextPassAt;
    apply(shape, plan, claimedUntil);
    const repeat = (transaction: Queryable): Promise<unknown> => repeatFleetPass(transaction, key, plan, nextPassAt);
    taken.push({ now, before, facts, after: tablesOfShape(rows, shape), repeat });
  };
  for (const event of history) play(world, event);
  return taken;
}

/** @param nextPassAt of the shape where something woke it between claim and plan */
async function repeatFleetPass(
  transaction: Queryable,
  modelKey: string,
  plan: FleetPlan,
  nextPassAt: Date | null,
): Promise<unknown> {
  await transaction.query('UPDATE shapes SET next_pass_at = clock_timestamp()');
  const [shape] = await claimShapes(transaction);
  const facts = shape && (await loadShapes(transaction, [shape])).get(keyOf(modelKey));
  if (!facts) throw new Error('the shape was not claimed');
  if (nextPassAt) await transaction.query('UPDATE shapes SET next_pass_at = $1', [nextPassAt]);
  await applyFleetPlans(transaction, [{ shape, plan: translateFleetPlan(plan), launch: launchRowOf(plan, modelKey) }]);
  return plainFleetFacts(facts);
}

function takeSome(taken: readonly Pass[], oneIn: number, offset: number): (isOfInterest: boolean) => boolean {
  let seen = offset;
  return (isOfInterest) => isOfInterest && ++seen % oneIn === 0 && taken.length < MOST_PASSES;
}

async function takenBack<T>(work: (transaction: Queryable) => Promise<T>): Promise<T> {
  const undo = new Error('taken back');
  const results: T[] = [];
  await test.database
    .transaction(async (transaction) => {
      results.push(await work(transaction));
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  return results[0] as T;
}
