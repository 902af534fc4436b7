import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ConsoleLogger } from '@nestjs/common';
import { withOrigin } from '../process/origin.js';
import { createLogger } from './logger.js';

describe('createLogger', () => {
  const { stdout, stderr } = process;
  const original = { out: stdout.write.bind(stdout), err: stderr.write.bind(stderr), isTTY: stdout.isTTY };
  let written: string[];

  beforeEach(() => {
    written = [];
    const collect = (text: unknown): boolean => written.push(String(text)) > 0;
    stdout.isTTY = false;
    stdout.write = collect;
    stderr.write = collect;
  });

  afterEach(() => {
    stdout.isTTY = original.isTTY;
    stdout.write = original.out;
    stderr.write = original.err;
  });

  const linesOf = (use: (logger: ConsoleLogger) => void, level: 'info' | 'debug' = 'info'): unknown[] => {
    use(createLogger(level));
    return written.map((line) => JSON.parse(line) as unknown);
  };

  it.each([
    ['beside the message', (logger: ConsoleLogger) => logger.log('launched', { count: 2 }, 'Fleet')],
    ['in one object', (logger: ConsoleLogger) => logger.log({ message: 'launched', count: 2 }, 'Fleet')],
  ])('writes one JSON line with details given %s', (_how, use) => {
    expect(linesOf(use)).toEqual([
      expect.objectContaining({ level: 'log', message: 'launched', count: 2, context: 'Fleet' }),
    ]);
  });

  it('names the request that a line belongs to, beside its details', () => {
    const [line, other] = linesOf((logger) => {
      withOrigin({ requestId: 'x', traceparent: '00-trace-span-01' }, () => logger.log('sent', { count: 2 }));
      logger.log('sent', { count: 3 });
    });
    expect(line).toMatchObject({ message: 'sent', requestId: 'x', traceId: 'trace', count: 2 });
    expect(other).toMatchObject({ message: 'sent', count: 3 });
    expect(other).not.toHaveProperty('requestId');
  });

  it('takes only a text for the message of an object', () => {
    const [line] = linesOf((logger) => logger.log({ message: 7, count: 2 }));
    expect(line).toMatchObject({ message: { message: 7, count: 2 } });
  });

  it('writes an error with its cause', () => {
    const [line] = linesOf((logger) =>
      logger.error('failed', { requestId: 'x' }, new Error('a', { cause: new Error('b') })),
    );
    expect(line).toMatchObject({ message: 'failed', requestId: 'x', error: { message: 'a', cause: { message: 'b' } } });
  });

  it('masks what must not be read', () => {
    expect(
      linesOf((logger) => logger.warn('sent', { headers: { authorization: 'S3CRET' }, token: 'S3CRET' })),
    ).toHaveLength(1);
    expect(written.join()).not.toContain('S3CRET');
  });

  it('leaves out what Nest tells of its wiring, unless asked', () => {
    const use = (logger: ConsoleLogger): void => logger.log('Mapped {/v1/jobs, GET} route', 'RouterExplorer');
    expect(linesOf(use)).toEqual([]);
    expect(linesOf(use, 'debug')).toHaveLength(1);
  });
});
