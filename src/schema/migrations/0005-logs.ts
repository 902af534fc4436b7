import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What containers print: lines in chunks, numbered per job; how far each attempt's lines are stored. */
export class Logs1800000000005 implements MigrationInterface {
  name = 'Logs1800000000005';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE job_logs (
        job_id uuid NOT NULL,
        last_line bigint NOT NULL DEFAULT 0,
        bytes bigint NOT NULL DEFAULT 0,
        recent_bytes bigint NOT NULL DEFAULT 0,
        recent_chunks integer NOT NULL DEFAULT 0,
        recent_since timestamptz,
        sealing_until timestamptz,
        dropping_until timestamptz,
        CONSTRAINT job_logs_pkey PRIMARY KEY (job_id),
        CONSTRAINT job_logs_job FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
      );
      CREATE INDEX job_logs_recent ON job_logs (recent_since) WHERE recent_chunks > 0;

      CREATE TABLE attempt_logs (
        attempt_id uuid NOT NULL,
        job_id uuid NOT NULL,
        deployment integer NOT NULL,
        attempt integer NOT NULL,
        version integer NOT NULL DEFAULT 0,
        stored jsonb NOT NULL DEFAULT '{}',
        CONSTRAINT attempt_logs_pkey PRIMARY KEY (attempt_id),
        CONSTRAINT attempt_logs_attempt FOREIGN KEY (attempt_id) REFERENCES attempts (id) ON DELETE CASCADE,
        CONSTRAINT attempt_logs_job FOREIGN KEY (job_id) REFERENCES job_logs (job_id) ON DELETE CASCADE
      );
      CREATE INDEX attempt_logs_by_job ON attempt_logs (job_id, deployment);

      CREATE TABLE log_chunks (
        job_id uuid NOT NULL,
        last_line bigint NOT NULL,
        first_line bigint NOT NULL,
        bytes integer NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        counts jsonb NOT NULL,
        content bytea,
        stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT log_chunks_pkey PRIMARY KEY (job_id, last_line),
        CONSTRAINT log_chunks_job FOREIGN KEY (job_id) REFERENCES job_logs (job_id) ON DELETE CASCADE
      );
      CREATE INDEX log_chunks_stored ON log_chunks (stored_at);

      ALTER TABLE attempts ADD COLUMN logs_complete_at timestamptz;
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
