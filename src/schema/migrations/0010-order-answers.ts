import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The meaning of an order's answer, parsed when it is stored. Older answers have none: the planner parses them. */
export class OrderAnswers1800000000010 implements MigrationInterface {
  name = 'OrderAnswers1800000000010';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`ALTER TABLE orders ADD COLUMN answer jsonb`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
