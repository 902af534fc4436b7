import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { toJsonb } from '../database/to-jsonb.js';
import type { EventType } from './event-types.js';
import { insertEvents } from './event-sql.js';

/** Why, as far as it is known; never a secret, a token, a body or the value of a variable. */
export type EventCause = {
  readonly requestId?: string;
  /** Made by this program, where `requestId` is one that the caller sent. */
  readonly ownRequestId?: string;
  /** Name of the token that `actor` is. */
  readonly tokenName?: string;
  /** The request had an Idempotency-Key: its repeats change nothing and leave no event. */
  readonly isKeyed?: boolean;
  /** A kebab-case code of a planner's. */
  readonly reason?: string | null;
};

export type NewEvent = {
  readonly type: EventType;
  readonly actor: string;
  readonly cause?: EventCause;
  readonly jobId?: string | null;
  /** Its name. */
  readonly job?: string | null;
  readonly deployment?: number | null;
  readonly attempt?: number | null;
  readonly instance?: string | null;
  readonly data?: Readonly<Record<string, unknown>>;
};

/**
 * Writes events, in their order, with the change they record: in its transaction, under the lock of the row it changes.
 * After the commit: `signals.eventsWritten()`.
 */
export async function appendEvents(queryable: Queryable, events: readonly NewEvent[]): Promise<void> {
  if (events.length > 0) await queryable.run(APPEND, [toJsonb(events)]);
}

const APPEND = statement('append-events', { values: [t.json] })(
  insertEvents(
    {
      type: { sql: 'e.type' },
      actor: 'e.actor',
      cause: `coalesce(e.cause, '{}')`,
      jobId: 'e."jobId"',
      job: 'e.job',
      deployment: 'e.deployment',
      attempt: 'e.attempt',
      instance: 'e.instance',
      data: `coalesce(e.data, '{}')`,
    },
    `FROM jsonb_to_recordset($1::jsonb) AS e(type text, actor text, cause jsonb, "jobId" uuid, job text, deployment int,
    attempt int, instance text, data jsonb)`,
  ),
);
