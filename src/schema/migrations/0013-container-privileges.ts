import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Containers had an init and no-new-privileges by default. Existing jobs keep both: they are written into their
 * definitions and into the snapshots that rollback, restart and healing repeat. New jobs are as `docker run` has them.
 */
export class ContainerPrivileges1800000000013 implements MigrationInterface {
  name = 'ContainerPrivileges1800000000013';

  async up(queryRunner: QueryRunner): Promise<void> {
    for (const table of ['jobs', 'deployments']) {
      await queryRunner.query(
        `UPDATE ${table} SET definition = '{"init": true, "noNewPrivileges": true}'::jsonb || definition
         WHERE NOT definition ?& ARRAY['init', 'noNewPrivileges']`,
      );
    }
  }

  async down(): Promise<void> {
    // Forward only: production data is never dropped by a migration.
    return Promise.reject(new Error('migrations are forward only'));
  }
}
