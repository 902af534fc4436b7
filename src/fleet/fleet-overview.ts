import { Injectable } from '@nestjs/common';
import { inScopeSql, scopeType } from '../auth/access-rules.js';
import type { Scope } from '../http/caller.js';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { columnsOf, type RowOf, statement, t } from '../database/statement.js';
import { decodeCursor, type Page, pageColumns, pageSql, toPage } from '../http/pagination.js';
import { Owner } from '../ownership/owner.entity.js';
import { type FleetResponse, InstanceId, type InstanceResponse, type ListInstances } from './fleet.schema.js';
import { Instance } from './instance.entity.js';
import { Launch } from './launch.entity.js';

/** The view of the fleet for people and monitoring. */
@Injectable()
export class FleetOverview {
  constructor(
    private readonly database: Database,
    @Setting('cluster') private readonly cluster: Config['cluster'],
  ) {}

  /** Instances of jobs of the scope; those without a job only for callers without a scope. */
  async list({ limit, cursor, state }: ListInstances, scope: Scope): Promise<Page<InstanceResponse>> {
    const after = cursor === undefined ? '' : decodeCursor(cursor, InstanceId);
    const rows = await this.database.run(INSTANCE_PAGE, [after, state ?? null, limit + 1, scope]);
    return toPage(rows, limit, ({ id }) => id, toInstance);
  }

  async find(id: string): Promise<InstanceResponse | undefined> {
    const [row] = await this.database.run(INSTANCE, [id]);
    return row && toInstance(row);
  }

  async overview(): Promise<FleetResponse> {
    const [row] = await this.database.run(OVERVIEW, [this.cluster]);
    if (!row) throw new Error('a statement of aggregates has a row');
    const { pending, registered, assigned, retiring, quarantined, orphaned, lost, demand, planned, unknown } = row;
    const { holder, epoch, expiresAt } = row;
    // The end of a lease that was given back is in the past, as that of one that ran out: neither is read.
    const isOwned = holder !== null && epoch !== null && expiresAt !== null;
    return {
      instances: { pending, registered, assigned, retiring, quarantined, orphaned },
      lost,
      demand,
      launches: { planned, unknown },
      budgets: row.budgets ?? {},
      owner: isOwned ? { holder, epoch, expiresAt: expiresAt.toISOString() } : null,
    };
  }
}

const COLUMNS = columnsOf(Instance, 'instanceType', 'imageId');
const ROW = {
  ...columnsOf(Instance, 'id', 'state', 'stateReason'),
  type: COLUMNS.instanceType,
  market: t.nullable(columnsOf(Launch, 'market').market),
  ami: COLUMNS.imageId,
  ...columnsOf(Instance, 'availabilityZone', 'privateIp', 'publicIp'),
  job: t.nullable(t.text),
  deployment: t.nullable(t.int),
  ...columnsOf(Instance, 'launchId', 'quarantined', 'launchedAt', 'registeredAt', 'lastSeenAt', 'retireReason'),
  ...columnsOf(Instance, 'terminatedAt'),
} as const;

function toInstance(row: RowOf<typeof ROW>): InstanceResponse {
  return {
    ...row,
    launchedAt: row.launchedAt.toISOString(),
    registeredAt: row.registeredAt?.toISOString() ?? null,
    lastSeenAt: row.lastSeenAt?.toISOString() ?? null,
    terminatedAt: row.terminatedAt?.toISOString() ?? null,
  };
}

const INSTANCES = `
  SELECT i.id, i.state, i.state_reason AS "stateReason", i.instance_type AS type, l.market, i.image_id AS "ami",
    i.availability_zone AS "availabilityZone", i.private_ip AS "privateIp", i.public_ip AS "publicIp", j.name AS job,
    d.number AS deployment, i.launch_id AS "launchId", i.quarantined, i.launched_at AS "launchedAt",
    i.registered_at AS "registeredAt", i.last_seen_at AS "lastSeenAt", i.retire_reason AS "retireReason",
    i.terminated_at AS "terminatedAt"
  FROM instances i
  LEFT JOIN launches l ON l.id = i.launch_id
  LEFT JOIN assignments s ON s.instance_id = i.id
  LEFT JOIN attempts a ON a.id = s.attempt_id
  LEFT JOIN deployments d ON d.id = a.deployment_id
  LEFT JOIN jobs j ON j.id = a.job_id`;

