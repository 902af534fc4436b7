import type { ClientBase } from 'pg';
import { DataSource } from 'typeorm';
import { OrderStream } from '../agent/order-stream.entity.js';
import { Order } from '../agent/order.entity.js';
import { RateLimit } from '../auth/rate-limit.entity.js';
import { Token } from '../auth/token.entity.js';
import { Attempt } from '../deployments/attempt.entity.js';
import { Deployment } from '../deployments/deployment.entity.js';
import { EventPositions } from '../events/event-positions.entity.js';
import { Event } from '../events/event.entity.js';
import { Assignment } from '../fleet/assignment.entity.js';
import { Instance } from '../fleet/instance.entity.js';
import { Launch } from '../fleet/launch.entity.js';
import { Owner } from '../ownership/owner.entity.js';
import { Shape } from '../fleet/shape.entity.js';
import { IdempotencyKey } from '../api/idempotency-key.entity.js';
import { Job } from '../jobs/job.entity.js';
import { Route } from '../jobs/route.entity.js';
import { AttemptLog } from '../logs/attempt-log.entity.js';
import { JobLog } from '../logs/job-log.entity.js';
import { LogChunk } from '../logs/log-chunk.entity.js';
import { Registry } from '../registries/registry.entity.js';
import { JobSecrets } from '../jobs/job-secrets.entity.js';
import { Snapshot } from '../snapshots/snapshot.entity.js';
import { WebhookCursor } from '../webhooks/webhook-cursor.entity.js';
import { WebhookDelivery } from '../webhooks/webhook-delivery.entity.js';
import { Webhook } from '../webhooks/webhook.entity.js';
import { MIGRATIONS } from './migrations/index.js';

/** The hyphen makes quotes necessary in SQL: hence connections have it in their search_path. */
export const SCHEMA = 'scheduler-jobs';

export type DataSourceOptions = {
  url: string;
  /** Connections of this process. */
  poolSize?: number;
  applicationName?: string;
};

export function createDataSource({
  url,
  poolSize = 10,
  applicationName = 'scheduler-api',
}: DataSourceOptions): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    schema: SCHEMA,
    entities: [
      Job,
      Route,
      Deployment,
      Attempt,
      Shape,
      Launch,
      Instance,
      Assignment,
      Order,
      OrderStream,
      Owner,
      Token,
      RateLimit,
      IdempotencyKey,
      JobSecrets,
      Registry,
      Event,
      EventPositions,
      JobLog,
      AttemptLog,
      LogChunk,
      Webhook,
      WebhookDelivery,
      WebhookCursor,
      Snapshot,
    ],
    migrations: MIGRATIONS,
    migrationsTableName: 'migrations',
    // Each migration commits by itself: a later CREATE INDEX CONCURRENTLY cannot run inside a transaction.
    migrationsTransactionMode: 'each',
    synchronize: false,
    poolSize,
    applicationName,
    connectTimeoutMS: 5_000,
    extra: {
      options: `-c search_path="${SCHEMA}"`,
      // A statement that hangs longer than this holds locks others wait for.
      statement_timeout: 30_000,
      // Above the server's own limit: this one is for a network that died silently.
      query_timeout: 35_000,
      idle_in_transaction_session_timeout: 30_000,
      keepAlive: true,
      // The pool listens to idle connections only, and who is given one a moment later: an error in between, in one piece
      // with the end of the connection's start, would end the process. The next statement fails of it.
      onConnect: (client: ClientBase) => void client.on('error', () => undefined),
    },
  });
}
