import { afterEach, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import { Heartbeats } from '../process/heartbeats.js';
import { LogLoopsService } from './log-loops.service.js';
import { type DroppedLogs, LogRetention } from './log-retention.js';
import { type Sealed, Sealer } from './sealer.js';

afterEach(() => {
  Logger.overrideLogger(true);
});

it('tells once each time that lines cannot be sealed, and once that they are again; the health page tells it meanwhile', async () => {
  const logged: string[] = [];
  const note = ({ message }: { message: string }): void => void logged.push(message);
  Logger.overrideLogger({ log: note, error: note, warn: note });
  const refused: Sealed = { sealed: 0, failed: 1, error: new Error('AccessDenied'), pauseMs: 0 };
  const sealed: Sealed = { sealed: 1, failed: 0, pauseMs: 0 };
  const heartbeats = new Heartbeats();
  const sealer = new ScriptedSealer(
    [refused, refused, { ...refused, error: new Error('SlowDown') }, sealed, sealed, refused, sealed],
    heartbeats,
  );
  const keeper = new LogLoopsService(sealer, new IdleRetention(), heartbeats, 'all');
  keeper.onApplicationBootstrap();
  await sealer.isDone.promise;
  await keeper.onApplicationShutdown();

  const [ill, well] = ['logs could not be sealed', 'logs are sealed again'];
  expect(logged).toEqual([ill, well, ill, well]);
  const trouble = (error: string) => ({ 'log-store': `log lines stay in the database: Error: ${error}` });
  expect(sealer.troubles).toEqual([
    {},
    trouble('AccessDenied'),
    trouble('AccessDenied'),
    trouble('SlowDown'),
    {},
    {},
    trouble('AccessDenied'),
    {},
  ]);
});

it('goes on telling of the trouble while nothing is sealed, until the process ends', async () => {
  Logger.overrideLogger(false);
  const refused: Sealed = { sealed: 0, failed: 1, error: new Error('AccessDenied'), pauseMs: 0 };
  const heartbeats = new Heartbeats();
  const sealer = new ScriptedSealer([refused, { sealed: 0, failed: 0, pauseMs: 0 }], heartbeats);
  const keeper = new LogLoopsService(sealer, new IdleRetention(), heartbeats, 'all');
  keeper.onApplicationBootstrap();
  await sealer.isDone.promise;
  const trouble = { 'log-store': 'log lines stay in the database: Error: AccessDenied' };
  expect([...sealer.troubles.slice(1), heartbeats.troubles()]).toEqual([trouble, trouble, trouble]);
  await keeper.onApplicationShutdown();
  expect(heartbeats.troubles()).toEqual({});
});

it('drops lines again at once while there are more, else later; it tells of jobs, and of failures as an alarm', async () => {
  const logged: object[] = [];
  const note = (what: object): void => void logged.push(what);
  Logger.overrideLogger({ log: note, error: note, warn: note });
  const retention = new IdleRetention([
    { jobs: 1, failed: 0, hasMore: true },
    { jobs: 0, failed: 1, error: new Error('AccessDenied'), hasMore: true },
    { jobs: 0, failed: 0, hasMore: false },
    { jobs: 5, failed: 0, hasMore: false },
  ]);
  const heartbeats = new Heartbeats();
  const sealer = new ScriptedSealer([], heartbeats);
  const keeper = new LogLoopsService(sealer, retention, heartbeats, 'all');
  keeper.onApplicationBootstrap();
  while (retention.outcomes.length > 1) await new Promise((done) => setTimeout(done));
  for (let turn = 0; turn < 10; turn += 1) await new Promise((done) => setTimeout(done));
  await keeper.onApplicationShutdown();
  // Nothing runs any more.
  expect(retention.outcomes).toHaveLength(1);
  const failed = { message: 'old log lines could not be dropped', alarm: true, jobs: 1, error: 'Error: AccessDenied' };
  expect(logged).toEqual([{ message: 'old log lines dropped', jobs: 1 }, failed]);
});

it('is no work of a process that only answers requests', async () => {
  const sealer = new ScriptedSealer([], new Heartbeats());
  const keeper = new LogLoopsService(sealer, new IdleRetention(), new Heartbeats(), 'api');
  keeper.onApplicationBootstrap();
  for (let turn = 0; turn < 10; turn += 1) await new Promise((done) => setTimeout(done));
  await keeper.onApplicationShutdown();
  expect(sealer.troubles).toEqual([]);
});

/** Postgres is not queried. */
const DATABASE = undefined as unknown as Database;

class ScriptedSealer extends Sealer {
  readonly isDone = Promise.withResolvers<undefined>();
  /** As the health page showed them before each run. */
  readonly troubles: object[] = [];

  constructor(
    private readonly outcomes: Sealed[],
    private readonly heartbeats: Heartbeats,
  ) {
    super(DATABASE, { put: () => Promise.resolve() });
  }

  override run(): Promise<Sealed> {
    this.troubles.push(this.heartbeats.troubles());
    const next = this.outcomes.shift();
    if (!next) this.isDone.resolve(undefined);
    return Promise.resolve(next ?? { sealed: 0, failed: 0, pauseMs: 60_000 });
  }
}

class IdleRetention extends LogRetention {
  constructor(readonly outcomes: DroppedLogs[] = []) {
    const objects = { list: async function* () {}, delete: () => Promise.resolve() };
    super(DATABASE, objects, { maxBytes: 1, retentionDays: 1 }, 1);
  }

  override run(): Promise<DroppedLogs> {
    return Promise.resolve(this.outcomes.shift() ?? { jobs: 0, failed: 0, hasMore: false });
  }
}
