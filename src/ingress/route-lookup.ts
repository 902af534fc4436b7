import { Injectable } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { ChangeWaiter, type WaitEnd } from '../jobs/change-waiter.js';
import { mayCall } from '../jobs/networks.js';
import { hostOf, routedPortOf } from '../jobs/route-rules.js';
import { definitionOf, type StoredDefinition } from '../jobs/stored-definition.js';
import { Occurrence } from '../process/observation.js';
import { hasItsAddress } from './address-owner.js';

/** Where the requests of a host go. */
export type RouteTarget = { readonly address: string; readonly job: string; readonly deployment: number };

/** What is known of a host name. */
export type Route = {
  readonly jobId: string;
  /** null while nothing serves. */
  readonly target: RouteTarget | null;
  /** How long a request may wait for one; 0 where nothing is on its way. */
  readonly holdSeconds: number;
  /** Networks of those who may call it; none: everybody may. Of the deployment that `target` runs. */
  readonly allow: readonly string[];
};

/** Where a host leads, whether one caller may go there, and the same for a request that may wait. */
export const LOOKUP_KINDS = ['route', 'caller', 'hold'] as const;

/**
 * What a lookup came to: a target; nothing serves, and it is worth while to wait, or not; no job has the host; it has a list
 * of callers, and another lookup is for this one; it may not be called from there; another process is to be asked, as this
 * one ends; no answer, or none in time.
 */
export const LOOKUP_OUTCOMES = [
  'target',
  'waiting',
  'nowhere',
  'unknown',
  'limited',
  'refused',
  'handed-on',
  'failed',
] as const;
export type LookupOutcome = (typeof LOOKUP_OUTCOMES)[number];

/** A lookup of an ingress was answered. */
export const routeLookups = new Occurrence<{
  readonly kind: (typeof LOOKUP_KINDS)[number];
  readonly outcome: LookupOutcome;
}>('route-lookup');

/**
 * How the wait of a request ended: led to a target; once more to the one that had refused it; the time was over; nothing is
 * on its way any more; too many wait; its caller left; this process ends, and it waits at another one; the database failed.
 */
export const HOLD_OUTCOMES = [
  'served',
  'retried',
  'ran-out',
  'given-up',
  'no-place',
  'left',
  'handed-on',
  'failed',
] as const;
export type HoldOutcome = (typeof HOLD_OUTCOMES)[number];

/** A request no longer waits, or found no place to. */
export const routeHolds = new Occurrence<{ readonly outcome: HoldOutcome; readonly waitedMs: number }>('route-hold');

/** Requests that wait at this process: of one job, so that none takes the places of all others, and in all. */
const MOST_HELD_OF_A_JOB = 100;
const MOST_HELD = 2_000;
/** A target that refused a connection may be starting again. */
const SAME_TARGET_MS = 2_000;

/** Says where the addresses of jobs lead; the job pass decides it. */
@Injectable()
export class RouteLookup {
  readonly #held = new Map<string, number>();
  readonly #finding = new Map<string, Promise<Route | undefined>>();

  constructor(
    private readonly database: Database,
    private readonly waiter: ChangeWaiter,
    @Setting('addresses') private readonly addresses: Config['addresses'],
  ) {}

