import { simulatedImage } from '../../local/instances/simulated-images.ts';
import { httpRequest } from '../../local/instances/agent-http.ts';
import type { CloudInstance } from '../../local/cloud/instance.ts';
import { isBadImage } from './client.ts';
import type { House } from './house.ts';
import { type Lead, leadOf } from './route-observer.ts';
import type { AskedDeployment, DeploymentView, JobHistory, JobView } from './history.ts';

/** What is wrong, and where to look. */
export type Finding = {
  readonly invariant: string;
  readonly subject: string;
  readonly detail: string;
};

/** What was found right or wrong by one look at everything. */
export type Verdict = {
  readonly findings: readonly Finding[];
  /** How often each invariant was checked. */
  readonly checked: Readonly<Record<string, number>>;
  /** Deployments of good images that failed for a reason they may fail for, by reason. */
  readonly failed: Readonly<Record<string, number>>;
};

/** Reasons for which chaos may make a good image fail: bounded waits and bounded tries. */
const EXCUSES = new Set(['attempts-exhausted', 'deadline-exceeded', 'capacity-unavailable', 'route-unreachable']);
const ENDED = new Set(['superseded', 'stopped', 'succeeded', 'failed', 'cancelled']);

/**
 * Checks that what was requested is there, and nothing else. The API says what each job is; the cloud's ledger and the
 * containers on its instances show whether that is true.
 */
export async function checkRest(house: House, histories: readonly JobHistory[]): Promise<Verdict> {
  const checks = new Checks();
  const alive = house.cloud.ledger.instances().filter(isThere);
  const byJob = Map.groupBy(alive, ({ id }) => house.containers.running(id)?.greeting.split('.')[0] ?? '');
  for (const instance of byJob.get('') ?? [])
    checks.check(
      'nothing alive that is not needed',
      instance.id,
      false,
      `${instance.state}, no container, ${tokenOf(instance)}`,
    );
  for (const batch of batchesOf(histories, 16))
    await Promise.all(batch.map((history) => checkJob(checks, house, history, byJob.get(history.name) ?? [])));
  const names = new Set(histories.map(({ name }) => name));
  for (const [name, instances] of byJob)
    if (name !== '' && !names.has(name))
      checks.check('nothing alive that is not needed', instances.map(({ id }) => id).join(), false, `of ${name}`);
  checks.check(
    'no process ended unless it was killed',
    'replicas',
    house.ownEnds.length === 0,
    house.ownEnds.join('; '),
  );
  return checks.verdict();
}

async function checkJob(
  checks: Checks,
  house: House,
  history: JobHistory,
  instances: readonly CloudInstance[],
): Promise<void> {
  const { name } = history;
  const check = (invariant: string, isTrue: boolean, detail: () => string): boolean =>
    checks.check(invariant, name, isTrue, isTrue ? '' : `${detail()}\n  ${history.log.slice(-12).join('\n  ')}`);
  const ids = instances.map(({ id }) => id).join();

  check('no answer contradicts an earlier one', history.findings.length === 0, () => history.findings.join('; '));
  const job = await get<JobView>(house, `/v1/jobs/${name}`);
  const end = !job || job.desiredState === 'deleted' ? 'gone' : job.desiredState;
  const isWanted = check(
    'an accepted request is carried out',
    history.possible.has(end as 'gone'),
    () => `it is ${end}, not ${[...history.possible].join(' or ')}`,
  );
  if (!isWanted) return;
  if (end === 'gone') {
    const lead = await leadFrom(house, name);
    check('the address of a deleted job is unknown', !lead.isKnown, () => JSON.stringify(lead));
    check('a deleted job is gone', job === undefined, () => `it is still ${job?.status ?? ''}`);
    check('nothing alive that is not needed', instances.length === 0, () => `${ids} of a deleted job`);
    return;
  }
  if (!job) return;
  if (history.isCertain)
    check('an accepted request is carried out', job.id === history.jobId, () => `it is another job: ${job.id}`);
  const deployments = await list(house, name);
  checkDeployments(check, checks, history, job, deployments);
  if (end === 'stopped') {
    const open = deployments.filter(({ status }) => !ENDED.has(status));
    const lead = await leadFrom(house, name);
    check('the address of a stopped job leads nowhere', lead.target === null, () => JSON.stringify(lead));
    check('a stopped job has stopped', open.length === 0, () => open.map(toText).join('; '));
    check('nothing alive that is not needed', instances.length === 0, () => `${ids} of a stopped job`);
    return;
  }
  await checkService(check, house, job, deployments, instances);
}

