import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Tokens, the buckets of their rate limits, and answers kept for Idempotency-Key. */
export class Access1800000000003 implements MigrationInterface {
  name = 'Access1800000000003';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE tokens (
        id text NOT NULL,
        name text NOT NULL,
        hash bytea NOT NULL,
        role text NOT NULL,
        scope text[],
        max_jobs integer,
        requests_per_minute integer,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT tokens_role CHECK (role IN ('viewer', 'deployer', 'admin')),
        CONSTRAINT tokens_pkey PRIMARY KEY (id)
      );

      CREATE TABLE rate_limits (
        caller text NOT NULL,
        available double precision NOT NULL,
        granted integer NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT rate_limits_pkey PRIMARY KEY (caller)
      );

      CREATE TABLE idempotency_keys (
        caller text NOT NULL,
        key text NOT NULL,
        fingerprint bytea NOT NULL,
        answer bytea,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT idempotency_keys_pkey PRIMARY KEY (caller, key)
      );

      CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
