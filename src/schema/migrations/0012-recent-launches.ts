import type { MigrationInterface, QueryRunner } from 'typeorm';

/** For the queries of every fleet pass: what became of a shape's latest launches, and how many all shapes had. */
export class RecentLaunches1800000000012 implements MigrationInterface {
  name = 'RecentLaunches1800000000012';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`CREATE INDEX launches_of_shape ON launches (shape_key, created_at)`);
    await queryRunner.query(`CREATE INDEX launches_of_time ON launches (created_at)`);
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
