import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createDataSource } from '../../src/schema/data-source.ts';
import { Database } from '../../src/database/database.ts';
import { Signals } from '../../src/database/signals.ts';
import { appendEvents, type NewEvent } from '../../src/events/append-events.ts';
import { Sequencer } from '../../src/events/sequencer.ts';
import { createRandom } from '../../local/cloud/random.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const SEED = Number(process.env['SEED'] ?? 7);

/** What another process has: a pool and signals of its own. */
type Replica = { database: Database; signals: Signals; sequencer: Sequencer; close(): Promise<void> };

describe('the order of events', () => {
  let test: TestDatabase;
  const replicas: Replica[] = [];
  beforeAll(async () => {
    test = await createTestDatabase();
    for (let number = 0; number < 3; number += 1) replicas.push(await startReplica(test.url));
  });
  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.close()));
    await test.close();
  });

  it('is that of commits to every reader: none missed, none twice, while transactions commit out of order', async () => {
    const [first, second, third] = replicas as [Replica, Replica, Replica];
    const writers = 12;
    const transactions = 25;
    const total = writers * transactions * 2;
    const [isWritten, isSequenced] = [new AbortController(), new AbortController()];
    const sequencing = Promise.all(replicas.map((replica) => sequenceWhenTold(replica, isWritten.signal)));
    // One that fails is heard when all is written.
    sequencing.catch(() => undefined);
    const reading = [first, second].map(({ database }) => readUntil(isSequenced.signal, database));
    const random = createRandom(SEED);
    const writing = Array.from({ length: writers }, async (_, writer) => {
      const { database, signals } = [first, second, third][writer % 3]!;
      for (let number = 0; number < transactions; number += 1) {
        await database.transaction(async (transaction) => {
          await appendEvents(transaction, [event(writer, number * 2)]);
          // Its id is drawn, and those drawn meanwhile by others commit first.
          await sleep(random.between(0, 20));
          await appendEvents(transaction, [event(writer, number * 2 + 1)]);
        });
        signals.eventsWritten();
      }
    });
    await Promise.all(writing);
    isWritten.abort();
    await sequencing.finally(() => isSequenced.abort());
    const [seen, alsoSeen] = await Promise.all(reading);

    expect(seen).toEqual(alsoSeen);
    expect(seen!.map(({ position }) => position)).toEqual(Array.from({ length: total }, (_, at) => at + 1));
    // The ids would have lied: that is what this is about.
    expect(seen!.some(({ id }, at) => at > 0 && id < seen![at - 1]!.id)).toBe(true);
    for (let writer = 0; writer < writers; writer += 1) {
      const own = seen!.filter(({ job }) => job === `job-${writer}`).map(({ attempt }) => attempt);
      expect(own).toEqual(Array.from({ length: transactions * 2 }, (_, number) => number));
    }
  }, 60_000);

  it('waits for no transaction that is still open, and gives no position to one that was rolled back', async () => {
    const [{ database, sequencer }] = replicas as [Replica];
    const [before] = await database.query<{ last: number }>('SELECT last::int FROM event_positions');
    let commit: () => void = () => undefined;
    const isAsked = new Promise<void>((done) => (commit = done));
    const isWritten = Promise.withResolvers<undefined>();
    const open = database.transaction(async (transaction) => {
      await appendEvents(transaction, [event(100, 0)]);
      isWritten.resolve(undefined);
      await isAsked;
    });
    await isWritten.promise;
    await database
      .transaction(async (transaction) => {
        await appendEvents(transaction, [event(101, 0)]);
        throw new Error('no');
      })
      .catch(() => undefined);
    await appendEvents(database, [event(102, 0)]);
    expect(await sequencer.run()).toBe(1);
    commit();
    await open;
    expect(await sequencer.hasWork()).toBe(true);
    expect(await sequencer.run()).toBe(1);
    expect(await sequencer.hasWork()).toBe(false);
    const rows = await database.query<{ job: string; position: number }>(
      'SELECT job, position::int FROM events WHERE position > $1 ORDER BY position',
      [before!.last],
    );
    expect(rows).toEqual([
      { job: 'job-102', position: before!.last + 1 },
      { job: 'job-100', position: before!.last + 2 },
    ]);
  });

  it('loses nothing when a sequencer is killed in the middle: the next one goes on', async () => {
    const [{ database, sequencer }] = replicas as [Replica];
    await appendEvents(database, [event(200, 0), event(200, 1)]);
    const killed = database.transaction(async (transaction) => {
      await transaction.query('SELECT 1 FROM event_positions FOR NO KEY UPDATE');
      await transaction.query('UPDATE events SET position = 1000000 + id WHERE position IS NULL');
      const [self] = await transaction.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await test.database.query('SELECT pg_terminate_backend($1)', [self!.pid]);
      await transaction.query('SELECT 1');
    });
    const next = sequencer.run();
    await expect(killed).rejects.toThrow();
    expect(await next).toBe(2);
    const rows = await database.query<{ attempt: number }>(
      `SELECT attempt FROM events WHERE job = 'job-200' AND position < 1000000 ORDER BY position`,
    );
    expect(rows).toEqual([{ attempt: 0 }, { attempt: 1 }]);
  });

  it('goes on in order where there are more than a batch holds', async () => {
    const [{ database, sequencer }] = replicas as [Replica];
    const total = 2_345;
    await appendEvents(
      database,
      Array.from({ length: total }, (_, number) => event(250, number)),
    );
    expect(await sequencer.run()).toBe(total);
    const rows = await database.query<{ attempt: number }>(
      `SELECT attempt FROM events WHERE job = 'job-250' ORDER BY position`,
    );
    expect(rows.map(({ attempt }) => attempt)).toEqual(Array.from({ length: total }, (_, number) => number));
  });

  it('tells every process with the commit of the positions', async () => {
    const [writer, reader] = replicas as [Replica, Replica];
    const isTold = new Promise<void>((done) => reader.signals.on('events', () => done()));
    await appendEvents(writer.database, [event(300, 0)]);
    await writer.sequencer.run();
    await isTold;
  });

  it('survives what Postgres takes into no jsonb', async () => {
    const [{ database }] = replicas as [Replica];
    await appendEvents(database, [{ ...event(400, 0), data: { message: 'a\0b\ud800c' } }]);
    const [row] = await database.query<{ data: object }>(`SELECT data FROM events WHERE job = 'job-400'`);
    expect(row).toEqual({ data: { message: 'a\ufffdb\ufffdc' } });
  });
});

