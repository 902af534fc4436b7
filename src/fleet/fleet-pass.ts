import { createHash, randomUUID } from 'node:crypto';
import type { CallBudget } from '../aws/call-budget.js';
import { CLUSTER_TAG, LAUNCH_TAG } from '../aws/ec2-types.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { launchSecretOf } from '../agent/launch-secret.js';
import { packUserData } from '../agent/packed-user-data.js';
import { passes } from '../process/loop.js';
import { applyFleetPlans, type LaunchRow, type PlannedShape } from './apply-fleet-plans.js';
import { launchInput } from './launch-input.js';
import {
  claimShapes,
  countInstances,
  loadLaunchesLeft,
  loadShapes,
  nextShapeDueMs,
  shareRoom,
  type ShapeFacts,
  type ShapeRow,
} from './load-shapes.js';
import type { Log } from '../process/log.js';
import type { OwnerLease, Tenure } from '../ownership/owner-lease.js';
import { keptLaunches } from './plan/plan-brake.js';
import { type FleetPlan, placeInLine, planFleet } from './plan/plan-fleet.js';
import type { Resolution, ShapeResolver } from './shape-resolver.js';
import { type Keys, seal } from '../secrets/sealed.js';

export type FleetPassOptions = {
  readonly database: Database;
  readonly signals: Signals;
  readonly lease: OwnerLease;
  readonly tenure: Tenure;
  readonly budget: CallBudget;
  readonly resolver: ShapeResolver;
  readonly log: Log;
  readonly apiUrl: string;
  readonly pins: readonly string[];
  readonly encryptionKeys: Keys;
  readonly maxInstances: number;
  readonly maxLaunchesPerMinute: number;
  /** Text of agent.sh. */
  readonly agentScript: string;
};

/** Work for the effects after a pass. */
export type FleetPassResult = {
  readonly shapes: number;
  readonly launched: number;
  readonly retired: number;
  readonly assigned: readonly string[];
  /** Until the next shape is due; null = none is. */
  readonly nextDueMs: number | null;
};

/** One claim → load → plan → apply over the due shapes. Its only calls to EC2 are look-ups, outside transactions. */
export class FleetPass {
  constructor(private readonly options: FleetPassOptions) {}

