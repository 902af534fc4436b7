import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { until } from '../../local/until.ts';
import { type Compose, docker, startCompose, whyNoCompose, writeSettings } from '../support/compose.ts';
import { describeWhen } from '../support/when.ts';
import { SteadyCaller } from '../swaps/requests.ts';
import { swapAgainAndAgain } from '../swaps/swap-again.ts';

const TOKEN = '0123456789abcdef0123456789abcdef';
const SETTINGS = {
  POSTGRES_USER: 'scheduler',
  POSTGRES_PASSWORD: 'secret',
  ADMIN_TOKEN: TOKEN,
  ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  JOBS_URL: 'http://jobs.test',
};
const JOBS = ['one', 'two', 'three'];
const SWAPS = 5;
/** What has served goes on for 33 s, as some nginx may still go by its last answer (docs/addresses.md). */
const LEAVES_WITHIN_MS = 60_000;
const MINUTES = 60_000;

const reason = whyNoCompose();

// A sample of `npm run swaps` with the image and the configuration of nginx that the stack has.
describeWhen(reason === undefined, reason ?? '', 'jobs behind the stack’s nginx', () => {
  let compose: Compose;
  let nginx: string;
  /** Of the network that nginx shares with the scheduler and the local cloud. */
  let address: string;
  beforeAll(async () => {
    compose = await startCompose(['docker-compose.yml', 'docker-compose.local.yml', 'test/docker/nginx-cache.yml']);
    await writeSettings(compose, SETTINGS);
    await compose.must('build', 'scheduler', 'local-cloud');
    await compose.must('up', '-d');
    const scheduler = await compose.container('scheduler');
    nginx = await nginxBeside(scheduler);
    address = await docker(
      'inspect',
      '--format',
      `{{(index .NetworkSettings.Networks "${compose.project}_front").IPAddress}}`,
      scheduler,
    );
    const isReady = async () => (await fetch(`http://${address}/health/ready`).catch(() => undefined))?.ok === true;
    await until(isReady, MINUTES).catch(async (cause: unknown) => {
      throw new Error(`nginx is not ready at ${address}: ${await docker('logs', nginx)}`, { cause });
    });
  }, 15 * MINUTES);
  afterAll(async () => {
    if (nginx) await docker('rm', '-f', nginx);
    await compose.dispose();
  }, 2 * MINUTES);

  /**
   * The stack's nginx, once more. Instances of the local cloud have addresses of loopback, which lead to them in the
   * scheduler's network namespace alone: this one is in it.
   */
  async function nginxBeside(scheduler: string): Promise<string> {
    const [image, command] = await Promise.all(
      ['{{.Config.Image}}', '{{json .Config.Cmd}}'].map(async (format) =>
        docker('inspect', '--format', format, await compose.container('nginx')),
      ),
    );
    const settings = {
      ...{ SCHEDULER_HOST: '127.0.0.1', API_LISTENER: 'on', AGENT_LISTENER: 'off', LOOKUP_LISTENER: 'off' },
      JOBS_URL: SETTINGS.JOBS_URL,
      ...{ NGINX_RATE: '50', TRUSTED_PROXY: '255.255.255.255' },
    };
    return await docker(
      ...['run', '-d', '--network', `container:${scheduler}`, '--tmpfs', '/var/cache/nginx'],
      ...['-v', `${join(compose.directory, 'deploy/nginx')}:/etc/nginx/templates:ro`],
      ...Object.entries(settings).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
      ...['--entrypoint', '/bin/sh', image ?? '', '/etc/nginx/templates/start.sh'],
      ...(JSON.parse(command ?? '[]') as string[]),
    );
  }

  async function call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(`http://${address}${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    return JSON.parse(text) as T;
  }

  it('nginx has the ports for a connection with each request', async () => {
    const settings = ['ip_local_port_range', 'tcp_tw_reuse'].map((name) => `/proc/sys/net/ipv4/${name}`);
    const values = await docker('exec', await compose.container('nginx'), 'cat', ...settings);
    expect(values.split(/\s+/)).toEqual(['1024', '65535', '1']);
  });

  it(
    `${JOBS.length} jobs, each called all the time while it is replaced ${SWAPS} times: no call fails, none is answered by another job`,
    async () => {
      const swapping = {
        ...{ call, swaps: SWAPS, pauseMs: () => 0 },
        callersOf: (name: string, host: string) => [
          new SteadyCaller({ address, ports: [80], host, expected: name, perSecond: 20 }),
        ],
        definition: {
          image: 'web:1',
          rollout: { stableSeconds: 1, drainSeconds: 1, stopGraceSeconds: 5 },
          route: { port: 8080 },
        },
        untilAlone: async (name: string) =>
          await until(async () => (await aliveOf(name)) === 1, LEAVES_WITHIN_MS + MINUTES),
      };
      const results = (await Promise.all(JOBS.map(async (name) => swapAgainAndAgain(name, swapping)))).flat();
      expect(results.flatMap(({ failures }) => failures)).toEqual([]);
      expect(results.map(({ strangers }) => strangers)).toEqual(JOBS.map(() => 0));
      // The last number of each is that of all: every deployment was called.
      expect(results.map(({ answeredBy }) => answeredBy.size)).toEqual(JOBS.map(() => SWAPS + 1));
      for (const { made } of results) expect(made).toBeGreaterThan(500);
      // Other jobs call them at the same URL.
      const one = await call<{ url: string; privateUrl: string }>('GET', '/v1/jobs/one');
      expect([one.url, one.privateUrl]).toEqual(['http://one.jobs.test', 'http://one.jobs.test']);
    },
    6 * MINUTES,
  );

  async function aliveOf(name: string): Promise<number> {
    type Instance = { job: string | null; state: string };
    const { items } = await call<{ items: Instance[] }>('GET', '/v1/instances?limit=100');
    return items.filter(({ job, state }) => job === name && state !== 'terminated').length;
  }
});
