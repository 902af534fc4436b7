import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { whileAway } from '../../src/database/connect.ts';
import { hasPendingMigrations, migrate } from '../../src/schema/migrate.ts';
import { Database } from '../../src/database/database.ts';
import { createDataSource } from '../../src/schema/data-source.ts';
import { Signals } from '../../src/database/signals.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

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

  describe('loses connections while a process starts', () => {
    /** Ends what waits for a lock of ours, or holds one: the connection alone. */
    const cut = async (which: 'waiting' | 'holding') => {
      const backends = `SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted = $1 AND a.datname = current_database()
          AND l.objid = 7246011 AND l.pid <> pg_backend_pid() AND l.pid <> $2`;
      await until(async () => {
        const found = await test.database.query<{ pid: number }>(backends, [which === 'holding', blocker.pid]);
        for (const { pid } of found) await test.database.query('SELECT pg_terminate_backend($1)', [pid]);
        return found.length > 0;
      });
    };
    let blocker: { client: pg.Client; pid: number };
    const warnings: string[] = [];
    beforeEach(async () => {
      const client = new pg.Client({ connectionString: test.url });
      await client.connect();
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      blocker = { client, pid: rows[0]!.pid };
      warnings.length = 0;
    });
    const start = () =>
      whileAway(
        () => migrate(test.dataSource),
        (warning) => warnings.push(warning),
      );

    it('and begins anew', async () => {
      await blocker.client.query('SELECT pg_advisory_lock(7246011)');
      const started = start();
      await cut('waiting');
      await until(() => Promise.resolve(warnings.length > 0));
      await blocker.client.end();
      expect(await started).toEqual([]);
    });

    it('and does not end with the one that held the lock', async () => {
      await blocker.client.query('BEGIN');
      await blocker.client.query(`LOCK TABLE "scheduler-jobs".migrations IN ACCESS EXCLUSIVE MODE`);
      const started = start();
      await cut('holding');
      await blocker.client.end();
      expect(await started).toEqual([]);
    });
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

  it('survives that Postgres ends a connection in the same moment as it is established, as after a pause of ours', async () => {
    const front = await startFront(test.url);
    const dataSource = await createDataSource({ url: front.url }).initialize();
    const database = new Database(dataSource);
    try {
      await database.transaction(async (transaction) => {
        front.endNext();
        await expect(database.transaction(() => Promise.resolve())).rejects.toThrow(/not queryable/);
        await transaction.query('SELECT 1');
      });
      expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      await dataSource.destroy();
      await front.close();
    }
  });

  it('puts all that a unit of work asks for into one transaction, however deep inside', async () => {
    const { database } = test;
    const insert = (key: string) => database.query(`INSERT INTO shapes (key, spec) VALUES ($1, '{}')`, [key]);
    const keys = async () =>
      (await database.query<{ key: string }>('SELECT key FROM shapes ORDER BY key')).map(({ key }) => key);
    const failed = database.unitOfWork(async () => {
      await insert('a');
      await database.transaction((transaction) =>
        transaction.query(`INSERT INTO shapes (key, spec) VALUES ('b', '{}')`),
      );
      expect(await keys()).toEqual(['a', 'b']);
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    expect(await keys()).toEqual([]);

    const told: string[] = [];
    let goOn: () => void = () => undefined;
    let leftRunning: Promise<unknown> | undefined;
    await database.unitOfWork(async () => {
      await insert('c');
      database.afterCommit(() => told.push('committed'));
      leftRunning = new Promise<void>((done) => (goOn = done)).then(() => insert('d'));
      expect(told).toEqual([]);
    });
    expect(told).toEqual(['committed']);
    goOn();
    await leftRunning;
    expect(await keys()).toEqual(['c', 'd']);
    database.afterCommit(() => told.push('at once'));
    expect(told).toEqual(['committed', 'at once']);
    await database.query(`DELETE FROM shapes`);
  });

  it('tells nobody of a change before it is committed, and not at all of one that was not', async () => {
    const heard: string[] = [];
    const off = test.signals.on('orders', (ids) => heard.push(...ids));
    const failed = test.database.unitOfWork(() => {
      test.signals.ordersWritten(['never']);
      return Promise.reject(new Error('no'));
    });
    await expect(failed).rejects.toThrow('no');
    await test.database.unitOfWork(async (transaction) => {
      test.signals.ordersWritten(['later']);
      await transaction.query('SELECT pg_sleep(0.05)');
      expect(heard).toEqual([]);
    });
    await new Promise((done) => setImmediate(done));
    expect(heard).toEqual(['later']);
    off();
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
    test.signals.ordersWritten(['i-1', 'i-2']);
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

  it('asks again once a second, and in one line, while whatever stands before Postgres hangs up on it', async () => {
    const front = await startFront(test.url);
    const signals = new Signals(test.database, front.url);
    await signals.start();
    const again = new Promise<void>((done) => signals.onReconnect(done));

    front.hangUp();
    const times = await front.refused(4);
    front.serve();
    await again;

    const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(Math.min(...pauses)).toBeGreaterThan(900);
    expect([signals.isConnected, front.open()]).toEqual([true, 1]);
    await signals.stop();
    await front.close();
  });
});

/** A proxy in front of Postgres that stays when Postgres is away: it accepts, and hangs up. */
async function startFront(target: string) {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const refusals: number[] = [];
  let isServing = true;
  let isEndingNext = false;
  let onRefusal: () => void = () => undefined;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (!isServing) {
      refusals.push(performance.now());
      socket.destroy();
      return onRefusal();
    }
    const upstream = connect(Number(port), hostname);
    sockets.add(socket);
    socket.once('close', () => void (sockets.delete(socket), upstream.destroy()));
    upstream.on('error', () => undefined).once('close', () => socket.destroy());
    socket.pipe(upstream);
    if (isEndingNext) upstream.on('data', endOnceReady(socket));
    else upstream.pipe(socket);
    isEndingNext = false;
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    open: () => sockets.size,
    serve: () => void (isServing = true),
    /** The next connection is ended in one piece with what says that it is established. */
    endNext: () => void (isEndingNext = true),
    hangUp: () => {
      isServing = false;
      for (const socket of sockets) socket.destroy();
    },
    /** When the first `count` connections were refused. */
    refused: async (count: number) => {
      while (refusals.length < count) await new Promise<void>((done) => (onRefusal = done));
      return refusals.slice(0, count);
    },
    close: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

const READY_FOR_QUERY = Buffer.from('Z\0\0\0\x05I', 'latin1');

/** Passes on what Postgres sends, and with the end of the start its words for a connection that it ends. */
function endOnceReady(socket: Socket): (chunk: Buffer) => void {
  const fields = ['SFATAL', 'VFATAL', 'C57P01', 'Mterminating connection due to administrator command', ''];
  const body = Buffer.from(fields.map((field) => `${field}\0`).join(''));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return (chunk) => {
    if (!chunk.includes(READY_FOR_QUERY)) socket.write(chunk);
    else socket.end(Buffer.concat([chunk, Buffer.from('E'), length, body]));
  };
}
