import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isInScope } from '../auth/access-rules.js';
import type { Caller } from '../http/caller.js';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database, type Queryable } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import { appendEvents } from '../events/append-events.js';
import { currentAuthor } from '../events/author.js';
import { Problem } from '../http/problem.js';
import { checkAllowed, type OperatorLists } from '../jobs/allowed.js';
import { checkHosts, placeOf } from '../jobs/allowed-hosts.js';
import { type LockedJob, lockJob, secretsOf } from '../jobs/job-lock.js';
import { createJobView } from '../jobs/job-view.js';
import type { CreateJob } from '../jobs/job.schema.js';
import { mergeDefinition, type VersionedJob } from '../jobs/jobs.service.js';
import { SecretStore } from '../secrets/secret-store.js';
import { DeploymentSources, type Source } from './deployment-sources.js';
import { type DeploymentTrigger, isCancellable } from './deployment-status.js';
import { DEPLOYMENT_ROW, type DeploymentRow, selectDeploymentsFrom, toDeployment } from './deployment-view.js';
import type { Adopt, CreateDeployment, DeploymentResponse, Rollback } from './deployment.schema.js';
import { deploymentNotFound } from './deployments.service.js';
import { checkAdoptable, findAdoption } from './adoption.js';
import { checkInstances, instanceLimitOf, lockLimits } from './instance-limits.js';
import { insertJobWithin, jobLimitsOf } from './job-limits.js';
import { insertDeployment, type NewDeployment } from './new-deployment.js';
import { dueNow } from '../database/wake.js';

/**
 * Stores what callers want of deployments; the job pass carries it out. It locks the job's row first, so that nothing
 * changes between its read of what is to run and its write.
 */
