import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { settled } from '../../test/support/hand-clock.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { ChangeWaiter } from '../jobs/change-waiter.js';
import { Shutdown } from '../process/shutdown.js';
import type { LogRead, LogReader } from './log-reader.js';
import type { LogWaiter } from './log-waiter.js';
import { LogsService, type OpenLog } from './logs.service.js';

const EVERYTHING = { fromDeployment: 1, toDeployment: null, attempt: null, stream: null, since: null };
const FOLLOWED: OpenLog = {
  ...{ jobId: 'j', filter: EVERYTHING, isFollowed: true, followed: null },
  ...{ lastLine: 0, after: 0, skip: 0 },
};

const SILENT = { on: () => () => undefined, onReconnect: () => undefined } as unknown as Signals;

describe('a log that is followed', () => {
  /** The table of one log, as the reader reads it, and who follows it. */
  function follow() {
    const waiter = new ChangeWaiter(SILENT, new Shutdown());
    const log = { lines: 0, isOver: false, looks: 0 };
    const next = (_jobId: string, after: number): Promise<LogRead> => {
      log.looks += 1;
      const isEmpty = log.lines <= after;
      const batches = Readable.from([{ lines: [{ text: 'a line' }], through: log.lines }]);
      return Promise.resolve({ isEmpty, isOver: log.isOver, batches });
    };
    const logs = new LogsService(
      {} as unknown as Database,
      { next } as unknown as LogReader,
      waiter as unknown as LogWaiter,
    );
    const left = new AbortController();
    const got: number[] = [];
    const done = (async () => {
      for await (const { through } of logs.read(FOLLOWED, left.signal)) got.push(through);
    })();
    const wake = async (): Promise<void> => {
      waiter.wake(['j']);
      await settled(20);
    };
    return { log, got, done, left, wake };
  }

  it('is looked at once for each signal, and each new line is passed on', async () => {
    const { log, got, left, wake, done } = follow();
    await settled(20);
    expect([log.looks, got]).toEqual([1, []]);
    await wake();
    expect([log.looks, got]).toEqual([2, []]);
    log.lines = 3;
    await wake();
    // Once more after the line, for the next one.
    expect([log.looks, got]).toEqual([4, [3]]);
    left.abort();
    await done;
  });

  it('ends when there will be no more lines, and with its client', async () => {
    const over = follow();
    await settled(20);
    over.log.isOver = true;
    await over.wake();
    await over.done;
    expect([over.log.looks, over.got]).toEqual([2, []]);

    const left = follow();
    await settled(20);
    left.left.abort();
    await left.done;
    expect(left.log.looks).toBe(1);
  });
});
