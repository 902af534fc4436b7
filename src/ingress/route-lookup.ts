import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { ChangeWaiter } from '../jobs/change-waiter.js';

/** Where the requests of a host go. */
export type RouteTarget = { readonly address: string; readonly job: string; readonly deployment: number };

/** What is known of a host name. */
export type Route = {
  readonly jobId: string;
  /** null while nothing serves. */
  readonly target: RouteTarget | null;
  /** How long a request may wait for one; 0 where nothing is on its way. */
  readonly holdSeconds: number;
};

/** Requests that wait at this process. nginx has fewer for us, and one of several processes that is asked too much refuses. */
const MOST_HELD = 2_000;
const RETRY_AFTER_SECONDS = 2;

/** Says where the addresses of jobs lead; the job pass decides it. */
@Injectable()
export class RouteLookup {
  #held = 0;

  constructor(
    private readonly database: Database,
    private readonly waiter: ChangeWaiter,
  ) {}

  /** @param host in lower case @returns undefined when no job has it */
  async find(host: string): Promise<Route | undefined> {
    const [row] = await this.database.run(FIND_ROUTE, [host]);
    if (!row) return undefined;
    const { jobId, job, isOnItsWay, holdSeconds, privateIp, port, deployment } = row;
    const isServed = privateIp !== null && port !== null && deployment !== null;
    return {
      jobId,
      target: isServed ? { address: `${privateIp}:${port}`, job, deployment } : null,
      holdSeconds: isOnItsWay ? holdSeconds : 0,
    };
  }

  /** The same, once something serves, nothing is on its way any more, or the time of the job is over. */
  async await(host: string, signal: AbortSignal): Promise<Route | undefined> {
    let route = await this.find(host);
    if (!route || route.target || route.holdSeconds === 0 || this.#held >= MOST_HELD) return route;
    this.#held += 1;
    try {
      await this.waiter.wait(route.jobId, route.holdSeconds * 1_000, signal, async () => {
        route = await this.find(host);
        return !route || route.target !== null || route.holdSeconds === 0;
      });
    } finally {
      this.#held -= 1;
    }
    return route;
  }

  /** Why a host leads nowhere, for whoever called it. */
  async explain(host: string): Promise<Problem> {
    const route = await this.find(host);
    if (!route) return new Problem('not-found', `Nothing has the name ${host} here.`);
    return new Problem('unavailable', `Nothing serves ${host} now.`, { retryAfterSeconds: RETRY_AFTER_SECONDS });
  }
}

// A job that failed or stopped stays so until somebody deploys.
const FIND_ROUTE = statement('find-route', {
  values: [t.text],
  row: {
    jobId: t.uuid,
    job: t.text,
    isOnItsWay: t.bool,
    holdSeconds: t.int,
    privateIp: t.nullable(t.text),
    port: t.nullable(t.int),
    deployment: t.nullable(t.int),
  },
})(`
  SELECT j.id AS "jobId", j.name AS job, j.status IN ('deploying', 'running', 'degraded') AS "isOnItsWay",
    coalesce((coalesce(active.definition, j.definition) -> 'route' ->> 'holdSeconds')::int, 0) AS "holdSeconds",
    i.private_ip AS "privateIp", a.routed_port AS port, d.number AS deployment
  FROM routes r
  JOIN jobs j ON j.id = r.job_id
  LEFT JOIN deployments active ON active.id = j.active_deployment_id
  LEFT JOIN attempts a ON a.job_id = j.id AND a.routed_port IS NOT NULL
  LEFT JOIN deployments d ON d.id = a.deployment_id
  LEFT JOIN assignments s ON s.attempt_id = a.id
  LEFT JOIN instances i ON i.id = s.instance_id
  WHERE r.host = $1 AND r.removed_at IS NULL
  LIMIT 1`);
