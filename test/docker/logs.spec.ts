import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { alive, type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { printedBy } from '../support/printed.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const { engine, isReady, whyNot } = await findHelloEngine();

const BURST = 20_000;
/** More than the 16 KiB at which Docker cuts a line into pieces, less than what is kept of one. */
const LONG = 50_000;
/** Prints a lot at once, then numbers with the time on both streams, and last lines without a newline when it is told to stop. */
const COUNTER = `
  for (let n = 1; n <= ${BURST}; n += 1) console.log('burst ' + n);
  console.log('x'.repeat(${LONG}));
  let n = 0;
  const ticks = setInterval(() => {
    n += 1;
    console.log('out ' + n + ' ' + Date.now());
    console.error('err ' + n + ' ' + Date.now());
  }, 20);
  require('node:http').createServer((request, response) => response.end('{}')).listen(8080);
  process.on('SIGTERM', () => {
    clearInterval(ticks);
    process.stderr.write('x'.repeat(16384));
    process.stdout.write('bye', () => process.exit(0));
  });`;

describeWhen(isReady, whyNot, 'what real containers print', () => {
  let stack: Stack;
  const folder = mkdtempSync(join(tmpdir(), 'logs-'));

  beforeAll(async () => {
    const runtime = createDockerRuntime({ engineSocket: engine?.socket ?? '', folder });
    stack = await startStack({ runtime, cloud: { quotas: 'none' } });
  }, 60_000);
  afterEach(() => remove(stack, 'counter'), 60_000);
  afterAll(async () => {
    await stack.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  /** Numbers of the lines `<word> <number> <time>`, and how late the newest of them is seen. */
  const ticks = async (word: 'out' | 'err') => {
    const lines = (await printedBy(stack, 'counter', { stream: word === 'out' ? 'stdout' : 'stderr' })).filter((text) =>
      text.startsWith(`${word} `),
    );
    const lateMs = Date.now() - Number(lines.at(-1)?.split(' ')[2]);
    return { numbers: lines.map((text) => Number(text.split(' ')[1])), lateMs };
  };
  const hasTicked = (number: number) => until(async () => (await ticks('out')).numbers.includes(number));

  it('is seen within a second, and whole after the instance has gone, over kills of API and agent', async () => {
    await stack.call('POST', '/v1/jobs', {
      name: 'counter',
      image: HELLO_IMAGE,
      ...WEB,
      command: ['node', '-e', COUNTER],
    });
    expect(await settled(stack, 'counter', 1)).toMatchObject({ status: 'active' });
    const { instance } = await stack.call<Job>('GET', '/v1/jobs/counter');
    await hasTicked(100);
    for (let looks = 0; looks < 20; looks += 1) expect((await ticks('out')).lateMs).toBeLessThan(1_000);

    const now = async () => (await ticks('out')).numbers.at(-1) ?? 0;
    await stack.kill(0, 'SIGKILL');
    await stack.restart(0);
    await hasTicked((await now()) + 100);
    await stack.cloud.faults.killAgent(instance?.id ?? '');
    await hasTicked((await now()) + 200);
    await stack.kill(0, 'SIGTERM');
    await stack.restart(0);
    await hasTicked((await now()) + 100);
    await stack.call('POST', '/v1/jobs/counter/stop');
    await until(() => alive(stack).length === 0);

    const counting = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
    const printed = await printedBy(stack, 'counter', { stream: 'stdout' });
    expect(printed.slice(0, BURST)).toEqual(counting(BURST).map((number) => `burst ${number}`));
    expect(printed[BURST]).toBe('x'.repeat(LONG));
    for (const word of ['out', 'err'] as const) {
      const { numbers } = await ticks(word);
      expect(numbers).toEqual(counting(numbers.length));
      expect(numbers.length).toBeGreaterThan(500);
    }
    // Neither has a newline; the other one fills Docker's buffer to its last byte.
    expect(printed.at(-1)).toBe('bye');
    expect((await printedBy(stack, 'counter', { stream: 'stderr' })).at(-1)).toBe('x'.repeat(16_384));
    await stack.call('POST', '/v1/jobs/counter/deployments', {
      image: HELLO_IMAGE,
      command: ['node', '-e', `process.stderr.write('cannot start'); process.exitCode = 3`],
    });
    expect(await settled(stack, 'counter', 2)).toMatchObject({ status: 'failed', exitCode: 3 });
    await until(() => alive(stack).length === 0);
    expect(await printedBy(stack, 'counter', { deployment: '2' })).toEqual(['cannot start']);
    const complete = await stack.query(`SELECT number FROM attempts WHERE logs_complete_at IS NOT NULL`);
    expect(complete).toEqual([{ number: 1 }, { number: 1 }]);
  }, 180_000);
});
