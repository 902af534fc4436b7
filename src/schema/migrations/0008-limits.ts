import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A ceiling of instances for the scope of a token. */
export class Limits1800000000008 implements MigrationInterface {
  name = 'Limits1800000000008';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('ALTER TABLE tokens ADD COLUMN max_instances integer');
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
