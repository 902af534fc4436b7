import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { type Author, authorTypes } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { insertEvents } from '../events/event-sql.js';

export type InstanceEvent = {
  readonly type: Extract<EventType, `instance.${string}`>;
  readonly instance: string;
  readonly reason?: string | null;
  readonly data?: Readonly<Record<string, unknown>>;
};

const FLEET: Author = { actor: 'fleet', cause: {} };

/** As `appendEvents`; the event of an instance with an attempt names the attempt's job as well. */
export async function appendInstanceEvents(
  transaction: Queryable,
  events: readonly InstanceEvent[],
  { actor, cause }: Author = FLEET,
): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map((event, place) => ({ ...event, place }));
  await transaction.run(APPEND, [JSON.stringify(rows), actor, JSON.stringify(cause)]);
}

const APPEND = statement('append-instance-events', { values: [t.json, ...authorTypes] })(
  insertEvents(
    {
      type: { sql: 'e.type' },
      actor: '$2',
      cause: `$3::jsonb || jsonb_strip_nulls(jsonb_build_object('reason', e.reason))`,
      jobId: 'j.id',
      job: 'j.name',
      deployment: 'd.number',
      attempt: 'a.number',
      instance: 'e.instance',
      data: `coalesce(e.data, '{}')`,
    },
    `FROM jsonb_to_recordset($1::jsonb) AS e(type text, instance text, reason text, data jsonb, place int)
  LEFT JOIN assignments s ON s.instance_id = e.instance
  LEFT JOIN attempts a ON a.id = s.attempt_id
  LEFT JOIN deployments d ON d.id = a.deployment_id
  LEFT JOIN jobs j ON j.id = a.job_id
  ORDER BY e.place`,
  ),
);