const INSTANCE = statement('fleet-get-instance', { values: [t.text], row: ROW, isPrepared: false })(
  `${INSTANCES} WHERE i.id = $1`,
);

const INSTANCE_PAGE = statement('list-instances', {
  values: [t.text, t.nullable(t.text), t.bigintValue, scopeType],
  row: { ...ROW, ...pageColumns },
})(
  pageSql(
    `${INSTANCES} WHERE i.id > $1 AND ($2::text IS NULL OR i.state = $2) AND ${inScopeSql('j.name', '$4')}
  ORDER BY i.id LIMIT $3`,
    'id',
  ),
);

// Orphaned: the fleet retires unneeded instances within seconds, a minute at most; one alive long after that was
// overlooked, and costs money. 10 minutes of boot and as long for EC2 to end an instance are no leak.
const OVERVIEW = statement('fleet-overview', {
  values: [t.text],
  row: {
    pending: t.int,
    registered: t.int,
    assigned: t.int,
    retiring: t.int,
    quarantined: t.int,
    orphaned: t.int,
    lost: t.int,
    demand: t.int,
    planned: t.int,
    unknown: t.int,
    ...columnsOf(Owner, 'budgets'),
    holder: t.nullable(t.text),
    epoch: t.nullable(t.int),
    expiresAt: t.nullable(t.timestamptz),
  },
})(`
  WITH living AS (
    SELECT i.*, a.phase, a.ended_at FROM instances i
    LEFT JOIN assignments s ON s.instance_id = i.id
    LEFT JOIN attempts a ON a.id = s.attempt_id
    WHERE i.terminated_at IS NULL
  )
  SELECT
    count(*) FILTER (WHERE NOT quarantined AND retire_reason IS NULL AND NOT assigned AND registered_at IS NULL)::int AS pending,
    count(*) FILTER (WHERE NOT quarantined AND retire_reason IS NULL AND NOT assigned AND registered_at IS NOT NULL)::int AS registered,
    count(*) FILTER (WHERE NOT quarantined AND retire_reason IS NULL AND assigned)::int AS assigned,
    count(*) FILTER (WHERE retire_reason IS NOT NULL)::int AS retiring,
    count(*) FILTER (WHERE quarantined AND retire_reason IS NULL)::int AS quarantined,
    count(*) FILTER (WHERE retired_at < clock_timestamp() - interval '10 minutes' OR (NOT quarantined AND (
      (retire_reason IS NULL AND phase = 'ended' AND ended_at < clock_timestamp() - interval '5 minutes')
      OR (retire_reason IS NULL AND NOT assigned AND registered_at IS NULL AND launched_at < clock_timestamp() - interval '15 minutes')
    )))::int AS orphaned,
    (SELECT count(*) FROM launches l JOIN instances i ON i.launch_id = l.id
      WHERE l.created_at > clock_timestamp() - interval '10 minutes' AND i.registered_at IS NULL
        AND (i.terminated_at IS NOT NULL OR i.retire_reason IS NOT NULL))::int AS lost,
    (SELECT count(*) FROM attempts w WHERE w.phase = 'waiting'
      AND NOT EXISTS (SELECT 1 FROM assignments x WHERE x.attempt_id = w.id))::int AS demand,
    (SELECT count(*) FROM launches WHERE status = 'planned')::int AS planned,
    (SELECT count(*) FROM launches WHERE status = 'unknown')::int AS unknown,
    o.budgets, o.holder, o.epoch::int AS epoch, o."expiresAt"
  FROM (SELECT 1) one
  LEFT JOIN living ON true
  LEFT JOIN LATERAL (
    SELECT budgets, holder, epoch, expires_at AS "expiresAt" FROM owner
    WHERE cluster = $1 AND expires_at > clock_timestamp()) o ON true
  GROUP BY o.budgets, o.holder, o.epoch, o."expiresAt"`);
