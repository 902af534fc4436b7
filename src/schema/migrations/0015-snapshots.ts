import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Snapshots of the volume with Postgres's data. */
export class Snapshots1800000000015 implements MigrationInterface {
  name = 'Snapshots1800000000015';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE snapshots (
        id uuid NOT NULL,
        volume_id text NOT NULL,
        snapshot_id text,
        state text NOT NULL,
        asked_at timestamptz NOT NULL,
        told_at timestamptz,
        reason text,
        message text,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT snapshots_pkey PRIMARY KEY (id),
        CONSTRAINT snapshots_state CHECK (state IN ('asked', 'pending', 'completed', 'failed', 'deleted'))
      )`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
