import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Adoption1800000000002 implements MigrationInterface {
  name = 'Adoption1800000000002';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE instances ADD COLUMN launch_tag text;
      ALTER TABLE instances ADD COLUMN orders_after integer NOT NULL DEFAULT 0;

      ALTER TABLE deployments ADD COLUMN adopts text;
      ALTER TABLE deployments DROP CONSTRAINT deployments_trigger;
      ALTER TABLE deployments ADD CONSTRAINT deployments_trigger
        CHECK (trigger IN ('api', 'rollback', 'restart', 'start', 'schedule', 'adopt'));
      CREATE UNIQUE INDEX deployments_adopts ON deployments (adopts)
        WHERE adopts IS NOT NULL AND status IN ('queued', 'deploying', 'active', 'draining');
    `);
  }

  async down(): Promise<void> {
    return Promise.reject(new Error('migrations are forward only'));
  }
}
