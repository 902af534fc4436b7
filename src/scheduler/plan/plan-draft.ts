import { ATTEMPT_TRANSITIONS, type AttemptPhase } from '../../deployments/attempt-status.js';
import { isEnded, mayBecome, type DeploymentStatus } from '../../deployments/deployment-status.js';
import { shapeSpecOf } from '../../deployments/shape-spec.js';
import type { JobStatus } from '../../jobs/job-status.js';
import type {
  AttemptFacts,
  AttemptRow,
  DeploymentFacts,
  DeploymentRow,
  HostChanges,
  JobFacts,
  JobPlan,
  NewAttempt,
  NewOrder,
} from './plan-facts.js';
import { type OrderDraft, spotNoticedAt } from './plan-order.js';
import type { Reason } from './plan-reasons.js';

type DeploymentChanges = Partial<Omit<DeploymentRow, 'id' | 'status'>> & { status?: DeploymentStatus };
type AttemptChanges = Partial<Omit<AttemptRow, 'id' | 'phase' | 'reason'>> & { reason?: Reason };

/** What the plan of an attempt needs of its job, and when it is made. */
export type Moment = Pick<Draft, 'job' | 'now' | 'listeningSince'>;

/** The working copy of one plan: facts as they change while it is made. Used only within planJob. */
export class Draft {
  #deployments: DeploymentFacts[];
  readonly #changedDeployments = new Set<string>();
  readonly #changedAttempts = new Set<string>();
  readonly #newAttempts: NewAttempt[] = [];
  readonly #orders: NewOrder[] = [];
  readonly #inService = new Set<string>();
  #nextPassAt: Date | null = null;
  activeDeploymentId: string | null;

  constructor(
    readonly job: JobFacts,
    readonly now: Date,
    readonly listeningSince: Date,
  ) {
    this.#deployments = [...job.deployments];
    this.activeDeploymentId = job.activeDeploymentId;
  }

  /** Deployments in their present state in this draft; oldest first. */
  all(): readonly DeploymentFacts[] {
    return this.#deployments;
  }

  withStatus(...statuses: DeploymentStatus[]): DeploymentFacts[] {
    return this.#deployments.filter(({ status }) => statuses.includes(status));
  }

  current(deployment: DeploymentFacts): DeploymentFacts {
    return this.#deployments.find(({ id }) => id === deployment.id) ?? deployment;
  }

  attempt(attempt: AttemptFacts): AttemptFacts {
    const all = this.#deployments.flatMap(({ attempts }) => attempts);
    return all.find(({ id }) => id === attempt.id) ?? attempt;
  }

  liveAttempts(deployment: DeploymentFacts): AttemptFacts[] {
    return this.current(deployment).attempts.filter(({ phase }) => phase !== 'ended');
  }

  change(deployment: DeploymentFacts, changes: DeploymentChanges): DeploymentFacts {
    const before = this.current(deployment);
    const to = changes.status ?? before.status;
    if (to !== before.status && !mayBecome(before.status, to)) {
      throw new Error(`deployment ${before.number}: ${before.status} may not become ${to}`);
    }
    const after = {
      ...before,
      ...changes,
      ...(isEnded(to) && { endedAt: before.endedAt ?? this.now, deadlineAt: null }),
    };
    if (isSame(before, after)) return before;
    this.#changedDeployments.add(before.id);
    return this.#replace(after);
  }

  /** Moves an attempt on, through every phase on the way so that each has its time. */
  move(deployment: DeploymentFacts, attempt: AttemptFacts, phase: AttemptPhase, changes: AttemptChanges = {}): void {
    const path = pathBetween(attempt.phase, phase);
    const times = Object.fromEntries(path.map((step) => [`${step}At`, this.now]));
    const after = { ...attempt, ...times, ...changes, phase };
    if (isSame(attempt, after)) return;
    this.#changedAttempts.add(attempt.id);
    const current = this.current(deployment);
    this.#replace({
      ...current,
      attempts: current.attempts.map((other) => (other.id === attempt.id ? after : other)),
      ...(phase === 'ended' &&
        attempt.phase !== 'ended' && {
          endedAttempts: [
            ...current.endedAttempts,
            {
              number: after.number,
              reason: after.reason,
              message: after.message,
              counted: after.counted,
              healthyAt: after.healthyAt,
              noticedAt: spotNoticedAt(after),
              endedAt: this.now,
            },
          ],
        }),
    });
  }

  order(attempt: AttemptFacts, drafts: readonly OrderDraft[]): void {
    const { instance } = attempt;
    if (!instance) return;
    const taken = this.#orders.filter(({ instanceId }) => instanceId === instance.id).length;
    const last = Math.max(attempt.orders.at(-1)?.number ?? 0, instance.ordersAfter ?? 0);
    const first = last + taken + 1;
    drafts.forEach((draft, index) => {
      this.#orders.push({ instanceId: instance.id, attemptId: attempt.id, number: first + index, ...draft });
    });
  }

  /** Of the attempt that begins next. */
  nextNumber(deployment: DeploymentFacts): number {
    const { attempts, endedAttempts } = this.current(deployment);
    return Math.max(0, ...[...attempts, ...endedAttempts].map(({ number }) => number)) + 1;
  }

  newAttempt(deployment: DeploymentFacts, priority: number, reason: Reason): void {
    const { id, definition, imageId } = this.current(deployment);
    const spec = shapeSpecOf(definition, imageId);
    this.#newAttempts.push({ deploymentId: id, number: this.nextNumber(deployment), spec, priority, reason });
  }

  /** The attempt serves from here on, although its orders are only now being written. */
  putInService(attempt: AttemptFacts, orders: readonly OrderDraft[]): void {
    this.order(attempt, orders);
    this.#inService.add(attempt.id);
  }

  inServiceIds(): ReadonlySet<string> {
    return this.#inService;
  }

  wakeAt(at: Date | null): void {
    if (at && (!this.#nextPassAt || at < this.#nextPassAt)) this.#nextPassAt = at;
  }

  finish(status: JobStatus, isGone: boolean, hosts: HostChanges): JobPlan {
    return {
      status,
      isGone,
      activeDeploymentId: this.activeDeploymentId,
      nextPassAt: isGone ? null : this.#nextPassAt,
      deployments: this.#deployments.filter(({ id }) => this.#changedDeployments.has(id)),
      attempts: this.#deployments.flatMap(({ attempts }) => attempts.filter(({ id }) => this.#changedAttempts.has(id))),
      newAttempts: this.#newAttempts,
      orders: this.#orders,
      hosts,
    };
  }

  #replace(deployment: DeploymentFacts): DeploymentFacts {
    this.#deployments = this.#deployments.map((other) => (other.id === deployment.id ? deployment : other));
    return deployment;
  }
}

function pathBetween(from: AttemptPhase, to: AttemptPhase): AttemptPhase[] {
  if (from === to) return [];
  if (ATTEMPT_TRANSITIONS[from].includes(to)) return [to];
  const next = ATTEMPT_TRANSITIONS[from][0];
  if (!next || next === 'ended') throw new Error(`attempt: ${from} may not become ${to}`);
  return [next, ...pathBetween(next, to)];
}

function isSame(a: object, b: object): boolean {
  const before = new Map(Object.entries(a));
  return Object.entries(b).every(([key, value]) => Object.is(before.get(key), value));
}
