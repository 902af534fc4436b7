import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Addresses of jobs, and the attempts they lead to. */
export class Routes1800000000016 implements MigrationInterface {
  name = 'Routes1800000000016';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE routes (
        host text NOT NULL,
        job_id uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        removed_at timestamptz,
        CONSTRAINT routes_pkey PRIMARY KEY (host),
        CONSTRAINT routes_job FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
      );
      CREATE INDEX routes_of_job ON routes (job_id);
      ALTER TABLE attempts ADD COLUMN unrouting_at timestamptz, ADD COLUMN routed_port integer,
        ADD COLUMN unrouted_at timestamptz;
      CREATE INDEX instances_private_ip ON instances (private_ip);
      ALTER TABLE attempts DROP CONSTRAINT attempts_phase;
      ALTER TABLE attempts ADD CONSTRAINT attempts_phase CHECK
        (phase IN ('waiting', 'assigned', 'pulling', 'starting', 'healthy', 'unrouting', 'stopping', 'ended'))`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