  async run(): Promise<FleetPassResult> {
    const { database, lease, budget, signals, log } = this.options;
    const dueMs = await nextShapeDueMs(database);
    if (dueMs === null || dueMs > 0) return { ...NOTHING, nextDueMs: dueMs };
    const startedAt = performance.now();
    const shapes = await lease.transaction(claimShapes);
    if (shapes.length === 0) return { ...NOTHING, nextDueMs: await nextShapeDueMs(database) };

    const resolutions = new Map<string, Resolution>();
    for (const shape of shapes) resolutions.set(shape.key, await this.options.resolver.resolve(shape.spec));
    const { planned, applied } = await lease.transaction(async (transaction, now) => {
      const facts = await loadShapes(transaction, shapes);
      const { maxInstances, maxLaunchesPerMinute } = this.options;
      const room = maxInstances === Infinity ? Infinity : maxInstances - (await countInstances(transaction));
      const shares = room === Infinity ? new Map<string, number>() : await shareRoom(transaction, room);
      // All shapes draw on the same limits.
      let spare = room - [...shares.values()].reduce((sum, share) => sum + share, 0);
      let burst = budget.available('RunInstances');
      const minute = await loadLaunchesLeft(transaction, maxLaunchesPerMinute);
      let launchesLeft = minute.left;
      const planned = inLine(shapes, facts).flatMap((shape) => {
        const [known, resolution] = [facts.get(shape.key), resolutions.get(shape.key)];
        if (!known || !resolution) return [];
        const share = shares.get(shape.key) ?? 0;
        const kept = keptLaunches(maxLaunchesPerMinute, known.demand.first, now);
        const spentUntil = launchesLeft > kept ? null : minute.until;
        const one = this.#tryPlan(shape, known, resolution, {
          room: share + spare,
          burst,
          launchesSpentUntil: spentUntil,
          now,
        });
        if (!one) return [];
        const count = one.plan.launch?.count ?? 0;
        spare -= Math.max(0, count - share);
        burst -= count;
        if (one.launch) launchesLeft -= 1;
        return [one];
      });
      return { planned, applied: await applyFleetPlans(transaction, planned) };
    });

    passes.publish({
      pass: 'fleet',
      durationMs: performance.now() - startedAt,
      lagsMs: shapes.map(({ lagMs }) => lagMs),
    });
    signals.eventsWritten();
    if (applied.wokenJobs > 0) signals.jobsDue();
    const given = new Set(applied.assigned.map(({ instanceId }) => instanceId));
    for (const { shape, plan } of planned) logPlan(log, shape, plan, given);
    return {
      shapes: shapes.length,
      launched: planned.filter(({ launch }) => launch).length,
      retired: planned.reduce((sum, { plan }) => sum + plan.retirements.length, 0),
      assigned: [...given],
      nextDueMs: await nextShapeDueMs(database),
    };
  }

  /** A shape whose plan throws is a bug of ours: the others go on, and it is planned again when its claim expires. */
  #tryPlan(shape: ShapeRow, ...rest: readonly [ShapeFacts, Resolution, Limits]): PlannedShape | null {
    try {
      return this.#plan(shape, ...rest);
    } catch (error) {
      this.options.log.error('shape could not be planned', { shapeKey: shape.key, error: String(error) });
      return null;
    }
  }

  #plan(shape: ShapeRow, facts: ShapeFacts, resolution: Resolution, limits: Limits): PlannedShape {
    const { amis, obstacle } = resolution;
    const plan = planFleet({
      ...facts,
      spec: obstacle ? shape.spec : { ...shape.spec, types: shape.spec.types.filter((type) => amis.has(type)) },
      subnetIds: resolution.subnetIds,
      obstacle,
      warm: shape.warm,
      capacity: shape.capacity,
      verdict: shape.verdict,
      ...limits,
      listeningSince: this.options.tenure.since,
      nextLaunchId: randomUUID(),
    });
    const isLaunching = plan.launch !== null && resolution.obstacle === null;
    return { shape, plan, launch: isLaunching ? this.#writeLaunch(shape, plan.launch, resolution) : null };
  }

  /** The complete call, secret and script included, so that a repeat is the same call, whatever has changed. */
  #writeLaunch(shape: ShapeRow, launch: NonNullable<FleetPlan['launch']>, resolution: Resolved): LaunchRow {
    const { agentScript, apiUrl, pins, encryptionKeys, lease, tenure } = this.options;
    const { id, count, offer } = launch;
    const { amis, securityGroupIds } = resolution;
    const ami = amis.get(offer.type);
    if (!ami) throw new Error(`a launch of ${offer.type}, which has no AMI, was planned`);
    const launchSecret = launchSecretOf(encryptionKeys[0], id);
    const userData = packUserData({ script: agentScript, apiUrl, pins, launchSecret, cluster: lease.cluster });
    const input = launchInput({
      spec: shape.spec,
      securityGroupIds,
      offer,
      count,
      ami,
      userDataBase64: Buffer.from(userData).toString('base64'),
      launchId: id,
      cluster: lease.cluster,
      tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
    });
    return {
      id,
      shapeKey: shape.key,
      epoch: tenure.epoch,
      input: seal(encryptionKeys, JSON.stringify(input), id),
      count,
      imageId: ami.id,
      instanceType: offer.type,
      subnetId: offer.subnetId,
      market: offer.market,
      secretHash: createHash('sha256').update(launchSecret).digest(),
    };
  }
}

/** The limits left for the next shape of a pass. */
type Limits = {
  readonly room: number;
  readonly burst: number;
  readonly launchesSpentUntil: Date | null;
  readonly now: Date;
};
type Resolved = Extract<Resolution, { obstacle: null }>;

const NOTHING = { shapes: 0, launched: 0, retired: 0, assigned: [] };

/** Where launches are short, the shape whose attempt is first in line is planned first. */
function inLine(shapes: readonly ShapeRow[], facts: ReadonlyMap<string, ShapeFacts>): ShapeRow[] {
  const placeOf = ({ key }: ShapeRow): number =>
    Math.min(...(facts.get(key)?.demand.first ?? []).map((attempt) => placeInLine(attempt)));
  const places = new Map(shapes.map((shape) => [shape.key, placeOf(shape)]));
  return shapes.toSorted((a, b) => {
    const [placeA, placeB] = [places.get(a.key) ?? Infinity, places.get(b.key) ?? Infinity];
    return placeA === placeB ? 0 : placeA - placeB;
  });
}

/** Logs only decisions: a pass that decides nothing logs nothing. */
function logPlan(log: Log, shape: ShapeRow, plan: FleetPlan, given: ReadonlySet<string>): void {
  const shapeKey = shape.key.slice(0, 12);
  if (plan.launch) {
    const { id, count, offer, reason } = plan.launch;
    log.info('launch planned', { shapeKey, launchId: id, count, ...offer, reason });
  }
  for (const { jobId, attemptId, instanceId, reason } of plan.assignments) {
    // Skipped when attempt or instance had changed by then.
    if (given.has(instanceId)) log.info('instance assigned', { shapeKey, jobId, attemptId, instanceId, reason });
  }
  for (const instanceId of plan.quarantines) log.warn('adoption failed: back to quarantine', { shapeKey, instanceId });
  for (const { instanceId, reason } of plan.retirements) log.info('instance retired', { shapeKey, instanceId, reason });
  if (plan.isVerdictNews && plan.verdict) {
    const { reason, message, isFinal } = plan.verdict;
    log.warn('launches are blocked', { shapeKey, reason, message, isFinal });
  }
}
