import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Database } from '../database/database.js';
import { type RowOf, statement, t } from '../database/statement.js';
import { decodeCursor, type Page, pageColumns, pageSql, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { ChangeWaiter } from '../jobs/change-waiter.js';
import { jobNotFound } from '../jobs/job-lock.js';
import { type DeploymentStatus, isCancellable, isEnded } from './deployment-status.js';
import { type DeploymentRow, OUTER_DEPLOYMENT_ROW, selectDeploymentsFrom, toDeployment } from './deployment-view.js';
import type { DeploymentGoal, DeploymentResponse, ListDeployments, WatchDeployment } from './deployment.schema.js';

/** Reads deployments: what was requested, and how far it got. */
@Injectable()
export class DeploymentsService {
  constructor(
    private readonly database: Database,
    private readonly waiter: ChangeWaiter,
  ) {}

  /** @throws Problem job-not-found, deployment-not-found */
  async get(name: string, number: number): Promise<DeploymentResponse> {
    return toDeployment(await this.#find(name, number));
  }

  /** As `get`, once the deployment reaches its goal or the wait ends. */
  async watch(
    name: string,
    number: number,
    { wait, until }: WatchDeployment,
    signal: AbortSignal,
  ): Promise<DeploymentResponse> {
    let row = await this.#find(name, number);
    if (isReached(row.status, until)) return toDeployment(row);
    const { jobId } = row;
    await this.waiter.wait(jobId, wait * 1000, signal, async () => {
      row = await this.#find(name, number);
      // Another job of this name: the requested one is gone.
      if (row.jobId !== jobId) throw jobNotFound(name);
      return isReached(row.status, until);
    });
    return toDeployment(row);
  }

  /** Newest first. @throws Problem job-not-found */
  async list(name: string, { limit, cursor }: ListDeployments): Promise<Page<DeploymentResponse>> {
    const before = cursor === undefined ? null : decodeCursor(cursor, DeploymentCursor);
    const rows = await this.database.run(LIST_DEPLOYMENTS, [name, before, limit + 1]);
    if (rows.length === 0) throw jobNotFound(name);
    return toPage(rows.filter(isFound), limit, (row) => row.number, toDeployment);
  }

  async #find(name: string, number: number): Promise<DeploymentRow> {
    const [row] = await this.database.run(GET_DEPLOYMENT, [name, number]);
    if (!row) throw jobNotFound(name);
    if (!isFound(row)) throw deploymentNotFound(name, number);
    return row;
  }
}

export function deploymentNotFound(name: string, number: number): Problem {
  return new Problem('deployment-not-found', `The job “${name}” has no deployment ${number}.`);
}

/** A wait for active also ends when the deployment can no longer become active. */
function isReached(status: DeploymentStatus, goal: DeploymentGoal): boolean {
  return goal === 'ended' ? isEnded(status) : !isCancellable(status);
}

function isFound<Row extends RowOf<typeof OUTER_DEPLOYMENT_ROW>>(row: Row): row is Row & DeploymentRow {
  return row.id !== null;
}

const DeploymentCursor = z.int().min(1).max(2_147_483_647);

const GET_DEPLOYMENT = statement('get-deployment', { values: [t.text, t.int], row: OUTER_DEPLOYMENT_ROW })(`
  ${selectDeploymentsFrom('jobs j LEFT JOIN deployments d ON d.job_id = j.id AND d.number = $2')}
  WHERE j.name = $1 AND j.deleted_at IS NULL`);

const LIST_DEPLOYMENTS = statement('list-deployments', {
  values: [t.text, t.nullable(t.int), t.bigintValue],
  row: { ...OUTER_DEPLOYMENT_ROW, ...pageColumns },
})(
  pageSql(
    `${selectDeploymentsFrom(`jobs j LEFT JOIN LATERAL (
    SELECT * FROM deployments
    WHERE job_id = j.id AND ($2::int IS NULL OR number < $2)
    ORDER BY number DESC LIMIT $3
  ) d ON true`)}
  WHERE j.name = $1 AND j.deleted_at IS NULL
  ORDER BY d.number DESC`,
    'number DESC',
  ),
);
