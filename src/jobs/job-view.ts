import { type Addresses, isLoopback, type JobUrls } from '../config/config.js';
import { columnsOf, type RowOf, selectList, t } from '../database/statement.js';
import type { JobDefinition } from './job-definition.js';
import { definitionOf } from './stored-definition.js';
import { Job } from './job.entity.js';
import type { AssignedInstance, JobResponse } from './job.schema.js';
import { placeOf } from './allowed-hosts.js';
import {
  faultOfHost,
  hostOf as hostOfJob,
  type HostReason,
  ownHostsOf,
  type ReachedAs,
  routedPortOf,
  type UrlReason,
} from './route-rules.js';

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

/**
 * What was found at the port of an attempt; `asked` while that is not known, and `nothing` while it is asked about again,
 * which is done where nothing could be connected to.
 * @param attempt alias of `attempts` @param deployment that of its deployment
 */
export const reachedAsOf = (attempt: string, deployment: string): string =>
  `coalesce(${attempt}.reached_as, CASE WHEN ${attempt}.reach_asked_at > ${deployment}.active_at THEN 'nothing'
     WHEN ${attempt}.reach_asked_at IS NOT NULL THEN 'asked' END)`;

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
  hosts: t.arrayOf(t.text),
  othersHosts: t.nullable(t.jsonOf<Readonly<Record<string, 'taken' | 'leaving'>>>()),
  reachedAs: t.nullable(t.oneOf<ReachedAs | 'asked'>()),
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
         ARRAY(SELECT r.host FROM routes r WHERE r.job_id = j.id AND r.removed_at IS NULL ORDER BY r.host) AS hosts,
         (SELECT jsonb_object_agg(r.host, CASE WHEN coalesce(r.removed_at, o.deleted_at) IS NULL THEN 'taken' ELSE 'leaving' END)
          FROM jsonb_array_elements_text(j.definition -> 'route' -> 'hosts') own
          JOIN routes r ON r.host = own JOIN jobs o ON o.id = r.job_id
          WHERE r.job_id <> j.id) AS "othersHosts",
         healthy.reached_as AS "reachedAs", ${INSTANCE_COLUMNS}
  FROM ${source} j
  LEFT JOIN deployments d ON d.id = j.active_deployment_id
  LEFT JOIN LATERAL (
    SELECT s.instance_id, ${reachedAsOf('a', 'd')} AS reached_as
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
    hosts: ownHosts(row, addresses),
    endpoints: endpointsOf(instance, row.activePorts ?? [], row.activeHealthPort),
    ...definition,
    requestedInstance,
    secrets: row.secretNames,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
  };
}

function urlOf(row: JobRow, addresses: Addresses | undefined): Pick<JobResponse, 'url' | 'urlReason' | 'privateUrl'> {
  const host = addresses ? hostOfJob(row.name, addresses.domain) : null;
  const urlReason = host !== null && row.hosts.includes(host) ? null : whyNoUrl(row, addresses);
  if (!addresses || host === null || urlReason !== null) return { url: null, urlReason, privateUrl: null };
  const privateUrl = urlAt(`${row.name}.${addresses.private.domain}`, addresses.private);
  return { url: urlAt(host, addresses), urlReason: null, privateUrl };
}

function urlAt(host: string, { scheme, port }: JobUrls): string {
  return `${scheme}//${host}${port}`;
}

/** Those that the job names, and those of its active deployment that it names no more. */
function ownHosts(row: JobRow, addresses: Addresses | undefined): JobResponse['hosts'] {
  const byName = addresses ? hostOfJob(row.name, addresses.domain) : null;
  const named = ownHostsOf(definitionOf(row.definition));
  const all = [...new Set([...named, ...row.hosts])].filter((host) => host !== byName);
  return all.map((host) => {
    const reason = row.hosts.includes(host) ? null : whyNotAt(host, row, addresses);
    return { host, url: reason === null && addresses ? urlAt(host, addresses) : null, reason };
  });
}

function whyNotAt(host: string, row: JobRow, addresses: Addresses | undefined): HostReason | null {
  if (!addresses) return 'no-domain';
  const { reason } = routedPortOf(definitionOf(row.definition));
  if (reason !== undefined) return reason;
  if (faultOfHost(host, { name: row.name, ...placeOf(addresses) }) !== undefined) return 'host-not-allowed';
  const others = row.othersHosts?.[host];
  if (others !== undefined) return others === 'taken' ? 'host-taken' : 'host-still-draining';
  const why = whyNoUrl(row, addresses);
  if (why !== null && !OF_THE_NAME.has(why)) return why;
  if (row.deploymentCount === 0) return 'not-deployed';
  // What is wanted and free is taken by the next pass.
  if (row.activeNumber === null) return row.status === 'deploying' ? null : 'next-deployment';
  const isOfActive = row.activeRoute !== null && ownHostsOf({ route: row.activeRoute }).includes(host);
  return isOfActive ? null : 'next-deployment';
}

/** What keeps a job's name from it, and none of its own hosts. */
const OF_THE_NAME: ReadonlySet<UrlReason> = new Set(['reserved-name', 'host-still-draining']);

/** @returns null where the name is on its way: that of a first deployment, and while it is seen whether HTTP is spoken */
function whyNoUrl(row: JobRow, addresses: Addresses | undefined): UrlReason | null {
  const { name, definition, status, deploymentCount, activeNumber, activeRoute, reachedAs } = row;
  if (!addresses) return 'no-domain';
  const { reason } = routedPortOf(definitionOf(definition));
  if (reason !== undefined) return reason;
  if (hostOfJob(name, addresses.domain) === null) return 'reserved-name';
  if (status === 'deleting') return 'deleting';
  if (deploymentCount === 0) return 'not-deployed';
  if (activeNumber === null && status === 'deploying') return null;
  if (reachedAs === 'asked') return null;
  if (reachedAs === 'nothing') return 'route-unreachable';
  if (reachedAs !== null && reachedAs !== 'http') return 'not-http';
  // What the job says holds from its next deployment on. Where the one that serves has a URL by what it says, another job
  // has the name; one of before there were addresses says nothing.
  const isWanted =
    activeRoute !== null && routedPortOf({ route: activeRoute, ports: row.activePorts ?? [] }).host !== null;
  return isWanted ? 'host-still-draining' : 'next-deployment';
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
