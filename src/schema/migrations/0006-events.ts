import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What happened and who did it, in the order of positions that committed events get. */
export class Events1800000000006 implements MigrationInterface {
  name = 'Events1800000000006';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE events (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        position bigint,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        type text NOT NULL,
        job_id uuid,
        job text,
        deployment integer,
        attempt integer,
        instance text,
        actor text NOT NULL,
        cause jsonb NOT NULL DEFAULT '{}',
        data jsonb NOT NULL DEFAULT '{}',
        CONSTRAINT events_pkey PRIMARY KEY (id)
      );

      CREATE UNIQUE INDEX events_position ON events (position);

      CREATE INDEX events_unsequenced ON events (id) WHERE position IS NULL;

      CREATE INDEX events_of_job ON events (job, position);

      CREATE TABLE event_positions (
        is_only boolean NOT NULL DEFAULT true,
        last bigint NOT NULL DEFAULT 0,
        deleted_through bigint NOT NULL DEFAULT 0,
        CONSTRAINT event_positions_only CHECK (is_only),
        CONSTRAINT event_positions_pkey PRIMARY KEY (is_only)
      );

      INSERT INTO event_positions DEFAULT VALUES;
    `);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