function event(writer: number, number: number): NewEvent {
  return { type: 'attempt.waiting', actor: 'scheduler', job: `job-${writer}`, attempt: number };
}

async function startReplica(url: string): Promise<Replica> {
  const dataSource = createDataSource({ url });
  await dataSource.initialize();
  const database = new Database(dataSource);
  const signals = new Signals(database, url);
  await signals.start();
  return {
    database,
    signals,
    sequencer: new Sequencer(database, signals),
    close: async () => {
      await signals.stop();
      await dataSource.destroy();
    },
  };
}

/** The last run begins after all is written. */
async function sequenceWhenTold({ signals, sequencer }: Replica, isWritten: AbortSignal): Promise<void> {
  let told = Promise.withResolvers<undefined>();
  const tell = (): void => told.resolve(undefined);
  const off = signals.on('new-events', tell);
  isWritten.addEventListener('abort', tell);
  for (let isLast = false; !isLast;) {
    await told.promise;
    told = Promise.withResolvers();
    isLast = isWritten.aborted;
    await sequencer.run();
  }
  off();
}

type Row = { id: number; position: number; job: string; attempt: number };

/** As any reader: what is behind the last position it has seen, until nothing is that could still come. */
async function readUntil(isSequenced: AbortSignal, database: Database): Promise<Row[]> {
  const seen: Row[] = [];
  for (let isLast = false; ;) {
    const rows = await database.query<Row>(
      `SELECT id::int, position::int, job, attempt FROM events WHERE position > $1 ORDER BY position LIMIT 37`,
      [seen.at(-1)?.position ?? 0],
    );
    seen.push(...rows);
    if (rows.length === 0 && isLast) return seen;
    isLast = isSequenced.aborted;
  }
}
