import type { Database, Queryable } from '../database/database.js';

/** Whatever its age, this much of a job's history stays: enough to roll back to. */
export const DEPLOYMENTS_KEPT = 50;
/** Of a deployment: a service that never gets well is tried every five minutes. As many as the planner looks back at. */
const ATTEMPTS_KEPT = 20;
/** Orders are of use while their attempt lives, and for a look afterwards; they are most of all rows. */
const ORDERS_KEPT_DAYS = 1;
/** As the documentation promises a client that repeats a request. */
const ANSWERS_KEPT_DAYS = 1;
/** A bucket nobody took from for a day is full, as one without a row is. */
const RATE_LIMITS_KEPT_DAYS = 1;
/** Long enough to look for what a receiver missed over a weekend; there is one for each event and webhook. */
const DELIVERIES_KEPT_DAYS = 7;
/** Small enough that no batch holds locks for more than some milliseconds. */
const BATCH = 500;
/** At most this many batches a table and run: the rest has its turn in the next. */
const MAX_BATCHES = 200;
/** Any number no other advisory lock of ours uses. */
const LOCK = 7_246_013;

export type Deleted = {
  orders: number;
  deployments: number;
  attempts: number;
  jobs: number;
  instances: number;
  launches: number;
  answers: number;
  tokens: number;
  rateLimits: number;
  secrets: number;
  events: number;
  deliveries: number;
};

/** Deletes what is too old, in small batches; any number of processes may try, one at a time does. */
export class Retention {
  constructor(
    private readonly database: Database,
    /** Of ended deployments, deleted jobs, terminated instances, settled launches, revoked and expired tokens. */
    private readonly days: number,
    private readonly eventsDays = days,
  ) {}

  async run(): Promise<Deleted> {
    return {
      orders: await this.deleteAll('retain-orders', ORDERS, [ORDERS_KEPT_DAYS]),
      deployments: await this.deleteAll('retain-deployments', DEPLOYMENTS, [this.days, DEPLOYMENTS_KEPT]),
      attempts: await this.deleteAll('retain-attempts', ATTEMPTS, [this.days, ATTEMPTS_KEPT]),
      jobs: await this.deleteAll('retain-jobs', JOBS, [this.days]),
      // Instances before launches, for they refer to them; both after the attempts whose assignments refer to instances.
      instances: await this.deleteAll('retain-instances', INSTANCES, [this.days]),
      launches: await this.deleteAll('retain-launches', LAUNCHES, [this.days]),
      answers: await this.deleteAll('retain-answers', ANSWERS, [ANSWERS_KEPT_DAYS]),
      tokens: await this.deleteAll('retain-tokens', TOKENS, [this.days]),
      rateLimits: await this.deleteAll('retain-rate-limits', RATE_LIMITS, [RATE_LIMITS_KEPT_DAYS]),
      // After the deployments that referred to them.
      secrets: await this.deleteAll('retain-secrets', SECRETS, []),
      events: await this.deleteAll('retain-events', EVENTS, [this.eventsDays]),
      deliveries: await this.deleteAll('retain-deliveries', DELIVERIES, [DELIVERIES_KEPT_DAYS]),
    };
  }

  private async deleteAll(name: string, sql: string, values: readonly number[]): Promise<number> {
    let total = 0;
    for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
      const deleted = await this.database.transaction((transaction) => deleteBatch(transaction, name, sql, values));
      total += deleted;
      if (deleted < BATCH) break;
    }
    return total;
  }
}

