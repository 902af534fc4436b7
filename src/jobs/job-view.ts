import { isLoopback } from '../config/config.js';
import type { JobDefinition } from './job-definition.js';
import { definitionOf, type StoredDefinition } from './stored-definition.js';
import type { DesiredState, JobKind, JobStatus } from './job-status.js';
import type { AssignedInstance, JobResponse } from './job.schema.js';

/** Columns of an instance as `i`, for every view that shows one. */
export const INSTANCE_COLUMNS = `
  i.id AS instance_id, i.private_ip, i.public_ip, i.availability_zone, i.instance_type`;

export type InstanceColumns = {
  instance_id: string | null;
  private_ip: string | null;
  public_ip: string | null;
  availability_zone: string | null;
  instance_type: string | null;
};

/**
 * A job with the newest healthy attempt of its active deployment, since callers must no longer use an attempt that is
 * being replaced or stopped.
 * @param source `jobs`, or a CTE that returns rows of it
 */
export const selectJobsFrom = (source: string): string => `
  SELECT j.id, j.name, j.kind, j.definition, j.desired_state, j.status, j.version, j.deployment_count, j.secret_names,
         j.created_at, j.updated_at, d.number AS active_number, d.definition -> 'ports' AS active_ports,
         (d.definition -> 'health' ->> 'port')::int AS active_health_port,
         ${INSTANCE_COLUMNS}
  FROM ${source} j
  LEFT JOIN deployments d ON d.id = j.active_deployment_id
  LEFT JOIN LATERAL (
    SELECT s.instance_id
    FROM attempts a JOIN assignments s ON s.attempt_id = a.id
    WHERE a.deployment_id = j.active_deployment_id AND a.phase = 'healthy'
    ORDER BY a.number DESC LIMIT 1
  ) healthy ON true
  LEFT JOIN instances i ON i.id = healthy.instance_id`;

export type JobRow = InstanceColumns & {
  id: string;
  name: string;
  kind: JobKind;
  definition: StoredDefinition;
  desired_state: DesiredState;
  status: JobStatus;
  version: number;
  deployment_count: number;
  secret_names: string[];
  created_at: Date;
  updated_at: Date;
  active_number: number | null;
  active_ports: JobDefinition['ports'] | null;
  active_health_port: number | null;
};

/** @param publicUrl where instances reach this API: at loopback both they and the caller are on this machine */
export function createJobView(publicUrl: string): (row: JobRow) => JobResponse {
  const isOnThisMachine = isLoopback(hostOf(publicUrl));
  return (row) => {
    const job = toJob(row);
    // A local cloud in another network namespace, as in Compose, has loopback addresses: callers cannot reach them.
    return isOnThisMachine ? job : { ...job, endpoints: job.endpoints.filter((url) => !isLoopback(hostOf(url))) };
  };
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
}

function toJob(row: JobRow): JobResponse {
  const { instance: requestedInstance, ...definition } = definitionOf(row.definition);
  const instance = toInstance(row);
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    status: row.status,
    desiredState: row.desired_state,
    activeDeployment: row.active_number,
    latestDeployment: row.deployment_count === 0 ? null : row.deployment_count,
    instance,
    endpoints: endpointsOf(instance, row.active_ports ?? [], row.active_health_port),
    ...definition,
    requestedInstance,
    secrets: row.secret_names,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

export function toInstance(row: InstanceColumns): AssignedInstance | null {
  if (row.instance_id === null) return null;
  return {
    id: row.instance_id,
    privateIp: row.private_ip,
    publicIp: row.public_ip,
    availabilityZone: row.availability_zone,
    type: row.instance_type,
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
