import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { request } from 'node:http';
import { Gate } from './gate.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import { SimulatedRegistry } from './simulated-images.ts';

type Answer = { status: number; body: Buffer; json: Record<string, unknown> };

describe('SimulatedEngine', () => {
  const address = '127.78.0.1';
  let engine: SimulatedEngine;
  let gate: Gate;
  let reports: string[];

  beforeEach(() => {
    gate = new Gate();
    reports = [];
    engine = new SimulatedEngine({ address, gate, report: (text) => reports.push(text) });
  });
  afterEach(() => engine.halt());

  const call = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const bytes = Buffer.from(body === undefined ? '' : JSON.stringify(body));
    const answer = await engine.handle({ method, path, body: bytes, signal: new AbortController().signal });
    const text = answer.body.toString();
    return {
      ...answer,
      json: text.startsWith('{') && !text.includes('\n{') ? (JSON.parse(text) as Answer['json']) : {},
    };
  };
  const pull = (name: string, tag: string) =>
    call('POST', `/images/create?fromImage=${encodeURIComponent(name)}&tag=${tag}`);
  const create = (image: string, port = 0, env: string[] = []) => {
    const bindings = port === 0 ? {} : { '8080/tcp': [{ HostIp: '', HostPort: String(port) }] };
    return call('POST', '/containers/create?name=job', {
      Image: image,
      Env: env,
      HostConfig: { PortBindings: bindings },
    });
  };
  const wait = (condition: string) => call('POST', `/containers/job/wait?condition=${condition}`);
  const state = async () => (await call('GET', '/containers/job/json')).json.State as Record<string, unknown>;
  const get = (port: number, path = '/') =>
    new Promise<number>((resolve, reject) => {
      request({ host: address, port, path, agent: false }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0));
      })
        .on('error', reject)
        .end();
    });

  it('runs a container from pull to removal with the statuses of Docker', async () => {
    expect((await create('nginx')).status).toBe(404);
    expect((await pull('nginx', 'latest')).status).toBe(200);
    expect((await call('GET', '/images/nginx:latest/json')).json.RepoDigests).toEqual([
      expect.stringMatching(/^nginx@sha256:[0-9a-f]{64}$/),
    ]);
    expect((await create('nginx', 28_081)).status).toBe(201);
    expect((await create('nginx')).status).toBe(409);
    expect((await state()).Status).toBe('created');
    expect((await call('POST', '/containers/job/start')).status).toBe(204);
    expect((await call('POST', '/containers/job/start')).status).toBe(304);
    expect([await get(28_081), await get(28_081, '/fail')]).toEqual([200, 500]);
    expect((await call('DELETE', '/containers/job')).status).toBe(409);
    const ended = wait('next-exit');
    expect((await call('POST', '/containers/job/stop?t=1')).status).toBe(204);
    expect((await ended).json).toEqual({ StatusCode: 0 });
    expect((await call('POST', '/containers/job/stop?t=1')).status).toBe(304);
    await expect(get(28_081)).rejects.toThrow('ECONNREFUSED');
    expect((await call('DELETE', '/containers/job?force=1')).status).toBe(204);
    expect((await call('GET', '/containers/job/json')).json).toEqual({ message: 'No such container: job' });
  });

  it('fails to pull sim/missing', async () => {
    const { status, json } = await pull('sim/missing', 'latest');
    expect([status, json.message]).toEqual([404, expect.stringContaining('manifest unknown')]);
  });

  it('ends sim/exit at once, with its log as frames', async () => {
    await pull('sim/exit', '3');
    await create('sim/exit:3');
    const ended = wait('next-exit');
    await call('POST', '/containers/job/start');
    expect((await ended).json).toEqual({ StatusCode: 3 });
    expect((await wait('not-running')).json).toEqual({ StatusCode: 3 });
    const { body } = await call('GET', '/containers/job/logs?stdout=1&stderr=1&timestamps=1&tail=1');
    expect([...body.subarray(0, 4)]).toEqual([2, 0, 0, 0]);
    expect(body.readUInt32BE(4)).toBe(body.length - 8);
    expect(body.subarray(8).toString()).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z sim: exit 3\n$/);
  });

  it('behaves by digest as it did by tag', async () => {
    await pull('sim/exit', '7');
    const { json } = await call('GET', '/images/sim/exit:7/json');
    const [reference = ''] = json.RepoDigests as string[];
    const other = new SimulatedEngine({ address, gate, report: () => undefined });
    engine = other;
    await pull('sim/exit', encodeURIComponent(reference.split('@')[1] ?? ''));
    await create(reference);
    const ended = wait('next-exit');
    await call('POST', '/containers/job/start');
    expect((await ended).json).toEqual({ StatusCode: 7 });
  });

  it('restarts what its policy restarts, after an exit and with the machine', async () => {
    await pull('sim/exit', '1');
    await create('sim/exit:1');
    const first = wait('next-exit');
    await call('POST', '/containers/job/start');
    await first;
    await call('POST', '/containers/job/update', { RestartPolicy: { Name: 'unless-stopped' } });
    const second = wait('next-exit');
    await call('POST', '/containers/job/start');
    await second;
    await wait('next-exit');
    expect((await call('GET', '/containers/job/json')).json.RestartCount).toBe(1);
    await call('POST', '/containers/job/stop?t=1');
    await engine.boot();
    expect((await state()).Running).toBe(false);
    await call('POST', '/containers/job/start');
    await engine.halt();
    expect(await state()).toMatchObject({ Running: false, ExitCode: 137 });
    await engine.boot();
    expect((await state()).Running).toBe(true);
    await call('DELETE', '/containers/job?force=1');
  });

  it('tells when a port is taken', async () => {
    const other = new SimulatedEngine({ address, gate, report: () => undefined });
    await pull('nginx', '1');
    await create('nginx:1', 28_082);
    await call('POST', '/containers/job/start');
    const first = engine;
    engine = other;
    await pull('nginx', '1');
    await create('nginx:1', 28_082);
    const { status, json } = await call('POST', '/containers/job/start');
    expect([status, json.message]).toEqual([500, expect.stringContaining('port is already allocated')]);
    await first.halt();
  });

  it('answers nothing while the machine is frozen', async () => {
    await pull('nginx', '1');
    await create('nginx:1', 28_083);
    await call('POST', '/containers/job/start');
    gate.freeze();
    let isAnswered = false;
    const answer = get(28_083).then((status) => {
      isAnswered = true;
      return status;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isAnswered).toBe(false);
    gate.thaw();
    expect(await answer).toBe(200);
  });

  it('starts a container again that the kernel killed for want of memory, as its policy says', async () => {
    await pull('nginx', 'latest');
    await create('nginx', 28_090);
    await call('POST', '/containers/job/start');
    await call('POST', '/containers/job/update', { RestartPolicy: { Name: 'unless-stopped' } });
    const exit = wait('next-exit');
    await engine.exhaustMemory();
    expect((await exit).json).toEqual({ StatusCode: 137 });
    expect(await state()).toMatchObject({ OOMKilled: true, Running: true, Restarting: true });
    while ((await state()).Restarting === true) await new Promise((done) => setTimeout(done, 10));
    expect(await state()).toMatchObject({ OOMKilled: true, Running: true, Restarting: false });
    expect(await get(28_090)).toBe(200);
  });

  it('answers nothing while it is broken, also no call that waits; its container runs on', async () => {
    await pull('nginx', 'latest');
    await create('nginx', 28_091);
    await call('POST', '/containers/job/start');
    const exit = wait('next-exit');
    engine.break();
    await expect(exit).rejects.toThrow('does not answer');
    await expect(state()).rejects.toThrow('does not answer');
    expect(await get(28_091)).toBe(200);
    engine.mend();
    expect((await state()).Running).toBe(true);
  });

  it('pulls what a tag stands for now, and by its digest what the tag stood for', async () => {
    const registry = new SimulatedRegistry();
    const engines = [1, 2].map(() => new SimulatedEngine({ address, gate, report: () => undefined }, registry));
    const ask = async (from: SimulatedEngine | undefined, method: string, path: string) => {
      const signal = new AbortController().signal;
      return (await from?.handle({ method, path, body: Buffer.alloc(0), signal }))?.body.toString() ?? '';
    };
    const digestIn = (text: string) => /sha256:[0-9a-f]{64}/.exec(text.slice(text.indexOf('@')))?.[0] ?? '';
    await ask(engines[0], 'POST', '/images/create?fromImage=web&tag=1');
    registry.moveTag('web:1');
    const old = digestIn(await ask(engines[0], 'GET', '/images/web:1/json'));
    await ask(engines[1], 'POST', '/images/create?fromImage=web&tag=1');
    expect(digestIn(await ask(engines[1], 'GET', '/images/web:1/json'))).not.toBe(old);
    await ask(engines[1], 'POST', `/images/create?fromImage=web&tag=${old}`);
    expect(digestIn(await ask(engines[1], 'GET', `/images/web@${old}/json`))).toBe(old);
  });
});
