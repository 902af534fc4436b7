import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whether the ingress can connect to attempts, before callers are led to them. */
export class Reach1800000000017 implements MigrationInterface {
  name = 'Reach1800000000017';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE attempts ADD COLUMN reach_port integer, ADD COLUMN reach_asked_at timestamptz, ADD COLUMN reached_as text;
      ALTER TABLE attempts ADD CONSTRAINT attempts_reached_as CHECK (reached_as IN ('http', 'silent', 'other', 'nothing'));
      CREATE INDEX attempts_unreached ON attempts (reach_asked_at) WHERE reach_port IS NOT NULL AND reached_as IS NULL`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
