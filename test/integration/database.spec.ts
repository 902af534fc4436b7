import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { hasPendingMigrations, migrate } from '../../src/database/migrate.js';
import { Signals } from '../../src/database/signals.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

describe('the database', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  it('has after the migrations just the schema the entities describe', async () => {
    const { upQueries } = await test.dataSource.driver.createSchemaBuilder().log();
    expect(upQueries.map(({ query }) => query)).toEqual([]);
  });

  it('migrates once, also when several processes start together', async () => {
    expect(await hasPendingMigrations(test.dataSource)).toBe(false);
    const applied = await Promise.all([1, 2, 3].map(() => migrate(test.dataSource)));
    expect(applied).toEqual([[], [], []]);
  });

  it('rolls back everything when the work throws', async () => {
    const failed = test.database.transaction(async (transaction) => {
      await transaction.query(`INSERT INTO shapes (key, spec) VALUES ('k', '{}')`);
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    expect(await test.database.query(`SELECT 1 FROM shapes`)).toEqual([]);
  });

  it('survives a connection that is cut inside a transaction, as a fail-over does', async () => {
    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1`;
    const failed = test.database.transaction(async (transaction) => {
      const [self] = await transaction.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await test.database.query(cut, [self?.pid]);
      await transaction.query('SELECT pg_sleep(5)');
    });
    await expect(failed).rejects.toThrow(/terminat|connection/i);
    expect(await test.database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('signals other processes with keys, and itself without the round trip', async () => {
    const other = new Signals(test.database, test.url);
    await other.start();
    const heard = (signals: Signals) =>
      new Promise<readonly string[]>((done) => {
        const off = signals.on('orders', (keys) => {
          off();
          done(keys);
        });
      });
    const both = Promise.all([heard(test.signals), heard(other)]);
    test.signals.send('orders', ['i-1', 'i-2']);
    expect(await both).toEqual([
      ['i-1', 'i-2'],
      ['i-1', 'i-2'],
    ]);
    await other.stop();
  });

  it('listens again after its connection was cut, and says so', async () => {
    const again = new Promise<void>((done) => test.signals.onReconnect(done));
    await test.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'scheduler-api listen' AND datname = current_database()`,
    );
    await again;
    expect(test.signals.isConnected).toBe(true);
  });
});
