import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { AgentLimits } from './agent-limits.js';
import { type Result, ResultsService } from './results.service.js';

const IMAGE = JSON.stringify({ Id: `sha256:${'a'.repeat(64)}`, RepoDigests: [] });
const CONTAINER = JSON.stringify({ Id: 'c', State: { Running: true, ExitCode: 0 } });

type Order = { purpose: string; isChange?: boolean; isNews?: boolean; isKnown?: boolean; isStored?: boolean };
let order: Order | undefined;
/** What was stored: status, error, state of a probe, body. */
let stored: unknown[][];
let areJobsDue: boolean;
let warnings: string[];
let results: ResultsService;
beforeEach(() => {
  [order, stored, areJobsDue, warnings] = [{ purpose: 'start' }, [], false, []];
  Logger.overrideLogger({ log() {}, error() {}, warn: (message: string) => void warnings.push(message) });
  const run = async ({ name }: { name: string }, values: readonly unknown[]) => {
    await Promise.resolve();
    if (name === 'agent-find-order') return order ? [{ isChange: false, isNews: true, ...order }] : [];
    const { isKnown = true, isStored = true } = order!;
    if (isStored) stored.push([...values.slice(2, 5), Buffer.from(values[5] as Uint8Array).toString()]);
    return [{ isKnown, isStored }];
  };
  const signals = { jobsDue: () => void (areJobsDue = true) } as unknown as Signals;
  results = new ResultsService({ run } as unknown as Database, signals, new AgentLimits(() => 0));
});
afterEach(() => {
  Logger.overrideLogger(true);
});

describe('the result of an order', () => {
  it('is stored, and its job looked after', async () => {
    await results.store(resultOf('gone', { status: 404, error: 'curl 18', probeState: 'healthy' }));
    expect([stored, areJobsDue]).toEqual([[[404, 'curl 18', 'healthy', 'gone']], true]);
  });

  it.each<[string, Order, boolean]>([
    ['that is repeated', { purpose: 'start', isNews: false }, true],
    ['that another one was before', { purpose: 'start', isStored: false }, true],
    ['of an order that is gone meanwhile', { purpose: 'start', isKnown: false, isStored: false }, false],
  ])('%s is not, and wakes nobody', async (_what, found, isAccepted) => {
    order = found;
    const storing = results.store(resultOf('late'));
    await (isAccepted ? storing : expect(storing).rejects.toMatchObject({ code: 'order-not-found' }));
    expect([stored, areJobsDue]).toEqual([[], false]);
  });

  it('of no order is read to its end and refused', async () => {
    order = undefined;
    const result = resultOf('of no order');
    await expect(results.store(result)).rejects.toMatchObject({ code: 'order-not-found' });
    expect(result.body.readableEnded).toBe(true);
  });

  it('of a probe that changes too often is refused for as long as that is too early', async () => {
    for (let change = 0; change < 25; change += 1) await results.store(resultOf('first, no change'));
    order = { purpose: 'probe', isChange: true };
    for (let change = 0; change < 20; change += 1) await results.store(resultOf(`change ${change}`));
    await expect(results.store(resultOf('change 20'))).rejects.toMatchObject({
      code: 'too-many-requests',
      headers: { 'retry-after': '10' },
    });
    expect(stored.at(-1)).toContain('change 19');
    // What is repeated is no change.
    order = { purpose: 'probe', isChange: true, isNews: false };
    await results.store(resultOf('change 19'));
  });

  it.each([
    ['a description of an image', 200, 'inspect-image', IMAGE, false],
    ['one of a container', 200, 'inspect-container', CONTAINER, false],
    ['one that was cut', 200, 'inspect-container', CONTAINER.slice(9), true],
    ['one that is none', 200, 'inspect-image', '', true],
    ['one that Docker refused', 404, 'inspect-container', '{"message":"No such container: job"}', false],
    ['anything else', 200, 'start', 'ok', false],
  ])('is told of where a description is of no use: %s', async (_what, status, purpose, body, isTold) => {
    order = { purpose };
    await results.store(resultOf(body, { status }));
    expect(warnings).toEqual(isTold ? ['description of no use'] : []);
    expect(areJobsDue).toBe(true);
  });
});

function resultOf(body: string, fields: Partial<Result> = {}): Result {
  const whole = Readable.from([Buffer.from(body)]);
  return { instanceId: 'i-1', number: 1, status: 200, error: null, probeState: null, body: whole, ...fields };
}
