import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Secrets of jobs, in versions that deployments refer to; credentials of private registries. */
export class Secrets1800000000004 implements MigrationInterface {
  name = 'Secrets1800000000004';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE job_secrets (
        job_id uuid NOT NULL,
        version integer NOT NULL,
        sealed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT job_secrets_pkey PRIMARY KEY (job_id, version),
        CONSTRAINT job_secrets_job FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
      );

      CREATE TABLE registries (
        host text NOT NULL,
        username text NOT NULL,
        sealed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT registries_pkey PRIMARY KEY (host)
      );

      ALTER TABLE jobs
        ADD COLUMN secrets_count integer NOT NULL DEFAULT 0,
        ADD COLUMN secrets_version integer,
        ADD COLUMN secret_names text[] NOT NULL DEFAULT '{}';

      ALTER TABLE deployments
        ADD COLUMN secrets_version integer,
        ADD COLUMN secret_names text[] NOT NULL DEFAULT '{}';
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
