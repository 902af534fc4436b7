import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Webhooks, their deliveries, and how far the events have been handed to them. */
export class Webhooks1800000000007 implements MigrationInterface {
  name = 'Webhooks1800000000007';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE webhooks (
        id uuid NOT NULL,
        url text NOT NULL,
        description text NOT NULL,
        events text[] NOT NULL,
        jobs text[],
        is_for_admins boolean NOT NULL,
        enabled boolean NOT NULL DEFAULT true,
        disabled_reason text,
        failing_since timestamptz,
        sealed bytea NOT NULL,
        previous_sealed bytea,
        previous_until timestamptz,
        version integer NOT NULL DEFAULT 1,
        created_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT webhooks_pkey PRIMARY KEY (id)
      );

      CREATE TABLE webhook_deliveries (
        id uuid NOT NULL,
        webhook_id uuid NOT NULL,
        position bigint,
        type text NOT NULL,
        job text,
        body text NOT NULL,
        status text NOT NULL DEFAULT 'pending',
        queued boolean NOT NULL DEFAULT false,
        attempts integer NOT NULL DEFAULT 0,
        fault text,
        answer_status integer,
        latency_ms integer,
        attempted_at timestamptz,
        next_attempt_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        settled_at timestamptz,
        CONSTRAINT webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed', 'cancelled')),
        CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
        CONSTRAINT webhook_deliveries_webhook FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
      );

      CREATE INDEX webhook_deliveries_list ON webhook_deliveries (webhook_id, created_at, id);
      CREATE INDEX webhook_deliveries_unqueued ON webhook_deliveries (created_at) WHERE NOT queued;
      CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);

      CREATE TABLE webhook_cursor (
        id integer NOT NULL,
        position bigint NOT NULL,
        CONSTRAINT webhook_cursor_pkey PRIMARY KEY (id)
      );

      INSERT INTO webhook_cursor (id, position) VALUES (1, 0);
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