type Check = (invariant: string, isTrue: boolean, detail: () => string) => boolean;

function checkDeployments(
  check: Check,
  checks: Checks,
  history: JobHistory,
  job: JobView,
  deployments: readonly DeploymentView[],
): void {
  const [newest] = deployments;
  if (history.isCertain)
    check(
      'an accepted request is carried out',
      newest?.number === history.lastNumber,
      () => `its newest deployment is ${newest?.number ?? 'none'}, not ${history.lastNumber}`,
    );
  for (const asked of job.id === history.jobId ? history.deployments.values() : []) {
    const found = deployments.find(({ number }) => number === asked.number);
    const isSame = found?.image === asked.image && found.definition.env['GREETING'] === asked.greeting;
    check(
      'an accepted deployment is kept as it was posted',
      isSame,
      () => `${JSON.stringify(asked)} is ${toText(found)}`,
    );
    if (asked.isCancelled)
      check('a cancel accepted is a cancel kept', found?.status === 'cancelled', () => toText(found));
  }
  for (const deployment of deployments) {
    const { status, number, image, reason } = deployment;
    const isOver = ENDED.has(status) || number === job.activeDeployment;
    check('every deployment is settled', isOver, () => toText(deployment));
    if (status !== 'failed') {
      const isRunning = status === 'active' || status === 'superseded';
      check('a bad image never becomes active', !isRunning || !isBadImage(image), () => toText(deployment));
    } else if (!isBadImage(image)) {
      const isExcused = EXCUSES.has(reason ?? '') || isKilled(deployment);
      checks.excuse(reason ?? 'none');
      check('a good image fails only for want of an instance', isExcused, () => toText(deployment));
    }
  }
}

/** Out of memory on request, or the reboot of an instance under a container that was not active yet. */
function isKilled({ reason, exitCode }: DeploymentView): boolean {
  return reason === 'out-of-memory' || (reason === 'container-exited' && exitCode === 137);
}

async function checkService(
  check: Check,
  house: House,
  job: JobView,
  deployments: readonly DeploymentView[],
  instances: readonly CloudInstance[],
): Promise<void> {
  const active = deployments.find(({ number }) => number === job.activeDeployment);
  const newest = deployments[0];
  const ids = instances.map(({ id }) => `${id} (${house.containers.running(id)?.greeting ?? ''})`).join();
  if (!active) {
    // What served after the last stop and did not fail itself must still serve.
    const served = deployments.find(({ activeAt, status }) => activeAt !== null && status === 'superseded');
    const hasFailed = newest?.status === 'failed' || newest?.status === 'cancelled';
    check('an accepted request is carried out', hasFailed, () => `nothing serves, newest: ${toText(newest)}`);
    const wasStopped = deployments.some(({ status, number }) => status === 'stopped' && number > (served?.number ?? 0));
    check('what served goes on until its successor does', !served || wasStopped, () => toText(served));
    check('nothing alive that is not needed', instances.length === 0, () => `${ids}, but nothing is active`);
    return;
  }
  const isNewest = active === newest;
  const isReplaced = !isNewest && newest?.status !== 'failed' && newest?.status !== 'cancelled';
  check('an accepted request is carried out', !isReplaced, () => `${active.number} serves, newest: ${toText(newest)}`);
  check('a running job runs', job.status === 'running', () => `it is ${job.status}: ${toText(active)}`);
  if (!check('a running job has one instance', instances.length === 1, () => `it has ${ids || 'none'}`)) return;
  const [instance] = instances;
  const ran = instance && house.containers.running(instance.id);
  check(
    'the API tells the instance that serves',
    job.instance?.id === instance?.id,
    () => `${job.instance?.id ?? 'none'}, not ${instance?.id ?? 'none'}`,
  );
  const isRight = ran !== undefined && ran.attempt.startsWith(active.id) && isImageOf(active, ran.image);
  const isGreeted = ran?.greeting === active.definition.env['GREETING'];
  check('what runs is what was asked for', isRight && isGreeted, () => `${JSON.stringify(ran)} for ${toText(active)}`);
  const lead = await leadFrom(house, job.name);
  const isLedThere = lead.target === `${instance?.privateIp}:8080` && lead.deployment === String(active.number);
  check('the address leads to what serves', isLedThere, () => `${JSON.stringify(lead)} for ${toText(active)}`);
  const answered = await ask(job.endpoints[0]);
  check('what runs answers', answered === ran?.greeting, () => `${answered} from ${job.endpoints[0] ?? 'nowhere'}`);
}

