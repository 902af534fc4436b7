import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What jobs may name when a token deploys them, and how many webhooks its scope may have. Null: the default holds. */
export class BoundsOfTokens1800000000011 implements MigrationInterface {
  name = 'BoundsOfTokens1800000000011';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('ALTER TABLE tokens ADD COLUMN max_webhooks integer, ADD COLUMN allow jsonb');
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
