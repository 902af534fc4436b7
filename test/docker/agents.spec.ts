// docker-compose.agents.yml: agents come by TLS to a listener of their own, with keys that are pinned in their user data.
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { type Compose, docker, startCompose, whyNoCompose, writeSettings } from '../support/compose.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const MINUTES = 60_000;
const TOKEN = '0123456789abcdef0123456789abcdef';
const PORT = 8080;

type Job = { status: string; instance: { id: string } | null };
type Instance = { id: string; lastSeenAt: string | null };

const reason = whyNoCompose();

describeWhen(reason === undefined, reason ?? '', 'agents by TLS', () => {
  let compose: Compose;
  let url: string;
  let agentPort: number;
  beforeAll(async () => {
    compose = await startCompose(['docker-compose.yml', 'docker-compose.agents.yml', 'test/docker/cloud-apart.yml']);
    url = `http://127.0.0.1:${compose.port}`;
    agentPort = await freePort();
    await writeSettings(compose, {
      POSTGRES_USER: 'scheduler',
      POSTGRES_PASSWORD: 'password',
      ADMIN_TOKEN: TOKEN,
      ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
      AGENT_URL: 'https://nginx:8443',
      AGENT_ADDRESS: '127.0.0.1',
      AGENT_PORT: String(agentPort),
    });
    await compose.must('build', 'scheduler', 'local-cloud');
    await compose.must('up', '-d');
    await untilReady();
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  const api = async (method: string, path: string, body?: object): Promise<Response> =>
    await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    });
  const read = async <T>(path: string): Promise<T> => (await (await api('GET', path)).json()) as T;
  const untilReady = (): Promise<void> =>
    until(
      async () =>
        await api('GET', '/health/ready').then(
          ({ status }) => status === 200,
          () => false,
        ),
      2 * MINUTES,
    );
  const definition = (name: string) => ({
    name,
    image: `${name}:1`,
    ports: [{ container: PORT, host: PORT }],
    health: { path: '/', port: PORT, intervalSeconds: 1 },
    rollout: { stableSeconds: 1, drainSeconds: 1 },
  });
  const create = async (name: string): Promise<void> => {
    expect((await api('POST', '/v1/jobs', definition(name))).status).toBe(201);
    expect(await read(`/v1/jobs/${name}/deployments/1?wait=60&until=settled`)).toMatchObject({ status: 'active' });
  };
  const lastSeen = async (name: string): Promise<number> => {
    const { instance } = await read<Job>(`/v1/jobs/${name}`);
    const { items } = await read<{ items: Instance[] }>('/v1/instances?limit=100');
    return new Date(items.find(({ id }) => id === instance?.id)?.lastSeenAt ?? 0).getTime();
  };
  /** Until its agent has asked once more. */
  const untilSeenAgain = async (name: string): Promise<void> => {
    const now = Date.now();
    await until(async () => (await lastSeen(name)) > now, MINUTES);
  };
  const pins = async (): Promise<string> =>
    (await compose.must('exec', '-T', 'scheduler', 'cat', '/run/agent-pins/pins')).trim();
  /** As an agent asks. @returns the status, or curl's exit code: 90 is another key */
  const ask = (path: string, pinned: string): string => {
    const target = `https://127.0.0.1:${agentPort}${path}`;
    const format = ['-o', '/dev/null', '-w', '%{http_code}'];
    const curl = ['-qsk', '--max-time', '20', '--pinnedpubkey', pinned.replaceAll(',', ';'), ...format, target];
    const { status, stdout } = spawnSync('curl', curl, { encoding: 'utf8' });
    return status === 0 ? stdout : `curl ${status ?? '?'}`;
  };
  const rotate = async (): Promise<void> => {
    // As in docs/operations.md.
    await compose.must('run', '--rm', 'agent-keys', '--rotate');
    await compose.must('exec', '-T', 'nginx', 'nginx', '-c', '/etc/nginx/conf.d/nginx.conf', '-s', 'reload');
    await compose.must('restart', 'scheduler');
    await untilReady();
  };

  it(
    'publishes two ports of nginx and nothing else, and the keys are in nginx alone',
    async () => {
      const inspect = async (service: string, what: string): Promise<unknown> =>
        JSON.parse(await docker('inspect', '--format', `{{json ${what}}}`, await compose.container(service)));
      expect(Object.keys((await inspect('nginx', '.HostConfig.PortBindings')) as object).sort()).toEqual([
        '80/tcp',
        '8443/tcp',
      ]);
      for (const service of ['scheduler', 'postgres', 'local-cloud']) {
        expect((await inspect(service, '.HostConfig.PortBindings')) ?? {}).toEqual({});
        expect(JSON.stringify(await inspect(service, '.Mounts'))).not.toContain('agent-keys');
      }
      const modes = await compose.must('exec', '-T', 'nginx', 'stat', '-c', '%a %n', '/etc/nginx/agent-keys/current.pem', '/etc/nginx/agent-keys/next.pem'); // prettier-ignore
      expect(modes).toMatch(/^600 \S+current\.pem\n600 \S+next\.pem\n$/);
    },
    3 * MINUTES,
  );

  it(
    'brings a job to active by agents that come to it alone, and nothing is degraded',
    async () => {
      await create('first');
      expect(await read('/health/ready')).toMatchObject({ status: 'ok' });
      const log = await compose.must('logs', '--no-color', 'nginx');
      const calls = log.split('\n').filter((line) => line.includes('"path":"/agent/'));
      expect(calls.length).toBeGreaterThan(2);
      for (const line of calls) expect(line).toContain('"scheme":"https"');
    },
    3 * MINUTES,
  );

  it('serves routes of agents there and no others', async () => {
    const now = await pins();
    expect(now).toMatch(/^sha256\/\/[^,]{44},sha256\/\/[^,]{44}$/);
    expect(ask('/agent/v1/orders', now)).toBe('401');
    for (const path of ['/v1/jobs', '/health/live', '/metrics', '/docs', '/']) expect(ask(path, now)).toBe('404');
    expect(ask('/agent/v1/orders/1%2f..%2f..%2f..%2fv1/jobs', now)).toBe('400');
    expect(ask('/agent/v1/orders', `sha256//${'A'.repeat(43)}=`)).toBe('curl 90');
  });

  it(
    'sends not one byte to somebody else with the address and another key',
    async () => {
      // It could be launched with the keys of before.
      const running = await lastSeen('first');
      await compose.must('stop', 'nginx');
      const impostor = await docker('run', '-d', '--network', `${compose.project}_front`, '--network-alias', 'nginx', compose.appImage, 'sh', '-c', 'node dist/agent-keys/main.js /tmp/keys && exec node -e "$0"', IMPOSTOR); // prettier-ignore
      const heard = async () => (await docker('logs', impostor)).split('\n');
      try {
        await until(async () => (await heard()).includes('ready'));
        // One that registers, beside one that polls.
        const inside = ['exec', '-T', '-e', `SCHEDULER_TOKEN=${TOKEN}`, 'scheduler'];
        await compose.must(...inside, 'scheduler', 'deploy', 'second', 'second:1', '--no-wait');
        const strangers = async () => new Set((await heard()).filter((line) => line.startsWith('handshake')));
        await until(async () => (await strangers()).size > 5, 2 * MINUTES);
        expect((await heard()).filter((line) => line.startsWith('bytes'))).toEqual([]);
      } finally {
        await docker('rm', '-f', impostor);
      }
      await compose.must('up', '-d', 'nginx');
      await untilReady();
      expect(await read('/v1/jobs/second/deployments/1?wait=60&until=settled')).toMatchObject({ status: 'active' });
      await until(async () => (await lastSeen('first')) > running, MINUTES);
      expect(await read('/v1/jobs/first')).toMatchObject({ status: 'running' });
    },
    6 * MINUTES,
  );

  it(
    'rotates its key: instances that were launched before go on, and new ones know what comes',
    async () => {
      const before = await pins();
      await rotate();
      const after = await pins();
      expect(after.split(',')[0]).toBe(before.split(',')[1]);
      expect(ask('/agent/v1/orders', before)).toBe('401');
      await untilSeenAgain('first');
      await create('third');
      // The second rotation is one too many for those before the first.
      await rotate();
      expect(ask('/agent/v1/orders', before)).toBe('curl 90');
      expect(ask('/agent/v1/orders', after)).toBe('401');
      await untilSeenAgain('third');
      expect(await lastSeen('first')).toBeLessThan(await lastSeen('third'));
    },
    8 * MINUTES,
  );
});

/** Tells of everybody who shakes hands, and of every byte that comes after that. */
const IMPOSTOR = `
const pem = require('fs').readFileSync('/tmp/keys/current.pem');
let count = 0;
require('tls').createServer({ key: pem, cert: pem }, (socket) => {
  console.log('handshake ' + ++count);
  socket.on('data', (data) => console.log('bytes ' + data.length)).on('error', () => undefined);
}).on('tlsClientError', () => console.log('handshake ' + ++count + ' broken off'))
  .listen(8443, () => console.log('ready'));
`;