@Injectable()
export class DeploymentIntents {
  readonly #toJob: ReturnType<typeof createJobView>;

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly secrets: SecretStore,
    @Setting('limits') private readonly limits: Pick<Config['limits'], 'maxJobs'>,
    @Setting('fleet') private readonly lists: OperatorLists,
    @Setting('http') http: Pick<Config['http'], 'publicUrl'>,
    @Setting('addresses') private readonly addresses: Config['addresses'],
  ) {
    this.#toJob = createJobView(http.publicUrl, addresses);
  }

  /**
   * The job, and its first deployment when there is an image.
   * @throws Problem forbidden (outside the caller's scope, or beyond what it may name), job-name-taken, job-limit-reached, instance-limit-reached
   */
  async createJob({ name, kind, image, secrets, ...definition }: CreateJob, caller: Caller): Promise<VersionedJob> {
    if (!isInScope(caller.scope, name)) throw outsideScope(caller);
    checkAllowed({ image, definition }, this.lists, caller.allow);
    checkHosts({ name, definition }, placeOf(this.addresses), caller, null);
    const limits = jobLimitsOf(caller, this.limits.maxJobs);
    const id = randomUUID();
    const job = { id, name, kind, image, definition, secrets: this.secrets.seal(id, secrets) };
    const row = await insertJobWithin(this.database, limits, job, instanceLimitOf(caller));
    if (!row) throw await this.#nameTaken(name);
    if (image !== undefined) this.signals.jobsDue();
    return { job: this.#toJob(row), version: row.version };
  }

  /** @throws Problem */
  async deploy(
    name: string,
    { image, secrets, ...overrides }: CreateDeployment,
    versions: number[] | null,
    caller: Caller,
  ): Promise<DeploymentResponse> {
    const hasOverrides = Object.keys(overrides).length > 0 || secrets !== undefined;
    return await this.#deployFrom(caller, name, versions, async (sources, job, transaction) => {
      const wanted = { image: image ?? checkImage(name, await sources.findLatest()), trigger: 'api' } as const;
      if (!hasOverrides) return wanted;
      const definition = mergeDefinition(job.definition, overrides);
      const own = await this.secrets.change(transaction, job.id, secretsOf(job), secrets, definition.env);
      return { ...wanted, definition, secrets: own };
    });
  }

  /** @throws Problem */
  async rollback(
    name: string,
    { to }: Rollback,
    versions: number[] | null,
    caller: Caller,
  ): Promise<DeploymentResponse> {
    return await this.#deployFrom(caller, name, versions, async (sources, job) => {
      const last = await sources.findLastServing();
      if (to !== undefined) return copyOf(checkTarget(job, to, await sources.find(to)), 'rollback');
      checkNoNewer(job, last, last && (await sources.findNewerThan(last.number)));
      return copyOf(checkOlder(job, last, last && (await sources.findServedBefore(last.number))), 'rollback');
    });
  }

  /** Runs the deployment that is active, or was last, on a fresh instance. @throws Problem */
  async restart(name: string, versions: number[] | null, caller: Caller): Promise<DeploymentResponse> {
    return await this.#deployFrom(caller, name, versions, async (sources) =>
      copyOf(checkSource(name, await sources.findLastServing()), 'restart'),
    );
  }

  /** Runs again what ran last; one that runs or is under way is returned unchanged. @throws Problem */
  async start(name: string, versions: number[] | null, caller: Caller): Promise<DeploymentResponse> {
    const row = await this.#within(caller, async (transaction) => {
      const job = await lockJob(transaction, name, versions);
      const sources = new DeploymentSources(transaction, job);
      const running = job.desiredState === 'running' ? await sources.findRunning() : undefined;
      if (running) return await readDeployment(transaction, running.id);
      const source = (await sources.findLastServing()) ?? (await sources.findLatest());
      const wanted = copyOf(checkSource(name, source), 'start');
      return await this.#insert(caller, transaction, job, versions, wanted);
    });
    return this.#accepted(row);
  }

  /** A deployment of what runs on an instance in quarantine. @throws Problem */
  async adopt(
    name: string,
    { instance, image }: Adopt,
    versions: number[] | null,
    caller: Caller,
  ): Promise<DeploymentResponse> {
    const row = await this.#within(caller, async (transaction) => {
      const job = await lockJob(transaction, name, versions);
      const adoption = await findAdoption(transaction, job.id, instance);
      if (adoption) return await readDeployment(transaction, adoption.id);
      await checkAdoptable(transaction, instance);
      const latest = await new DeploymentSources(transaction, job).findLatest();
      const wanted = { image: image ?? checkImage(name, latest), trigger: 'adopt', adopts: instance } as const;
      return await this.#insert(caller, transaction, job, versions, wanted);
    });
    return this.#accepted(row);
  }

  /** @throws Problem */
  async cancel(name: string, number: number): Promise<DeploymentResponse> {
    const row = await this.database.transaction(async (transaction) => {
      const job = await lockJob(transaction, name, null);
      const deployment = await new DeploymentSources(transaction, job).find(number);
      if (!deployment) throw deploymentNotFound(name, number);
      if (mayCancel(deployment)) await requestCancel(transaction, job, deployment);
      return await readDeployment(transaction, deployment.id);
    });
    return this.#accepted(row);
  }

  /** Locks the job while `decide` reads its earlier deployments. */
  async #deployFrom(
    caller: Caller,
    name: string,
    versions: number[] | null,
    decide: (sources: DeploymentSources, job: LockedJob, transaction: Queryable) => Promise<NewDeployment>,
  ): Promise<DeploymentResponse> {
    const row = await this.#within(caller, async (transaction) => {
      const job = await lockJob(transaction, name, versions);
      const wanted = await decide(new DeploymentSources(transaction, job), job, transaction);
      return await this.#insert(caller, transaction, job, versions, wanted);
    });
    return this.#accepted(row);
  }

  /** The only way to a deployment of an existing job: whatever it copies, the caller must be allowed to run it now. */
  async #insert(
    caller: Caller,
    transaction: Queryable,
    job: LockedJob,
    versions: number[] | null,
    wanted: NewDeployment,
  ): Promise<DeploymentRow | undefined> {
    const { image, definition = job.definition } = wanted;
    checkHosts({ name: job.name, definition }, placeOf(this.addresses), caller, job.definition);
    checkAllowed({ image, definition }, this.lists, caller.allow);
    const row = await insertDeployment(transaction, job.name, versions, wanted);
    await checkInstances(transaction, instanceLimitOf(caller));
    return row;
  }

  /** For callers with a limit of instances, one at a time. */
  async #within<T>(caller: Caller, work: (transaction: Queryable) => Promise<T>): Promise<T> {
    return await this.database.transaction(async (transaction) => {
      if (caller.maxInstances !== null) await lockLimits(transaction);
      return await work(transaction);
    });
  }

  #accepted(row: DeploymentRow | undefined): DeploymentResponse {
    if (!row) throw new Error('a deployment of a locked job was not written');
    this.signals.jobsDue();
    return toDeployment(row);
  }

  async #nameTaken(name: string): Promise<Problem> {
    const [holder] = await this.database.run(HOLDER, [name]);
    const detail = holder?.isDeleting
      ? `The job “${name}” is still being deleted; its name is free once GET answers 404.`
      : `There is a job named “${name}” already.`;
    return new Problem('job-name-taken', detail);
  }
}

