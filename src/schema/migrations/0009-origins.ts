import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which request a deployment came from, for log lines and traces. */
export class Origins1800000000009 implements MigrationInterface {
  name = 'Origins1800000000009';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`ALTER TABLE deployments ADD COLUMN origin jsonb`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
