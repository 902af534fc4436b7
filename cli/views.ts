import type { Deployment, Instance, Job, Token } from '../client/index.js';
import { shown } from './duration.js';
import type { Style, Terminal } from './terminal.js';

// What people see of a resource. All pure: `now` comes in.

type Paint = Terminal['style'];
const DASH = '-';

const JOB_STYLES: Readonly<Record<Job['status'], Style>> = {
  idle: 'dim',
  deploying: 'cyan',
  running: 'green',
  degraded: 'yellow',
  stopped: 'dim',
  failed: 'red',
  succeeded: 'green',
  deleting: 'dim',
};

const DEPLOYMENT_STYLES: Readonly<Record<Deployment['status'], Style>> = {
  queued: 'cyan',
  deploying: 'cyan',
  active: 'green',
  draining: 'dim',
  superseded: 'dim',
  stopped: 'dim',
  succeeded: 'green',
  failed: 'red',
  cancelled: 'yellow',
};

export function ago(time: string | null, now: number): string {
  return time === null ? DASH : `${shown(now - Date.parse(time))} ago`;
}

export function jobRow(job: Job, now: number): string[] {
  const { name, status, activeDeployment, latestDeployment, instance, updatedAt } = job;
  const number = activeDeployment === null ? DASH : `#${activeDeployment}`;
  const newer =
    latestDeployment !== null && latestDeployment !== activeDeployment ? ` (latest #${latestDeployment})` : '';
  return [name, status, number + newer, instance?.id ?? DASH, addressOf(job) || DASH, ago(updatedAt, now)];
}
export const JOB_COLUMNS = ['JOB', 'STATUS', 'ACTIVE', 'INSTANCE', 'ADDRESS', 'CHANGED'];

/** One that lasts, else those of the instance that serves now. */
function addressOf({ url, endpoints }: Job): string {
  return url ?? endpoints.join(' ');
}

export function deploymentRow(deployment: Deployment, now: number): string[] {
  const { number, status, image, createdAt } = deployment;
  return [`#${number}`, status, image, causeOf(deployment), reasonOf(deployment) ?? DASH, ago(createdAt, now)];
}
export const DEPLOYMENT_COLUMNS = ['DEPLOYMENT', 'STATUS', 'IMAGE', 'TRIGGER', 'REASON', 'CREATED'];

export function instanceRow(instance: Instance, now: number): string[] {
  const { id, state, type, availabilityZone, publicIp, privateIp, job, deployment, quarantined, lastSeenAt } = instance;
  const use = job === null ? (quarantined ? 'quarantined' : DASH) : `${job} #${deployment ?? ''}`;
  const address = publicIp ?? privateIp ?? DASH;
  return [id, state, type ?? DASH, availabilityZone ?? DASH, address, use, ago(lastSeenAt, now)];
}
export const INSTANCE_COLUMNS = ['INSTANCE', 'STATE', 'TYPE', 'ZONE', 'ADDRESS', 'JOB', 'SEEN'];

export function tokenRow({ id, name, role, scope, expiresAt, lastUsedAt, revokedAt }: Token, now: number): string[] {
  const end = revokedAt === null ? (expiresAt?.slice(0, 10) ?? 'never') : 'revoked';
  return [id, name, role, scope?.join(' ') ?? 'all jobs', end, ago(lastUsedAt, now)];
}
export const TOKEN_COLUMNS = ['TOKEN', 'NAME', 'ROLE', 'SCOPE', 'EXPIRES', 'USED'];

export function jobLines(job: Job, paint: Paint, now: number): string[] {
  const { instance } = job;
  return [
    `${paint('bold', job.name)}  ${paint(JOB_STYLES[job.status], job.status)}`,
    ...fieldsOf({
      kind: job.kind,
      active: job.activeDeployment === null ? undefined : `#${job.activeDeployment}`,
      latest: job.latestDeployment === null ? undefined : `#${job.latestDeployment}`,
      instance: instance ? placeOf(instance) : undefined,
      url: job.url ?? undefined,
      private: job.privateUrl === job.url ? undefined : (job.privateUrl ?? undefined),
      hosts: hostsOf(job).join(' '),
      endpoints: job.endpoints.join(' '),
      secrets: job.secrets.join(' '),
      changed: ago(job.updatedAt, now),
    }),
  ];
}

/** An older API has none. */
function hostsOf({ hosts }: { readonly hosts?: Job['hosts'] }): string[] {
  return (hosts ?? []).map(({ host, url, reason }) => url ?? `${host} (${reason ?? 'on its way'})`);
}

export function deploymentLines(deployment: Deployment, paint: Paint, now: number): string[] {
  const { job, number, status, instance, attempt, phase, phases } = deployment;
  const durations = Object.entries(phases).map(([name, milliseconds]) => `${name} ${shown(milliseconds)}`);
  return [
    `${paint('bold', `${job} #${number}`)}  ${paint(DEPLOYMENT_STYLES[status], status)}`,
    ...fieldsOf({
      image: deployment.image,
      digest: deployment.imageDigest ?? undefined,
      trigger: causeOf(deployment),
      attempt: attempt === null ? undefined : `${attempt}${phase === null ? '' : `, ${phase}`}`,
      instance: instance ? placeOf(instance) : undefined,
      phases: durations.join(', '),
      created: ago(deployment.createdAt, now),
      active: deployment.activeAt === null ? undefined : ago(deployment.activeAt, now),
      ended: deployment.endedAt === null ? undefined : ago(deployment.endedAt, now),
    }),
    ...whyLines(deployment),
  ];
}

/** `rollback to #1`, `restart of #2`. */
function causeOf({ trigger, copiedFrom }: Deployment): string {
  if (copiedFrom === null) return trigger;
  return `${trigger} ${trigger === 'rollback' ? 'to' : 'of'} #${copiedFrom}`;
}

/** Unless the status says as much: `superseded` because of `superseded-by-newer`. */
function reasonOf({ status, reason }: Deployment): string | undefined {
  return reason === null || reason.startsWith(`${status}-by`) ? undefined : reason;
}

/** Why it is where it is, and what its container printed last. */
export function whyLines(deployment: Deployment): string[] {
  const { reason, message, failedPhase, exitCode, lastLogLines } = deployment;
  if (reason === null) return [];
  const lines = fieldsOf({
    phase: failedPhase ?? undefined,
    reason: reasonOf(deployment),
    message: message ?? undefined,
    'exit code': exitCode === null ? undefined : String(exitCode),
  });
  const printed = (lastLogLines ?? []).map(({ line }) => `    ${line}`);
  return printed.length === 0 ? lines : [...lines, '  last log lines:', ...printed];
}

/** The progress in one line, shown whenever it changes. */
export function progressOf({ status, phase, attempt, reason, message, instance }: Deployment): string {
  const parts: (string | undefined)[] = [status, phase !== null && status === 'deploying' ? phase : undefined];
  if (attempt !== null && attempt > 1) parts.push(`attempt ${attempt}`);
  if (instance) parts.push(`on ${placeOf(instance)}`);
  if (reason !== null) parts.push(`(${message ?? reason})`);
  return parts.filter((part) => part !== undefined).join(' ');
}

function placeOf({ id, type, availabilityZone }: NonNullable<Deployment['instance']>): string {
  const where = [type, availabilityZone].filter((part) => part !== null).join(', ');
  return where === '' ? id : `${id} (${where})`;
}

function fieldsOf(fields: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(fields).flatMap(([name, value]) => (value ? [`  ${name.padEnd(10)} ${value}`] : []));
}