function outsideScope({ scope }: Caller): Problem {
  const detail = `must begin with ${(scope ?? []).join(' or ')}: this token is for no other jobs`;
  return new Problem('forbidden', `#/name: ${detail}`, { errors: [{ pointer: '#/name', detail }] });
}

function copyOf(source: Source, trigger: DeploymentTrigger): NewDeployment {
  const { image, definition, secretsVersion: version, secretNames: names } = source;
  return { image, trigger, definition, secrets: { version, names }, copyOf: source };
}

function checkImage(name: string, latest: Source | undefined): string {
  if (latest) return latest.image;
  const detail = `is needed: the job “${name}” has no deployment to take it from`;
  throw new Problem('invalid-request', `#/image: ${detail}`, { errors: [{ pointer: '#/image', detail }] });
}

function checkSource(name: string, source: Source | undefined): Source {
  if (source) return source;
  throw new Problem('nothing-to-start', `The job “${name}” has no deployment that could run again: post one.`);
}

function checkTarget(job: LockedJob, to: number, target: Source | undefined): Source {
  if (!target) throw cannotRollBack(`The job “${job.name}” has no deployment ${to}.`);
  if (target.activeAt === null) throw cannotRollBack(`Deployment ${to} was never active.`);
  if (target.id === job.activeDeploymentId) {
    throw cannotRollBack(`Deployment ${to} is the active one: use restart to run it on a fresh instance.`);
  }
  return target;
}

/** The serving deployment is not replaced because a newer one does not serve: `deploy || rollback` would walk back. */
function checkNoNewer(job: LockedJob, last: Source | undefined, newer: Source | undefined): void {
  if (!last || !newer) return;
  const serving = `Deployment ${last.number} ${last.id === job.activeDeploymentId ? 'is serving' : 'was the last to serve'}`;
  const detail = isCancellable(newer.status)
    ? `${serving}; ${newer.number} is not active yet and can be cancelled. Name the deployment to go back to by “to”.`
    : `${serving}; ${newer.number} ${newer.activeAt ? 'does not any more' : 'never did'}. Name the deployment to go back to by “to”.`;
  throw new Problem('nothing-to-roll-back', detail);
}

function checkOlder(job: LockedJob, last: Source | undefined, older: Source | undefined): Source {
  if (older) return older;
  const reason = last
    ? `No deployment before ${last.number} was ever active.`
    : `No deployment of the job “${job.name}” was ever active.`;
  throw cannotRollBack(reason);
}

function cannotRollBack(detail: string): Problem {
  return new Problem('cannot-roll-back', detail);
}

/** Called under the lock of the job's row: no pass can make it active between this check and the request. */
function mayCancel({ number, status }: Source): boolean {
  if (status === 'active') {
    throw new Problem('deployment-active', `Deployment ${number} is active: use stop or rollback.`);
  }
  if (status === 'draining') {
    throw new Problem('deployment-draining', `Deployment ${number} is draining: its container is being stopped.`);
  }
  return isCancellable(status);
}

async function requestCancel(transaction: Queryable, job: LockedJob, { id, number }: Source): Promise<void> {
  await transaction.run(WAKE_JOB, [job.id]);
  await transaction.run(CANCEL, [id]);
  const about = { jobId: job.id, job: job.name, deployment: number };
  await appendEvents(transaction, [{ type: 'deployment.cancel-requested', ...currentAuthor(), ...about }]);
}

async function readDeployment(transaction: Queryable, id: string): Promise<DeploymentRow | undefined> {
  const [row] = await transaction.run(READ, [id]);
  return row;
}

const HOLDER = statement('deployment-name-holder', {
  values: [t.text],
  row: { isDeleting: t.bool },
  isPrepared: false,
})(`SELECT desired_state = 'deleted' AS "isDeleting" FROM jobs WHERE name = $1 AND deleted_at IS NULL`);

const WAKE_JOB = statement('deployment-wake-job', { values: [t.uuid], isPrepared: false })(
  `UPDATE jobs SET ${dueNow('jobs')} WHERE id = $1`,
);

const CANCEL = statement('deployment-cancel', { values: [t.uuid], isPrepared: false })(
  `UPDATE deployments SET cancel_requested_at = COALESCE(cancel_requested_at, clock_timestamp()) WHERE id = $1`,
);

const READ = statement('deployment-read', { values: [t.uuid], row: DEPLOYMENT_ROW, isPrepared: false })(
  `${selectDeploymentsFrom('deployments d JOIN jobs j ON j.id = d.job_id')} WHERE d.id = $1`,
);