/** By tag, or by the digest that the first attempt recorded. */
function isImageOf({ image }: DeploymentView, ran: string): boolean {
  const [name = '', tag = ''] = image.split(':');
  return ran === image || ran === `${name}@${simulatedImage(name, tag).digest}`;
}

export function isThere({ state }: CloudInstance): boolean {
  return state !== 'terminated' && state !== 'shutting-down';
}

export function tokenOf({ clientToken }: CloudInstance): string {
  return `launch ${clientToken ?? 'none'}`;
}

/** When a container of a deployment was started that was not wanted any more. */
export function unwantedAt(asked: readonly AskedDeployment[], greeting: string, image: string): number | undefined {
  const same = asked.filter((one) => one.greeting === greeting && one.image === image);
  // Copies run the same: it is unwanted only when none of them is wanted any more.
  return same.length > 0 && same.every(({ unwantedAtMs }) => unwantedAtMs !== undefined)
    ? Math.max(...same.map(({ unwantedAtMs }) => unwantedAtMs ?? 0))
    : undefined;
}

/** Counts checks and keeps what failed. */
export class Checks {
  readonly #findings: Finding[] = [];
  readonly #checked: Record<string, number> = {};
  readonly #failed: Record<string, number> = {};

  check(invariant: string, subject: string, isTrue: boolean, detail: string): boolean {
    this.#checked[invariant] = (this.#checked[invariant] ?? 0) + 1;
    if (!isTrue) this.#findings.push({ invariant, subject, detail });
    return isTrue;
  }

  excuse(reason: string): void {
    this.#failed[reason] = (this.#failed[reason] ?? 0) + 1;
  }

  verdict(): Verdict {
    return { findings: this.#findings, checked: this.#checked, failed: this.#failed };
  }
}

function toText(deployment: DeploymentView | undefined): string {
  if (!deployment) return 'no deployment';
  const { number, status, image, reason, message, exitCode } = deployment;
  return `${number} ${image} ${status} ${reason ?? ''} ${message ?? ''} ${exitCode ?? ''}`.trim();
}

async function get<T>({ replicas }: House, path: string): Promise<T | undefined> {
  let failure: unknown;
  for (const { url } of replicas) {
    try {
      const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(20_000) });
      if (response.status === 404) return undefined;
      if (response.ok) return (await response.json()) as T;
      failure = new Error(`${path} answered ${response.status}`);
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`${path}: no process answers`, { cause: failure });
}

async function leadFrom({ replicas }: House, name: string): Promise<Lead> {
  for (const { url } of replicas) {
    const lead = await leadOf(url, name).catch(() => null);
    if (lead) return lead;
  }
  throw new Error(`where ${name} leads: no process answers`);
}

async function list(house: House, name: string): Promise<DeploymentView[]> {
  const page = await get<{ items: DeploymentView[] }>(house, `/v1/jobs/${name}/deployments?limit=200`);
  return page?.items ?? [];
}

async function ask(url: string | undefined): Promise<string> {
  if (url === undefined) return 'nothing';
  const options = { timeoutMs: 5_000, signal: new AbortController().signal, isSingleUse: true };
  try {
    const { body } = await httpRequest(url, options);
    return (JSON.parse(body.toString()) as { hello: string }).hello;
  } catch (error) {
    return String(error);
  }
}

function* batchesOf<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
