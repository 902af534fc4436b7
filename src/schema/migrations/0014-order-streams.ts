import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Orders whose answer is a stream of Docker's, and its newest lines. */
export class OrderStreams1800000000014 implements MigrationInterface {
  name = 'OrderStreams1800000000014';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE orders DROP CONSTRAINT orders_kind;
      ALTER TABLE orders ADD CONSTRAINT orders_kind
        CHECK (kind IN ('docker', 'probe', 'dead-man', 'shutdown', 'watch-spot', 'logs', 'stream'));
      CREATE TABLE order_streams (
        instance_id text NOT NULL,
        number integer NOT NULL,
        since text NOT NULL,
        content text NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT order_streams_pkey PRIMARY KEY (instance_id, number),
        CONSTRAINT order_streams_order FOREIGN KEY (instance_id, number) REFERENCES orders (instance_id, number) ON DELETE CASCADE
      )`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
