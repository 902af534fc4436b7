import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureAgentKeys } from '../../src/agent-keys/agent-keys.ts';
import { agentsHere, hasCurl, shellAgent, type AgentUnderTest } from './testing/agents-under-test.ts';
import { IDENTITY, startFakeMetadata } from './testing/fake-metadata.ts';
import { FakeScheduler } from './testing/fake-scheduler.ts';

// One protocol, two agents: what the script on a real instance does, the simulated one must do too.

const HEX_TOKEN = /^[0-9a-f]{64}$/;
const CONTAINER = {
  Image: 'hello-web:1',
  Env: ['GREETING=one'],
  HostConfig: { PortBindings: { '8080/tcp': [{ HostIp: '', HostPort: '28080' }] } },
};
let lastAddress = 1;

describe.each(agentsHere())('%s', (_name, create) => {
  let api: FakeScheduler;
  let metadata: Awaited<ReturnType<typeof startFakeMetadata>>;
  let agent: AgentUnderTest;

  beforeEach(async () => {
    api = await new FakeScheduler().open();
    metadata = await startFakeMetadata();
    // An address each, as instances have: tests may publish the same port one after the other.
    agent = await create({
      apiUrl: api.url,
      metadataEndpoint: metadata.endpoint,
      address: `127.77.0.${++lastAddress}`,
    });
  });
  afterEach(async () => {
    await agent.remove();
    await metadata.close();
    await api.close();
  });

  const webIsUp = async () => {
    api.docker('POST', '/images/create?fromImage=hello-web&tag=1');
    api.docker('POST', '/containers/create?name=job', { body: CONTAINER });
    await api.result(api.docker('POST', '/containers/job/start'));
  };
  const probe = (path: string, more: Record<string, string> = {}) =>
    api.order({
      'Order-Kind': 'probe',
      'Order-Mode': 'background',
      'Probe-Url': `http://${agent.address}:28080${path}`,
      'Probe-Interval': '0.1',
      'Probe-Timeout': '2',
      'Probe-Retries': '2',
      'Probe-Start-Period': '0',
      ...more,
    });
  const eventually = async (isTrue: () => boolean) => {
    while (!isTrue()) await sleep(20);
  };

  it('registers with its identity, and repeats with the same token until it is taken', async () => {
    metadata.paths.set('meta-data/public-ipv4', '203.0.113.7');
    api.trouble.register.push({ status: 503 });
    await agent.start();
    await api.until(() => api.polls.length > 0);
    expect(api.registrations).toHaveLength(2);
    const [first, second] = api.registrations;
    expect(first).toEqual({
      ...IDENTITY,
      secret: expect.stringMatching(HEX_TOKEN),
      token: expect.stringMatching(HEX_TOKEN),
      agent: '3',
      after: '0',
      publicIp: '203.0.113.7',
    });
    expect(second).toEqual(first);
    expect(api.polls[0]).toBe(0);
  });

  it('pipes orders to the engine and its raw answers back', async () => {
    await agent.start();
    const pull = api.docker('POST', '/images/create?fromImage=hello-web&tag=1', { 'Order-Mode': 'background' });
    const pulled = await api.result(pull);
    expect(pulled.headers['result-status']).toBe('200');
    expect(pulled.body).toContain('Downloaded newer image for hello-web:1');
    const create = api.docker('POST', '/containers/create?name=job', { body: CONTAINER });
    expect((await api.result(create)).headers['result-status']).toBe('201');
    const again = await api.result(api.docker('POST', '/containers/create?name=job', { body: CONTAINER }));
    expect(again.headers['result-status']).toBe('409');
    expect(JSON.parse(again.body)).toHaveProperty('message');
    const start = await api.result(api.docker('POST', '/containers/job/start'));
    expect([start.headers['result-status'], start.body]).toEqual(['204', '']);
    const answer = await new Promise((resolve, reject) => {
      get(`http://${agent.address}:28080/`, (response) => {
        response.on('data', (chunk: Buffer) => resolve(JSON.parse(chunk.toString())));
      }).on('error', reject);
    });
    expect(answer).toMatchObject({ hello: 'one' });
    const missing = await api.result(api.docker('GET', '/containers/other/json'));
    expect([missing.headers['result-status'], JSON.parse(missing.body)]).toEqual([
      '404',
      { message: 'No such container: other' },
    ]);
    const removed = await api.result(api.docker('DELETE', '/containers/job?force=1'));
    expect(removed.headers['result-status']).toBe('204');
  });

  it('hands a key file on to the engine as the password of a registry, as long as one may be', async () => {
    await agent.start();
    const auth = 'c2VjcmV0'.repeat(12 * 1024);
    const pull = api.docker('POST', '/images/create?fromImage=hello-web&tag=1', { 'Docker-Registry-Auth': auth });
    expect((await api.result(pull)).headers['result-status']).toBe('200');
    expect(agent.engineCalls.map(({ headers }) => headers['x-registry-auth'] === auth)).toEqual([true]);
  });

  it('keeps only the last bytes of a long answer', async () => {
    await agent.start();
    const answer = await api.result(
      api.docker('POST', '/images/create?fromImage=hello-web&tag=1', { 'Docker-Max-Bytes': '20' }),
    );
    expect(answer.body).toHaveLength(20);
    expect(answer.body).toBe('e for hello-web:1"}\r\n'.slice(-20));
  });

  it('takes the next order while one runs in the background, and gives up on it in time', async () => {
    await agent.start();
    const slow = api.docker('POST', '/images/create?fromImage=sim/slow&tag=600', {
      'Order-Mode': 'background',
      'Order-Timeout': '2',
    });
    const quick = await api.result(api.docker('GET', '/images/none/json'));
    expect(quick.headers['result-status']).toBe('404');
    expect(api.results(slow)).toHaveLength(0);
    const late = await api.result(slow);
    expect(late.headers['result-status']).toBe('0');
    expect(late.headers['result-error']).toBe('curl 28');
  });

  it('sends a result again until it is stored, and gives up when told to', async () => {
    await agent.start();
    api.trouble.result.push({ status: 503 });
    const stored = api.docker('GET', '/images/none/json');
    expect((await api.result(stored)).headers['result-status']).toBe('404');
    api.trouble.result.push({ status: 410 });
    const refused = api.docker('GET', '/images/none/json');
    await api.result(api.docker('GET', '/images/none/json'));
    await api.until(() => api.trouble.result.length === 0);
    expect([...api.results(refused), ...api.results(refused + 1)]).toHaveLength(1);
  });

  it('takes up its unanswered orders after a kill, and no answered one', async () => {
    await agent.start();
    await webIsUp();
    const wait = api.docker('POST', '/containers/job/wait?condition=next-exit', { 'Order-Mode': 'background' });
    await eventually(() => agent.engineCalls.some(({ path }) => path.includes('/wait')));
    await agent.kill();
    const before = agent.engineCalls.length;
    await agent.start();
    await eventually(() => agent.engineCalls.length > before);
    await api.result(api.docker('POST', '/containers/job/stop?t=1'));
    expect(JSON.parse((await api.result(wait)).body)).toEqual({ StatusCode: 0 });
    expect(agent.engineCalls.slice(before).map(({ path }) => path)).toEqual([
      '/containers/job/wait?condition=next-exit',
      '/containers/job/stop?t=1',
    ]);
    expect(new Set(api.registrations.map(({ token }) => token)).size).toBe(1);
    await api.until(() => api.polls.at(-1) === wait + 1);
  });

  it('tells the first state of a probe and every change', async () => {
    await agent.start();
    const number = probe('/');
    const refused = await api.result(number);
    expect(refused.headers['probe-state']).toBe('unhealthy');
    expect(refused.body).toBe('connection refused (curl 7)');
    await webIsUp();
    const healthy = await api.result(number, 2);
    expect([healthy.headers['probe-state'], healthy.body]).toEqual(['healthy', 'HTTP 200']);
    await api.result(api.docker('POST', '/containers/job/stop?t=1'));
    expect((await api.result(number, 3)).headers['probe-state']).toBe('unhealthy');
    expect(api.results(number)).toHaveLength(3);
  });

  it('counts no failure in the start period, which the first success ends', async () => {
    await agent.start();
    const number = probe('/', { 'Probe-Start-Period': '3600' });
    await webIsUp();
    expect((await api.result(number)).headers['probe-state']).toBe('healthy');
    await api.result(api.docker('POST', '/containers/job/stop?t=1'));
    expect((await api.result(number, 2)).headers['probe-state']).toBe('unhealthy');
  });

  it('lets the newest probe replace the one before, also after a kill', async () => {
    await agent.start();
    await webIsUp();
    const first = probe('/');
    expect((await api.result(first)).body).toBe('HTTP 200');
    const second = probe('/fail');
    expect((await api.result(second)).body).toBe('HTTP 500');
    await agent.kill();
    await agent.start();
    expect((await api.result(second, 2)).body).toBe('HTTP 500');
    expect(api.results(first)).toHaveLength(1);
  });

  it('tells a state that could not be delivered later', async () => {
    await agent.start();
    await webIsUp();
    await api.until(() => api.results(3).length > 0);
    api.trouble.result.push({ status: 503 });
    expect((await api.result(probe('/'))).headers['probe-state']).toBe('healthy');
  });

  it('refuses orders that make no sense, and evaluates nothing', async () => {
    const orders: [string, Record<string, string>][] = [
      ['malformed Docker-Method', { 'Docker-Method': 'POST /x' }],
      ['malformed Docker-Method', { 'Docker-Method': 'CONNECT' }],
      ['malformed Docker-Path', { 'Docker-Path': '/$(touch evil)' }],
      ['malformed Docker-Path', { 'Docker-Path': 'http://evil/' }],
      ['malformed Docker-Path', { 'Docker-Path': '/a b' }],
      ['malformed Docker-Path', { 'Docker-Path': '/"`;|&&<>*' }],
      ['malformed Order-Timeout', { 'Order-Timeout': '1;reboot' }],
      ['malformed Order-Timeout', { 'Order-Timeout': '0' }],
      ['malformed Docker-Max-Bytes', { 'Docker-Max-Bytes': '-1' }],
      ['malformed Docker-Content-Type', { 'Docker-Content-Type': 'a/b$(id)' }],
      ['malformed Docker-Content-Type', { 'Docker-Content-Type': 'json' }],
      ['malformed Order-Once', { 'Order-Once': '$(id)' }],
      ['malformed Stream-Name', { 'Order-Kind': 'stream', 'Stream-Content-Type': 'a/b', 'Stream-Name': '../token' }],
      ['malformed Stream-Name', { 'Order-Kind': 'stream', 'Stream-Content-Type': 'a/b' }],
      ['malformed Stream-Content-Type', { 'Order-Kind': 'stream', 'Stream-Name': 'x', 'Stream-Content-Type': 'a' }],
      ['malformed Docker-Registry-Auth', { 'Docker-Registry-Auth': 'a\tb' }],
      ['unknown order kind', { 'Order-Kind': 'log' }],
      ['unknown order kind', { 'Order-Kind': '*) reboot' }],
      ['malformed Dead-Man-Minutes', { 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': '$(id)' }],
      ['malformed probe', { 'Order-Kind': 'probe', 'Probe-Url': 'file:///etc/passwd' }],
    ];
    await agent.start();
    for (const [why, headers] of orders) {
      const call = { 'Order-Kind': 'docker', 'Docker-Method': 'GET', 'Docker-Path': '/_ping', ...headers };
      const result = await api.result(api.order(call));
      expect([headers, result.headers['result-status'], result.body]).toEqual([headers, '0', `${why}\n`]);
    }
    expect(agent.engineCalls).toEqual([]);
    expect(agent.shutdowns()).toEqual(['-h +15']);
  });

  it('takes every other answer for silence', async () => {
    api.trouble.orders.push({ status: 401 });
    api.trouble.orders.push({ status: 200, headers: { 'Order-Number': '$(id)', 'Order-Kind': 'shutdown' } });
    await agent.start();
    expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
    expect(api.polls.slice(0, 3)).toEqual([0, 0, 0]);
    expect(agent.shutdowns()).toEqual(['-h +15']);
  });

  it('registers anew with the same token when nobody knows it any more, and says how far it is', async () => {
    await agent.start();
    await api.until(() => api.polls.length > 0);
    const [first] = api.registrations;
    // For the polls after the one that is parked. The first registration is refused.
    api.trouble.orders.push({ status: 401 }, { status: 401 });
    api.trouble.register.push({ status: 403 });
    await api.result(api.docker('GET', '/_ping'));
    await api.until(() => api.registrations.length === 3);
    expect(api.registrations.slice(1)).toEqual([
      { ...first, after: '1' },
      { ...first, after: '1' },
    ]);
    expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
  });

  it('arms the dead-man switch at once, and keeps its deadline over a kill', async () => {
    metadata.paths.clear();
    await agent.start();
    await eventually(() => agent.shutdowns().length === 1);
    // The deadline is on disk as a second: the first of its fifteen minutes must have begun to run.
    await sleep(1100);
    await agent.kill();
    await agent.start();
    await eventually(() => agent.shutdowns().length === 2);
    expect(agent.shutdowns()).toEqual(['-h +15', '-h +14']);
  });

  it('arms, turns off and remembers the dead-man switch as ordered', async () => {
    await agent.start();
    const deadMan = (minutes: string) =>
      api.result(api.order({ 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': minutes }));
    expect((await deadMan('90')).headers['result-status']).toBe('200');
    await deadMan('0');
    expect(agent.shutdowns()).toEqual(['-h +15', '-h +90', '-c']);
    await agent.kill();
    await agent.start();
    await deadMan('5');
    expect(agent.shutdowns()).toEqual(['-h +15', '-h +90', '-c', '-h +5']);
  });

  it('starts the dead-man switch over with any answer, when it is told to', async () => {
    const deadMan = (headers: object) => api.order({ 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': '2', ...headers });
    const anyOrder = () => api.result(api.docker('GET', '/images/none/json'));
    await agent.start();
    await api.result(deadMan({ 'Dead-Man-Renews': 'yes' }));
    agent.setDeadMan(2, 60);
    await anyOrder();
    expect(agent.shutdowns()).toEqual(['-h +15', '-h +2', '-h +2']);
    // Just renewed: not again with every answer.
    await anyOrder();
    expect(agent.shutdowns()).toHaveLength(3);
    await api.result(deadMan({}));
    agent.setDeadMan(2, 60);
    await anyOrder();
    expect(agent.shutdowns()).toEqual(['-h +15', '-h +2', '-h +2', '-h +2']);
  });

  it('keeps the switch off over a kill once it was turned off, and sets it anew after a time without power', async () => {
    await agent.start();
    await api.result(api.order({ 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': '0' }));
    await agent.kill();
    await agent.start();
    await api.result(api.order({ 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': '7' }));
    expect(agent.shutdowns()).toEqual(['-h +15', '-c', '-h +7']);
    await agent.kill();
    agent.setDeadMan(7, -3600);
    await agent.start();
    await eventually(() => agent.shutdowns().length === 4);
    expect(agent.shutdowns().at(-1)).toBe('-h +7');
  });

  it('shuts the machine down once the answer is out', async () => {
    await agent.start();
    expect((await api.result(api.order({ 'Order-Kind': 'shutdown' }))).headers['result-status']).toBe('200');
    await eventually(() => agent.shutdowns().includes('-h now'));
  });

  it('carries an order that says so out once: after its death nobody knows, and it says that', async () => {
    await agent.start();
    await webIsUp();
    const wait = '/containers/job/wait?condition=next-exit';
    const once = api.docker('POST', wait, { 'Order-Mode': 'background', 'Order-Once': 'yes' });
    const calls = () => agent.engineCalls.filter(({ path }) => path === wait).length;
    await eventually(() => calls() === 1);
    await agent.kill();
    await agent.start();
    const { headers, body } = await api.result(once);
    expect([headers['result-status'], headers['result-error'], body]).toEqual([
      '0',
      'unknown: the agent ended while it carried this out',
      'unknown: the agent ended while it carried this out\n',
    ]);
    expect(calls()).toBe(1);
    // One that is not interrupted is answered as any other.
    const whole = api.docker('GET', '/images/none/json', { 'Order-Once': 'yes' });
    expect((await api.result(whole)).headers['result-status']).toBe('404');
  });

  describe('streams', () => {
    const events = (headers: Record<string, string> = {}) =>
      api.order({
        'Order-Kind': 'stream',
        'Order-Mode': 'background',
        'Stream-Name': 'events',
        'Stream-Content-Type': 'application/octet-stream',
        'Stream-Follow': 'yes',
        'Docker-Path': '/events?filters=%7B%7D',
        ...headers,
      });
    const at = (second: number) => `17000000${String(second).padStart(2, '0')}.000000001`;
    /** Docker: every event from a time on, and then what comes, until `end`. */
    const docker = (count: number, end?: Promise<unknown>) => {
      agent.engine.intercept = ({ pathname, searchParams }) => {
        if (pathname !== '/events') return undefined;
        const since = searchParams.get('since') ?? '';
        const lines = Array.from({ length: count }, (_, n) => `${at(n)} event ${n}\n`).filter((line) => line > since);
        const body = Buffer.from(lines.join(''));
        const stream = async function* () {
          if (body.length > 0) yield body;
          await end;
        };
        return { status: 200, body: Buffer.alloc(0), stream: stream() };
      };
    };
    // A kill costs a repeat at most, which the API ignores.
    const seen = () => [...new Set(api.streams.flatMap(({ lines }) => lines.map((line) => line.split(' event ')[1])))];
    const requested = () => agent.engineCalls.filter(({ path }) => path.startsWith('/events')).map(({ path }) => path);

    it('leave as they come, go on where they were acknowledged, and are asked for again when they end', async () => {
      docker(3);
      api.trouble.stream.push({ status: 503 });
      await agent.start();
      const number = events();
      await api.until(() => seen().length >= 3);
      docker(5);
      await api.until(() => seen().length >= 5);
      expect(seen()).toEqual(['0', '1', '2', '3', '4']);
      expect(new Set(api.streams.map(({ type }) => type))).toEqual(new Set(['application/octet-stream']));
      expect(requested()[0]).toBe('/events?filters=%7B%7D&since=0');
      expect(requested().at(-1)).toBe(`/events?filters=%7B%7D&since=${at(2).replace(/1$/, '2')}`);
      await agent.kill();
      docker(6);
      await agent.start();
      await api.until(() => seen().includes('5'));
      expect(seen()).toEqual(['0', '1', '2', '3', '4', '5']);
      // The next one of its name takes its place, and the state of the one before.
      const next = events();
      docker(7);
      await api.until(() => api.streams.at(-1)?.number === next && seen().includes('6'));
      expect(seen()).toEqual(['0', '1', '2', '3', '4', '5', '6']);
      expect(api.results(number)).toEqual([]);
    });

    it('end with an answer once Docker has ended one that is not to be followed', async () => {
      docker(2);
      await agent.start();
      expect((await api.result(events({ 'Stream-Follow': 'no' }))).headers['result-status']).toBe('200');
      expect(seen()).toEqual(['0', '1']);
    });

    it('tell what Docker refuses, and end when the API gives them up', async () => {
      await agent.start();
      expect((await api.result(events({ 'Docker-Path': '/nothing' }))).headers['result-status']).toBe('404');
      docker(1);
      api.trouble.stream.push({ status: 409 });
      const given = events();
      await api.until(() => api.trouble.stream.length === 0);
      await api.result(api.docker('GET', '/images/none/json'));
      const before = requested().length;
      await sleep(2_500);
      expect([requested().length, api.results(given)]).toEqual([before, []]);
    });
  });

  describe('with pins', () => {
    let directory: string;
    let keys: { pins: string[]; current: string; next: string };

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'pins-'));
      const pins = [...(await ensureAgentKeys(directory))];
      const pem = (name: string) => readFileSync(join(directory, `${name}.pem`), 'utf8');
      keys = { pins, current: pem('current'), next: pem('next') };
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    const createPinned = async (at: FakeScheduler) => {
      await agent.remove();
      const address = `127.77.0.${++lastAddress}`;
      agent = await create({ apiUrl: at.url, pins: keys.pins, metadataEndpoint: metadata.endpoint, address });
      await agent.start();
    };
    const opened = async (pem?: string, port?: number) => {
      await api.close();
      api = await new FakeScheduler(pem).open(port);
      return Number(new URL(api.url).port);
    };

    it('obeys who has the first or the second key, whatever its certificate says', async () => {
      const port = await opened(keys.current);
      await createPinned(api);
      expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
      const [{ token } = { token: '' }] = api.registrations;
      await opened(keys.next, port);
      // The agent registers with an API that does not know its token.
      await api.until(() => api.registrations.length > 0);
      expect(api.registrations[0]?.token).toBe(token);
      api.docker('GET', '/images/none/json');
      expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
    });

    it('sends nothing to an impostor, not even to be registered, and goes on once the right one is back', async () => {
      const [other] = await ensureAgentKeys(join(directory, 'of-another'));
      const impostor = readFileSync(join(directory, 'of-another/current.pem'), 'utf8');
      expect(keys.pins).not.toContain(other);
      const port = await opened(impostor);
      await createPinned(api);
      await eventually(() => api.connections > 1);
      expect([api.registrations, api.polls]).toEqual([[], []]);

      await opened(keys.current, port);
      expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
      await opened(impostor, port);
      api.docker('POST', '/containers/create?name=evil', { body: CONTAINER });
      const calls = agent.engineCalls.length;
      await eventually(() => api.connections > 1);
      expect([api.registrations, api.polls, agent.engineCalls.length]).toEqual([[], [], calls]);
    }, 90_000);

    it('speaks to nobody in clear text', async () => {
      const port = await opened(keys.current);
      await createPinned(api);
      await api.until(() => api.registrations.length > 0);
      await opened(undefined, port);
      await sleep(3_000);
      expect([api.registrations, api.polls]).toEqual([[], []]);
    });
  });

  it('watches for the end of a spot instance', async () => {
    const notice = '{"action":"terminate","time":"2026-01-05T10:00:00Z"}';
    metadata.paths.set('meta-data/spot/instance-action', notice);
    await agent.start();
    expect((await api.result(api.order({ 'Order-Kind': 'watch-spot', 'Order-Mode': 'background' }))).body).toBe(notice);
  });
});

(hasCurl() ? describe : describe.skip)('agent.sh alone', () => {
  let api: FakeScheduler;
  let metadata: Awaited<ReturnType<typeof startFakeMetadata>>;
  let agent: Awaited<ReturnType<typeof shellAgent>>;

  beforeEach(async () => {
    api = await new FakeScheduler().open();
    metadata = await startFakeMetadata();
    agent = await shellAgent({
      apiUrl: api.url,
      metadataEndpoint: metadata.endpoint,
      address: `127.77.0.${++lastAddress}`,
    });
  });
  afterEach(async () => {
    await agent.remove();
    await metadata.close();
    await api.close();
  });

  (existsSync('/proc/self/environ') ? it : it.skip)(
    'shows no secret in the arguments of its processes, and keeps its files to itself',
    async () => {
      const seen: string[] = [];
      const look = () => {
        for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
          try {
            const env = readFileSync(`/proc/${pid}/environ`, 'utf8');
            if (env.includes(agent.folder)) seen.push(env, readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
          } catch {
            // The process has ended.
          }
        }
      };
      const timer = setInterval(look, 5);
      await agent.start();
      api.trouble.register.push({ status: 503 });
      await api.result(
        api.docker('POST', '/images/create?fromImage=x', { 'Docker-Registry-Auth': 'c2VjcmV0LWF1dGg=' }),
      );
      await api.until(() => api.polls.at(-1) === 1);
      look();
      clearInterval(timer);
      expect(seen.some((text) => text.includes('curl'))).toBe(true);
      const [{ token, secret } = { token: '', secret: '' }] = api.registrations;
      expect(token).toMatch(HEX_TOKEN);
      for (const hidden of [token, secret, 'c2VjcmV0LWF1dGg=', 'token: metadata-token']) {
        expect(seen.filter((text) => text.includes(hidden))).toEqual([]);
      }
      expect(agent.engineCalls[0]?.headers['x-registry-auth']).toBe('c2VjcmV0LWF1dGg=');
      const state = join(agent.folder, 'state');
      for (const name of readdirSync(state)) expect(statSync(join(state, name)).mode & 0o077).toBe(0);
    },
  );

  it('starts over from whatever a kill or an older run left on the disk', async () => {
    const state = join(agent.folder, 'state');
    for (const folder of ['orders/7', 'orders/x-y', 'orders/9', 'fresh', 'sent/3'])
      mkdirSync(join(state, folder), { recursive: true });
    writeFileSync(join(state, 'orders/9/headers'), 'order-kind:docker\n');
    writeFileSync(join(state, 'fresh/raw'), 'HTTP/1.1 200 OK\r\nOrder-Num');
    writeFileSync(join(state, 'after.part'), '12');
    writeFileSync(join(state, 'after'), 'garbage');
    writeFileSync(join(state, 'token'), 'half a tok');
    writeFileSync(join(state, 'registered'), '');
    writeFileSync(join(state, 'dead-man'), 'x');
    await agent.start();
    const left = await api.result(9);
    expect(left.body).toBe('malformed Order-Timeout\n');
    await api.until(() => api.polls.length > 0);
    expect(api.polls[0]).toBe(9);
    expect(api.registrations[0]?.token).toMatch(HEX_TOKEN);
    expect(agent.shutdowns()).toEqual(['-h +15']);
    expect(readdirSync(join(state, 'orders')).filter((name) => name !== '9')).toEqual([]);
  });

  it('reads headers of any case', async () => {
    await agent.start();
    const order = { 'ORDER-KIND': 'docker', 'docker-METHOD': 'GET', 'Docker-path': '/images/none/json' };
    expect((await api.result(api.order(order))).headers['result-status']).toBe('404');
  });

  // A step is a program that it runs: what it changes on its disk and whom it calls is done by those. A life is some
  // hundred processes, of which a busy machine takes seconds to start: by default one death in fifteen steps is tried.
  it.each(process.env['AGENT_DEATHS'] === 'all' ? Array.from({ length: 15 }, (_, index) => index + 1) : [4])(
    'survives its own death between its first start and the answer of an order, from step %i each fifteenth',
    async (from) => {
      // Until a life has its answer before it comes to its death.
      for (let last = from, isOver = false; !isOver; last += 15) {
        const [life, taken] = await lifeOf(last);
        expect([last, life]).toEqual([last, { status: '404', tokens: 1 }]);
        isOver = taken < last;
        if (isOver) expect(taken).toBeGreaterThan(30);
      }
    },
    180_000,
  );

  /** Of an agent that has one order and dies at a step. @returns what the API has of it in the end, and the steps until its death */
  async function lifeOf(last: number): Promise<[{ status: unknown; tokens: number }, number]> {
    const own = await new FakeScheduler().open();
    const surroundings = { apiUrl: own.url, metadataEndpoint: metadata.endpoint, address: `127.77.0.${++lastAddress}` };
    const mortal = await shellAgent(surroundings);
    try {
      const number = own.docker('GET', '/images/none/json');
      const steps = countSteps(mortal.folder, last);
      await mortal.start();
      while (steps() < last && own.results(number).length === 0) await sleep(5);
      const taken = steps();
      await mortal.kill();
      countSteps(mortal.folder, Infinity);
      await mortal.start();
      const status = (await own.result(number)).headers['result-status'];
      return [{ status, tokens: new Set(own.registrations.map(({ token }) => token)).size }, taken];
    } finally {
      await mortal.remove();
      await own.close();
    }
  }

  /** Puts a program before each that the agent runs; the last step ends the agent before it is taken. @returns how many began */
  function countSteps(folder: string, last: number): () => number {
    const [steps, bin] = [join(folder, 'steps'), join(folder, 'bin')];
    const where = (name: string) =>
      ['/usr/bin', '/bin'].map((of) => join(of, name)).find((path) => existsSync(path)) ?? name;
    rmSync(steps, { force: true });
    for (const name of ['cat', 'curl', 'cut', 'date', 'dd', 'head', 'mkdir', 'mv', 'od', 'rm', 'sed', 'sort', 'tr']) {
      const isLast = last === Infinity ? '' : `[ "$(${where('wc')} -c <'${steps}')" -lt ${last} ] || kill -9 0\n`;
      const program = `#!/bin/sh\nprintf . >>'${steps}'\n${isLast}exec ${where(name)} "$@"\n`;
      // In place of the other: what is left of a killed agent may be starting it, and Linux then lets nobody write to it.
      writeFileSync(join(bin, `${name}.new`), program, { mode: 0o755 });
      renameSync(join(bin, `${name}.new`), join(bin, name));
    }
    return () => (existsSync(steps) ? statSync(steps).size : 0);
  }
});