async function deleteBatch(
  transaction: Queryable,
  name: string,
  sql: string,
  values: readonly number[],
): Promise<number> {
  const [lock] = await transaction.query<{ held: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS held', [LOCK]);
  if (!lock?.held) return 0;
  return (await transaction.prepared(name, sql, [BATCH, ...values])).length;
}

const ORDERS = `
  DELETE FROM orders WHERE (instance_id, number) IN (
    SELECT o.instance_id, o.number FROM attempts a JOIN orders o ON o.attempt_id = a.id
    WHERE a.phase = 'ended' AND a.ended_at < clock_timestamp() - make_interval(days => $2)
    UNION ALL
    -- A container that crashes once in a while makes two orders each time, for as long as its attempt serves. The latest
    -- of each kind stays: the planner goes on from it, and numbers go up from the highest.
    SELECT o.instance_id, o.number FROM orders o
    WHERE o.purpose IN ('wait', 'inspect-container') AND o.answered_at < clock_timestamp() - make_interval(days => $2)
      AND o.number < (SELECT max(number) FROM orders x WHERE x.attempt_id = o.attempt_id AND x.purpose = o.purpose)
    LIMIT $1
  )
  RETURNING 1`;

// Of an attempt `a`. The fleet finds what it is to end by its attempt: without that, nobody would ever end it.
const HAS_INSTANCE = `EXISTS (
  SELECT 1 FROM assignments s JOIN instances i ON i.id = s.instance_id
  WHERE s.attempt_id = a.id AND i.terminated_at IS NULL)`;

// Its job's row is locked first, as always: a rollback that is just copying it must not lose it half way.
const DEPLOYMENTS = `
  WITH old AS (
    SELECT d.id, d.job_id FROM deployments d JOIN jobs j ON j.id = d.job_id
    WHERE d.ended_at < clock_timestamp() - make_interval(days => $2) AND d.number <= j.deployment_count - $3
      AND NOT EXISTS (
        SELECT 1 FROM attempts a WHERE a.deployment_id = d.id AND (a.phase <> 'ended' OR ${HAS_INSTANCE}))
    LIMIT $1
  ), locked AS (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM old) ORDER BY id FOR NO KEY UPDATE
  )
  DELETE FROM deployments WHERE id IN (SELECT old.id FROM old JOIN locked ON locked.id = old.job_id)
  RETURNING 1`;

const ATTEMPTS = `
  WITH old AS (
    SELECT a.id, a.job_id FROM attempts a
    WHERE a.phase = 'ended' AND a.ended_at < clock_timestamp() - make_interval(days => $2)
      AND a.number <= (SELECT max(number) FROM attempts x WHERE x.deployment_id = a.deployment_id) - $3
      AND NOT ${HAS_INSTANCE}
    LIMIT $1
  ), locked AS (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM old) ORDER BY id FOR NO KEY UPDATE
  )
  DELETE FROM attempts WHERE id IN (SELECT old.id FROM old JOIN locked ON locked.id = old.job_id)
  RETURNING 1`;

const JOBS = `
  DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE deleted_at < clock_timestamp() - make_interval(days => $2)
      -- Its rows are all that tells of objects with what it printed: those go first.
      AND NOT EXISTS (SELECT 1 FROM job_logs l WHERE l.job_id = jobs.id)
    ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const INSTANCES = `
  DELETE FROM instances WHERE id IN (
    SELECT i.id FROM instances i
    WHERE i.terminated_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM assignments s WHERE s.instance_id = i.id)
    ORDER BY i.id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const LAUNCHES = `
  DELETE FROM launches WHERE id IN (
    SELECT l.id FROM launches l
    WHERE l.settled_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.launch_id = l.id)
    ORDER BY l.id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const ANSWERS = `
  DELETE FROM idempotency_keys WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY created_at LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const TOKENS = `
  DELETE FROM tokens WHERE id IN (
    SELECT id FROM tokens
    WHERE LEAST(revoked_at, expires_at) < clock_timestamp() - make_interval(days => $2)
    ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const RATE_LIMITS = `
  DELETE FROM rate_limits WHERE caller IN (
    SELECT caller FROM rate_limits
    WHERE updated_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY caller LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

// A reference to a version is only ever copied from another one, under the lock of its job's row: what nothing refers to
// now nothing will refer to.
const SECRETS = `
  DELETE FROM job_secrets WHERE (job_id, version) IN (
    SELECT s.job_id, s.version FROM job_secrets s JOIN jobs j ON j.id = s.job_id
    WHERE j.deleted_at IS NOT NULL OR (
      s.version IS DISTINCT FROM j.secrets_version
      AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.job_id = s.job_id AND d.secrets_version = s.version)
    )
    LIMIT $1
  )
  RETURNING 1`;

// From the first position on and without leaving one out, so that one number says what is gone: a long transaction may
// have written an older event at a later position.
const EVENTS = `
  WITH first AS (
    SELECT id, position, at < clock_timestamp() - make_interval(days => $2) AS is_old
    FROM events WHERE position IS NOT NULL ORDER BY position LIMIT $1
  ), deleted AS (
    DELETE FROM events WHERE id IN (
      SELECT id FROM first
      WHERE is_old AND NOT EXISTS (SELECT FROM first young WHERE NOT young.is_old AND young.position < first.position)
    )
    RETURNING position
  ), noted AS (
    UPDATE event_positions SET deleted_through = (SELECT max(position) FROM deleted) WHERE EXISTS (SELECT FROM deleted)
  )
  SELECT 1 FROM deleted`;

// The queue gives a delivery up after some days, or forgets it after two weeks without any of us.
const DELIVERIES = `
  DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries
    WHERE created_at < clock_timestamp() - make_interval(days => $2)
      AND (status <> 'pending' OR created_at < clock_timestamp() - interval '15 days')
    ORDER BY created_at LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;