  /** Requests that wait now. */
  get heldCount(): number {
    return [...this.#held.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Many who ask for a host at once are answered by one query. @param host in lower case @returns undefined when no job has it */
  async find(host: string): Promise<Route | undefined> {
    const found = this.#finding.get(host) ?? this.#find(host).finally(() => this.#finding.delete(host));
    this.#finding.set(host, found);
    return await found;
  }

  /**
   * The same, once something serves, nothing is on its way any more, or the time of the job is over. Who may not call the
   * job does not wait.
   * @param failed a target that did not answer: another one is waited for, or this one for a moment
   */
  async await(
    host: string,
    { not: failed, from }: { not: string; from: string },
    signal: AbortSignal,
  ): Promise<Route | undefined> {
    let route = await this.#find(host);
    const isDecided = (): boolean => {
      if (!route || !mayCall(from, route.allow)) return true;
      return route.target ? route.target.address !== failed : route.holdSeconds === 0;
    };
    if (!route || isDecided()) return route;
    const { jobId, target, holdSeconds } = route;
    const leave = this.#join(jobId);
    if (!leave) {
      routeHolds.publish({ outcome: 'no-place', waitedMs: 0 });
      return route;
    }
    const startedAtMs = performance.now();
    let outcome: HoldOutcome = 'failed';
    try {
      const end = await this.waiter.wait(jobId, target ? SAME_TARGET_MS : holdSeconds * 1_000, signal, async () => {
        route = await this.#find(host);
        return isDecided();
      });
      outcome = outcomeOf(end, route, from);
    } finally {
      leave();
      routeHolds.publish({ outcome, waitedMs: performance.now() - startedAtMs });
    }
    return route;
  }

  #join(jobId: string): (() => void) | undefined {
    const ofJob = this.#held.get(jobId) ?? 0;
    if (ofJob >= MOST_HELD_OF_A_JOB || this.heldCount >= MOST_HELD) return undefined;
    this.#held.set(jobId, ofJob + 1);
    return () => {
      const left = (this.#held.get(jobId) ?? 1) - 1;
      if (left > 0) this.#held.set(jobId, left);
      else this.#held.delete(jobId);
    };
  }

  async #find(host: string): Promise<Route | undefined> {
    const publicHost = publicHostOf(host, this.addresses);
    const [row] = await this.database.run(FIND_ROUTE, [publicHost]);
    if (!row) return await this.#findComing(publicHost);
    const { jobId, job, isOnItsWay, holdSeconds, allow, privateIp, port, deployment } = row;
    const isServed = privateIp !== null && port !== null && deployment !== null;
    return {
      jobId,
      target: isServed ? { address: `${privateIp}:${port}`, job, deployment } : null,
      holdSeconds: isOnItsWay ? holdSeconds : 0,
      allow: allow ?? [],
    };
  }

  /** The name of a job whose first deployment the job pass has not seen yet, or whose name was another job's until now. */
  async #findComing(host: string): Promise<Route | undefined> {
    const domain = this.addresses?.domain;
    if (domain === undefined || !host.endsWith(`.${domain}`)) return undefined;
    const name = host.slice(0, -`.${domain}`.length);
    const [row] = await this.database.run(FIND_FIRST_DEPLOYMENT, [name]);
    if (!row) return undefined;
    const { route, ports } = definitionOf(row.definition);
    const hasName = hostOf(name, domain) === host && routedPortOf({ route, ports }).host !== null;
    if (!hasName || route === false) return undefined;
    return { jobId: row.jobId, target: null, holdSeconds: route.holdSeconds, allow: route.allow ?? [] };
  }
}

/** Jobs call each other by names of a domain that no row has: where one leads is what the row of its URL says. */
function publicHostOf(host: string, addresses: Config['addresses']): string {
  if (!addresses) return host;
  const suffix = `.${addresses.private.domain}`;
  return host.endsWith(suffix) ? `${host.slice(0, -suffix.length)}.${addresses.domain}` : host;
}

function outcomeOf(end: WaitEnd, route: Route | undefined, from: string): HoldOutcome {
  if (end === 'left') return 'left';
  const isLed = route?.target != null && mayCall(from, route.allow);
  if (end === 'seen') return isLed ? 'served' : 'given-up';
  // A target that is not another one is the one that refused it.
  if (isLed) return 'retried';
  return end === 'over' ? 'ran-out' : 'handed-on';
}

// A job that failed or stopped stays so until somebody deploys. A version before this one leaves `routed_port` where it
// ends an attempt.
const FIND_ROUTE = statement('find-route', {
  values: [t.text],
  row: {
    jobId: t.uuid,
    job: t.text,
    isOnItsWay: t.bool,
    holdSeconds: t.int,
    allow: t.nullable(t.jsonOf<string[]>()),
    privateIp: t.nullable(t.text),
    port: t.nullable(t.int),
    deployment: t.nullable(t.int),
  },
})(`
  SELECT j.id AS "jobId", j.name AS job,
    j.desired_state = 'running' AND j.status IN ('deploying', 'running', 'degraded') AS "isOnItsWay",
    coalesce((coalesce(active.definition, j.definition) -> 'route' ->> 'holdSeconds')::int, 0) AS "holdSeconds",
    coalesce(active.definition, j.definition) -> 'route' -> 'allow' AS allow,
    i.private_ip AS "privateIp", a.routed_port AS port, active.number AS deployment
  FROM routes r
  JOIN jobs j ON j.id = r.job_id
  LEFT JOIN deployments active ON active.id = j.active_deployment_id
  LEFT JOIN attempts a ON a.deployment_id = active.id AND a.routed_port IS NOT NULL AND a.phase NOT IN ('stopping', 'ended')
  LEFT JOIN assignments s ON s.attempt_id = a.id
  LEFT JOIN instances i ON i.id = s.instance_id AND ${hasItsAddress('i')}
  WHERE r.host = $1 AND r.removed_at IS NULL
  ORDER BY a.number DESC
  LIMIT 1`);

const FIND_FIRST_DEPLOYMENT = statement('find-first-deployment', {
  values: [t.text],
  row: { jobId: t.uuid, definition: t.jsonOf<StoredDefinition>() },
})(`
  SELECT id AS "jobId", definition FROM jobs
  WHERE name = $1 AND deleted_at IS NULL AND desired_state = 'running' AND status = 'deploying'
    AND active_deployment_id IS NULL`);
