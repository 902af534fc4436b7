import { type Addresses, isLoopback } from '../config/config.js';
import { columnsOf, type RowOf, selectList, t } from '../database/statement.js';
import type { JobDefinition } from './job-definition.js';
import { definitionOf } from './stored-definition.js';
import { Job } from './job.entity.js';
import type { AssignedInstance, JobResponse } from './job.schema.js';
import { hostOf as hostOfJob, type ReachedAs, routedPortOf, type UrlReason } from './route-rules.js';

/** Columns of an instance as `i`, for every view that shows one. */
export const INSTANCE_COLUMNS = `
  i.id AS "instanceId", i.private_ip AS "privateIp", i.public_ip AS "publicIp",
  i.availability_zone AS "availabilityZone", i.instance_type AS "instanceType"`;

/** Their types; null without an instance. */
export const INSTANCE_ROW = {
  instanceId: t.nullable(t.text),
  privateIp: t.nullable(t.text),
  publicIp: t.nullable(t.text),
  availabilityZone: t.nullable(t.text),
  instanceType: t.nullable(t.text),
} as const;

const JOB_COLUMNS = {
  ...columnsOf(Job, 'id', 'name', 'kind', 'definition', 'desiredState', 'status', 'version', 'deploymentCount'),
  ...columnsOf(Job, 'secretNames', 'createdAt', 'updatedAt'),
} as const;

/** Of `selectJobsFrom`. */
export const JOB_ROW = {
  ...JOB_COLUMNS,
  activeNumber: t.nullable(t.int),
  activePorts: t.nullable(t.jsonOf<JobDefinition['ports']>()),
  activeHealthPort: t.nullable(t.int),
  activeRoute: t.nullable(t.jsonOf<JobDefinition['route']>()),
  host: t.nullable(t.text),
  reachedAs: t.nullable(t.oneOf<ReachedAs>()),
  ...INSTANCE_ROW,
} as const;
export type JobRow = RowOf<typeof JOB_ROW>;

/**
 * A job with the newest healthy attempt of its active deployment, since callers must no longer use an attempt that is
 * being replaced or stopped.
 * @param source `jobs`, or a CTE that returns rows of it
 */
export const selectJobsFrom = (source: string): string => `
  SELECT ${selectList(JOB_COLUMNS, 'j')}, d.number AS "activeNumber", d.definition -> 'ports' AS "activePorts",
         (d.definition -> 'health' ->> 'port')::int AS "activeHealthPort",
         d.definition -> 'route' AS "activeRoute",
         (SELECT min(r.host) FROM routes r WHERE r.job_id = j.id AND r.removed_at IS NULL) AS host,
         healthy.reached_as AS "reachedAs", ${INSTANCE_COLUMNS}
  FROM ${source} j
  LEFT JOIN deployments d ON d.id = j.active_deployment_id
  LEFT JOIN LATERAL (
    SELECT s.instance_id, a.reached_as
    FROM attempts a JOIN assignments s ON s.attempt_id = a.id
    WHERE a.deployment_id = j.active_deployment_id AND a.phase = 'healthy'
    ORDER BY a.number DESC LIMIT 1
  ) healthy ON true
  LEFT JOIN instances i ON i.id = healthy.instance_id`;

/** @param publicUrl where instances reach this API: at loopback both they and the caller are on this machine */
export function createJobView(publicUrl: string, addresses: Addresses | undefined): (row: JobRow) => JobResponse {
  const isOnThisMachine = isLoopback(hostOf(publicUrl));
  return (row) => {
    const job = toJob(row, addresses);
    // A local cloud in another network namespace, as in Compose, has loopback addresses: callers cannot reach them.
    return isOnThisMachine ? job : { ...job, endpoints: job.endpoints.filter((url) => !isLoopback(hostOf(url))) };
  };
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
}

function toJob(row: JobRow, addresses: Addresses | undefined): JobResponse {
  const { instance: requestedInstance, ...definition } = definitionOf(row.definition);
  const instance = toInstance(row);
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    status: row.status,
    desiredState: row.desiredState,
    activeDeployment: row.activeNumber,
    latestDeployment: row.deploymentCount === 0 ? null : row.deploymentCount,
    instance,
    ...urlOf(row, addresses),
    endpoints: endpointsOf(instance, row.activePorts ?? [], row.activeHealthPort),
    ...definition,
    requestedInstance,
    secrets: row.secretNames,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
  };
}

function urlOf(row: JobRow, addresses: Addresses | undefined): Pick<JobResponse, 'url' | 'urlReason'> {
  const urlReason = row.host === null ? whyNoUrl(row, addresses) : null;
  const host = row.host ?? (urlReason === null && addresses ? hostOfJob(row.name, addresses.domain) : null);
  if (!addresses || host === null) return { url: null, urlReason };
  return { url: `${addresses.scheme}//${host}${addresses.port}`, urlReason: null };
}

/** @returns null for a first deployment on its way: the next pass gives the job its name */
function whyNoUrl(row: JobRow, addresses: Addresses | undefined): UrlReason | null {
  const { name, definition, status, deploymentCount, activeNumber, activeRoute, reachedAs } = row;
  if (!addresses) return 'no-domain';
  const { reason } = routedPortOf(definitionOf(definition));
  if (reason !== undefined) return reason;
  if (hostOfJob(name, addresses.domain) === null) return 'reserved-name';
  if (deploymentCount === 0) return 'not-deployed';
  if (activeNumber === null && status === 'deploying') return null;
  if (reachedAs === 'nothing') return 'route-unreachable';
  if (reachedAs !== null && reachedAs !== 'http') return 'not-http';
  // What the job says holds from its next deployment on; one of before there were addresses has no route.
  return activeRoute ? 'host-still-draining' : 'next-deployment';
}

export function toInstance(row: RowOf<typeof INSTANCE_ROW>): AssignedInstance | null {
  if (row.instanceId === null) return null;
  return {
    id: row.instanceId,
    privateIp: row.privateIp,
    publicIp: row.publicIp,
    availabilityZone: row.availabilityZone,
    type: row.instanceType,
  };
}

function endpointsOf(
  instance: AssignedInstance | null,
  ports: JobDefinition['ports'],
  healthPort: number | null,
): string[] {
  const address = instance?.publicIp ?? instance?.privateIp;
  if (!address) return [];
  return ports.map(({ container, host }) => {
    const isHttp = host === healthPort || !OTHER_PROTOCOLS.has(container);
    return `${isHttp ? 'http' : 'tcp'}://${address}:${host}`;
  });
}

/** Default ports of servers that speak no HTTP; of any other port the protocol is not known. */
const OTHER_PROTOCOLS: ReadonlySet<number> = new Set([
  21, 22, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2049, 2181, 3306, 3389, 4222, 5432, 5672,
  6379, 8883, 9042, 9092, 11211, 27017,
]);
