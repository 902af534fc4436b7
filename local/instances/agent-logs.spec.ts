import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentsHere, type AgentUnderTest } from './testing/agents-under-test.ts';
import { startFakeMetadata } from './testing/fake-metadata.ts';
import { FakeScheduler } from './testing/fake-scheduler.ts';
import { median } from '../../test/support/median.ts';

// How log lines leave an instance: the script on a real one, and what simulates it.

const OVERLAP = 2_000_000_000n;
let lastAddress = 1;

describe.each(agentsHere())('logs of %s', (_name, create) => {
  let api: FakeScheduler;
  let metadata: Awaited<ReturnType<typeof startFakeMetadata>>;
  let agent: AgentUnderTest;

  beforeEach(async () => {
    api = await new FakeScheduler().open();
    metadata = await startFakeMetadata();
    const address = `127.79.0.${++lastAddress}`;
    agent = await create({ apiUrl: api.url, metadataEndpoint: metadata.endpoint, address });
    await agent.start();
  });
  afterEach(async () => {
    await agent.remove();
    await metadata.close();
    await api.close();
  });

  const runs = async (image: string, env: string[] = [], HostConfig: object = {}) => {
    const [name = '', tag = ''] = image.split(':');
    api.docker('POST', `/images/create?fromImage=${encodeURIComponent(name)}&tag=${tag}`);
    api.docker('POST', '/containers/create?name=job', { body: { Image: image, Env: env, HostConfig } });
    await api.result(api.docker('POST', '/containers/job/start'));
  };
  const stop = () => api.result(api.docker('POST', '/containers/job/stop?t=1', { 'Order-Timeout': '20' }));
  const ship = (follow: 'yes' | 'no', headers = {}) =>
    api.order({ 'Order-Kind': 'logs', 'Order-Mode': 'background', 'Logs-Follow': follow, ...headers });
  const flushed = () => api.result(ship('no'));
  const count = () => api.logs.lines.length;
  const has = (text: string) => api.logs.texts().includes(text);
  /** 1, 2, 3 … without a gap, each once, and at the end what the container says when it is stopped. */
  const isWhole = () => {
    const lines = api.logs.lines.map(({ text }) => text);
    expect(lines.slice(1, -1)).toEqual(lines.slice(1, -1).map((_, index) => `line ${index + 1}`));
    expect([lines[0], lines.at(-1)]).toEqual(['listening', 'bye']);
    return lines.length - 2;
  };

  it('sends a line within a second of its printing, while the container goes on', async () => {
    await runs('sim/print:4');
    ship('yes');
    await api.until(() => count() >= 12);
    const late = api.logs.lines.slice(3).map(({ time, seenMs }) => seenMs - Date.parse(time));
    // Each line is a handful of processes: on a machine that has others one of them may take longer.
    expect(median(late)).toBeLessThan(1000);
    expect(api.logs.segments).toEqual([]);
  });

  it('sends everything to the last line when it is told to, and says when that is stored', async () => {
    await runs('sim/print:100');
    ship('yes');
    await api.until(() => has('line 50'));
    await stop();
    expect((await flushed()).headers['result-status']).toBe('200');
    expect(isWhole()).toBeGreaterThanOrEqual(50);
  });

  it('asks only for what is new after what was acknowledged', async () => {
    await runs('sim/print:100');
    ship('yes');
    await api.until(() => has('line 10'));
    await stop();
    await api.until(() => api.logs.segments.length === 1);
    await flushed();
    const since = agent.engineCalls.flatMap(({ path }) => /logs\?.*since=([\d.]+)/.exec(path)?.[1] ?? []);
    expect(since[0]).toBe('0');
    const [last] = api.logs.lines.slice(-1);
    const lastNs = BigInt(Date.parse(last!.time)) * 1_000_000n;
    const flushedFrom = BigInt(since.at(-1)!.replace('.', ''));
    expect(lastNs - flushedFrom).toBeLessThan(OVERLAP + 1_000_000n);
    expect(flushedFrom).toBeGreaterThan(0n);
  });

  it('loses and doubles nothing when the API refuses, hangs up in the middle and comes back', async () => {
    await runs('sim/print:200');
    api.logs.trouble.push({ status: 503 }, { hangUpAfterBytes: 2_000 }, { status: 500 }, { hangUpAfterBytes: 30_000 });
    ship('yes');
    await api.until(() => api.logs.trouble.length === 0 && has('line 1000'));
    await stop();
    await flushed();
    expect(isWhole()).toBeGreaterThanOrEqual(1000);
  });

  it('asks Docker again at once when the API cannot be reached, though nothing more is printed', async () => {
    const calls = () => agent.engineCalls.filter(({ path }) => path.includes('/logs')).length;
    const away = Promise.withResolvers<undefined>();
    const stream = async function* () {
      await away.promise;
      yield burst('0').subarray(0, 400);
      await new Promise(() => undefined);
    };
    agent.engine.intercept = ({ pathname }) =>
      pathname.endsWith('/logs') ? { status: 200, body: Buffer.alloc(0), stream: stream() } : undefined;
    ship('yes');
    while (calls() < 1) await sleep(20);
    await api.close();
    away.resolve(undefined);
    const refusedAt = Date.now();
    while (calls() < 2) await sleep(20);
    expect(Date.now() - refusedAt).toBeLessThan(10_000);
  });

  it('goes on where it was after a kill', async () => {
    await runs('sim/print:100');
    ship('yes');
    for (let lines = 50; lines <= 200; lines += 75) {
      await api.until(() => count() >= lines);
      await agent.kill();
      await sleep(200);
      await agent.start();
    }
    await api.until(() => has('line 300'));
    await stop();
    await flushed();
    expect(isWhole()).toBeGreaterThanOrEqual(300);
  });

  it('cuts a long answer into segments, and is not done before the last one', async () => {
    agent.engine.intercept = ({ pathname, searchParams }) =>
      pathname.endsWith('/logs') ? { status: 200, body: burst(searchParams.get('since') ?? '') } : undefined;
    expect((await flushed()).headers['result-status']).toBe('200');
    expect(api.logs.texts()).toEqual(Array.from({ length: BURST }, (_, index) => `burst ${index + 1}`));
    expect(api.logs.segments.length).toBeGreaterThan(1);
    expect(Math.max(...api.logs.segments.map(({ bytes }) => bytes))).toBeLessThanOrEqual(8 * 1_048_576);
  });

  it('asks nothing of the API while Docker has nothing to send', async () => {
    agent.engine.intercept = ({ pathname }) =>
      pathname.endsWith('/logs') ? { status: 200, body: Buffer.alloc(0) } : undefined;
    api.logs.trouble.push({ status: 503 });
    ship('yes');
    expect((await flushed()).headers['result-status']).toBe('200');
    expect(api.logs.trouble).toHaveLength(1);
  });

  it('follows a container that Docker starts again', async () => {
    // From the beginning: after it has exited it would be too late, and this machine may be slow.
    const RestartPolicy = { Name: 'unless-stopped' };
    await runs('sim/print:100', ['EXIT_AFTER=0.5', 'EXIT_CODE=3'], { RestartPolicy });
    ship('yes');
    await api.until(() => api.logs.texts().filter((text) => text === 'sim: exit 3').length >= 2);
    await stop();
    await flushed();
    // Whether it ran or was about to be started again when it was stopped.
    const printed = await api.result(api.docker('GET', '/containers/job/logs?stdout=1&stderr=1&tail=1'));
    expect(api.logs.texts().at(-1)).toMatch(/^(bye|sim: exit 3)$/);
    expect(printed.body).toContain(api.logs.texts().at(-1));
  });

  it.each([404, 409, 410])('gives an order up when the API answers %i', async (status) => {
    await runs('sim/print:50');
    api.logs.trouble.push({ status });
    const given = ship('yes');
    await api.until(() => api.logs.trouble.length === 0);
    const calls = () => agent.engineCalls.filter(({ path }) => path.includes('/logs')).length;
    await api.result(api.docker('GET', '/images/none/json'));
    const before = calls();
    await sleep(2_500);
    expect(calls()).toBe(before);
    expect([api.logs.segments, api.results(given)]).toEqual([[], []]);
  });

  it('tells that the container is gone', async () => {
    const result = await api.result(ship('no'));
    expect([result.headers['result-status'], result.body]).toEqual(['404', '']);
    expect((await api.result(ship('yes'))).headers['result-status']).toBe('404');
  });

  it('gives a flush up in time when the API stores nothing', async () => {
    await runs('sim/print:50');
    api.logs.trouble.push(...Array.from({ length: 20 }, () => ({ status: 503 })));
    const result = await api.result(ship('no', { 'Order-Timeout': '2' }));
    expect([result.headers['result-status'], result.headers['result-error']]).toEqual(['0', 'curl 28']);
  });

  it('refuses an order that makes no sense', async () => {
    const result = await api.result(ship('no', { 'Order-Timeout': '1;reboot' }));
    expect([result.headers['result-status'], result.body]).toEqual(['0', 'malformed Order-Timeout\n']);
  });
});

const BURST = 30_000;

/** Lines a millisecond apart, 12 MB with their frames. */
function burst(since: string): Buffer {
  const [seconds = '0', fraction = '0'] = since.split('.');
  const fromMs = Number(seconds) * 1000 + Number(fraction.slice(0, 3));
  const frames = Array.from({ length: BURST }, (_, index) => {
    const at = new Date(1_700_000_000_000 + index);
    if (at.getTime() < fromMs) return Buffer.alloc(0);
    const payload = Buffer.from(`${at.toISOString().slice(0, -1)}000000Z burst ${index + 1}${' '.repeat(350)}\n`);
    const header = Buffer.alloc(8);
    header[0] = 1;
    header.writeUInt32BE(payload.length, 4);
    return Buffer.concat([header, payload]);
  });
  return Buffer.concat(frames);
}
