import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import {
  type Compose,
  docker,
  inContainer,
  killFromOutside,
  startCompose,
  whyNoCompose,
  writeSettings,
} from '../support/compose.ts';
import { EventSource } from '../support/event-source.ts';
import { spellingsOf, statusOf } from '../support/raw-paths.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const TOKEN = '0123456789abcdef0123456789abcdef';
const SETTINGS = {
  POSTGRES_USER: 'scheduler',
  POSTGRES_PASSWORD: 'pass%word/with:marks',
  ADMIN_TOKEN: TOKEN,
  ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
};
const MINUTES = 60_000;

type Answer = { status: number; headers: Record<string, string | string[] | undefined>; text: string };
type Job = { status: string; instance: { id: string } | null };

const reason = whyNoCompose();
const describeStack = (name: string, tests: () => void): void =>
  describeWhen(reason === undefined, reason ?? '', name, tests);

describeStack('the stack without its settings', () => {
  let compose: Compose;
  beforeAll(async () => {
    compose = await startCompose();
    await compose.must('build', 'scheduler');
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  const refusal = async (): Promise<string> => {
    const ran = await compose.run('up');
    expect(ran.code).not.toBe(0);
    expect(ran.output).toMatch(/exited? (with code )?78/);
    // Neither made nor started again and again.
    for (const service of ['postgres', 'scheduler', 'nginx']) {
      expect(await compose.must('ps', '-q', service)).toBe('');
    }
    const check = await compose.container('settings');
    expect(await docker('inspect', '--format', '{{.State.Status}} {{.RestartCount}}', check)).toBe('exited 0');
    const said = await docker('logs', check);
    await compose.must('down');
    return said;
  };

  it(
    'does not start, and names what is missing or wrong',
    async () => {
      const alone = await compose.run('run', '--rm', 'settings');
      expect(alone).toMatchObject({ code: 78, output: expect.stringContaining('because settings are missing:') });
      const nothing = await refusal();
      expect(nothing).toMatch(/not started, because settings are missing:\n {2}POSTGRES_USER /);
      for (const name of [...Object.keys(SETTINGS), 'PUBLIC_URL']) expect(nothing).toContain(`\n  ${name} `);

      const { POSTGRES_USER, POSTGRES_PASSWORD } = SETTINGS;
      await writeSettings(compose, { POSTGRES_USER, POSTGRES_PASSWORD });
      const some = await refusal();
      expect(some).toMatch(/because settings are missing:\n {2}ADMIN_TOKEN /);
      expect(some).not.toContain('POSTGRES_PASSWORD');

      await writeSettings(compose, { ...SETTINGS, ENCRYPTION_KEY: 'S3CRET', PUBLIC_URL: 'http://me/?' });
      const wrong = await refusal();
      expect(wrong).toMatch(/^the settings are not usable:\n( {2}(ENCRYPTION_KEY|PUBLIC_URL): must be .*\n?){2}$/);
      expect(wrong).not.toContain('S3CRET');
    },
    5 * MINUTES,
  );
});

describeStack('the stack with a local cloud', () => {
  let compose: Compose;
  let url: string;
  beforeAll(async () => {
    compose = await startCompose(['docker-compose.yml', 'docker-compose.local.yml']);
    url = `http://127.0.0.1:${compose.port}`;
    await writeSettings(compose, SETTINGS);
    await compose.must('build', 'scheduler', 'local-cloud');
    await compose.must('up', '-d');
    await untilReady();
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  const untilReady = async (): Promise<void> =>
    until(async () => (await ask(`${url}/health/ready`)).status === 200, MINUTES);
  const api = async (method: string, path: string, body?: object): Promise<Response> =>
    await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    });
  const isServing = async (name: string, isOther: (instance: string) => boolean = () => true): Promise<boolean> => {
    const job = (await (await api('GET', `/v1/jobs/${name}`)).json()) as Job;
    return job.status === 'running' && job.instance !== null && isOther(job.instance.id);
  };

  it('publishes port 80 of nginx and nothing else', async () => {
    const published = async (service: string): Promise<unknown> =>
      JSON.parse(
        await docker('inspect', '--format', '{{json .HostConfig.PortBindings}}', await compose.container(service)),
      );
    expect(Object.keys((await published('nginx')) as object)).toEqual(['80/tcp']);
    for (const service of ['scheduler', 'postgres']) expect((await published(service)) ?? {}).toEqual({});
  });

  it('limits memory and processes of every container', async () => {
    const ids = (await docker('ps', '-aq', '--filter', `label=com.docker.compose.project=${compose.project}`)).split(
      '\n',
    );
    expect(ids.length).toBeGreaterThanOrEqual(5);
    const limits = await docker(
      'inspect',
      '--format',
      '{{.Name}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}',
      ...ids,
    );
    for (const line of limits.split('\n')) expect(line).toMatch(/^\S+ [1-9]\d{8,} [1-9]\d+$/);
  });

  it('leaves the API without rights in Postgres, but for its own database', async () => {
    const postgres = await compose.container('postgres');
    const query = (sql: string) =>
      inContainer(postgres, `PGPASSWORD="$POSTGRES_PASSWORD" psql -qXAt -h "$(hostname)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "${sql}"`); // prettier-ignore
    const rights = 'rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls';
    expect((await query(`SELECT ${rights} FROM pg_roles WHERE rolname = current_user`)).output.trim()).toBe('f');
    expect((await query("COPY (SELECT 1) TO PROGRAM 'cat'")).output).toContain('permission denied');
    expect((await query("SELECT pg_read_file('/etc/passwd')")).output).toContain('permission denied');
    const asSuperuser = await inContainer(postgres, 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h "$(hostname)" -U superuser -d postgres -c ""'); // prettier-ignore
    expect(asSuperuser.output).toContain('password authentication failed');
  });

  it(
    'goes on serving when a setting has become wrong: `up` refuses before it touches anything',
    async () => {
      await writeSettings(compose, { ...SETTINGS, ENCRYPTION_KEY: 'short' });
      expect((await compose.run('up', '-d')).code).not.toBe(0);
      expect((await ask(`${url}/health/ready`)).status).toBe(200);
      expect(await compose.must('logs', 'settings')).toContain('ENCRYPTION_KEY: must be 32 bytes in base64');
      await writeSettings(compose, SETTINGS);
      await compose.must('up', '-d');
    },
    2 * MINUTES,
  );

  it('has the command in its image, which needs no settings of the service', async () => {
    const ran = await compose.run('exec', '-T', '-e', `SCHEDULER_TOKEN=${TOKEN}`, 'scheduler', 'scheduler', 'jobs');
    expect(ran).toMatchObject({ code: 0, output: expect.stringMatching(/^JOB +STATUS/) });
  });

  it('runs the API without rights: no root, a read-only filesystem, nothing of tests and of the local cloud', async () => {
    const scheduler = await compose.container('scheduler');
    const inside = (script: string) => inContainer(scheduler, script);
    expect((await inside('id -un')).output.trim()).toBe('node');
    expect((await inside('touch /app/x || touch /home/node/x')).output).toMatch(/Read-only file system/);
    expect((await inside('ls /app')).output.split(/\s+/).filter(Boolean).sort()).toEqual(
      ['LICENSE', 'dist', 'node_modules', 'package.json'].sort(),
    );
    expect((await inside('ls node_modules/jest node_modules/eslint 2>&1')).code).not.toBe(0);
    expect((await inside('find dist -name "*.spec.*"')).output).toBe('');
    expect((await inside('ls dist/main.js.map')).code).toBe(0);
  });

  it(
    'brings a job to active through nginx, and keeps it over down and up',
    async () => {
      const job = {
        name: 'web',
        image: 'web:1',
        ports: [{ container: 8080, host: 8080 }],
        health: { path: '/', port: 8080, intervalSeconds: 1 },
        rollout: { stableSeconds: 1, drainSeconds: 1 },
      };
      expect((await api('POST', '/v1/jobs', job)).status).toBe(201);
      const deployment = await api('GET', '/v1/jobs/web/deployments/1?wait=60&until=settled');
      expect(await deployment.json()).toMatchObject({ status: 'active', attempt: 1 });

      await compose.must('down');
      await compose.must('up', '-d');
      await untilReady();
      await until(() => isServing('web'), 2 * MINUTES);
    },
    5 * MINUTES,
  );

  it(
    'passes logs and events on to their followers as they come',
    async () => {
      const headers = { authorization: `Bearer ${TOKEN}` };
      const open = (path: string) => EventSource.open(`${url}${path}`, { headers });
      const lines = await open('/v1/jobs/web/logs?follow=true&tail=1');
      const events = await open('/v1/events?job=web&type=deployment.active');
      const plain = await fetch(`${url}/v1/jobs/web/logs?follow=true&tail=1`, { headers });
      const text = plain.body!.pipeThrough(new TextDecoderStream()).getReader();
      const nextLine = async () => JSON.parse((await lines.next())!.data) as { deployment: number; at: string };
      const first = await nextLine();
      const { deployment } = first;
      expect((await text.read()).value).toMatch(/^(listening\n)+$/);

      const made = await api('POST', '/v1/jobs/web/deployments', { image: 'web:2' });
      const { number } = (await made.json()) as { number: number };
      expect(number).toBeGreaterThan(deployment);
      let line = await nextLine();
      // The container began again with the stack, and what it says of that may come only now. No line comes twice.
      while (line.deployment === deployment && line.at > first.at) line = await nextLine();
      expect(line).toMatchObject({ deployment: number, text: 'listening' });
      expect((await text.read()).value).toMatch(/^(listening\n)+$/);
      expect(JSON.parse((await events.next())!.data)).toMatchObject({ type: 'deployment.active', deployment: number });
      lines.close();
      events.close();
      await text.cancel();
    },
    2 * MINUTES,
  );

  it(
    'recovers when a worker, the app or Postgres is killed',
    async () => {
      const scheduler = await compose.container('scheduler');
      const workers = async (): Promise<string[]> =>
        (await docker('exec', scheduler, 'sh', '-c', 'cat /proc/1/task/1/children')).split(/\s+/).filter(Boolean);
      const before = await workers();
      // Two for the API, one for the loops.
      expect(before).toHaveLength(3);
      await docker('exec', scheduler, 'sh', '-c', `kill -9 ${before[0] ?? ''}`);
      await until(async () => {
        const now = await workers();
        return now.length === 3 && !now.includes(before[0] ?? '');
      });

      // By the engine's own word: an outage can be too short to be seen from outside.
      const startedAt = (container: string) => docker('inspect', '--format', '{{.State.StartedAt}}', container);
      const killAndWait = async (container: string): Promise<void> => {
        const killedAt = await startedAt(container);
        await killFromOutside(container);
        await until(async () => (await startedAt(container)) !== killedAt);
      };
      await killAndWait(await compose.container('postgres'));
      await untilReady();
      await until(() => isServing('web'), MINUTES);

      const { instance } = (await (await api('GET', '/v1/jobs/web')).json()) as Job;
      await killAndWait(scheduler);
      await untilReady();
      // The local cloud went down with the network that it shared, and all its instances: they are made again.
      await until(() => isServing('web', (id) => id !== instance?.id), 2 * MINUTES);
    },
    6 * MINUTES,
  );

  it(
    'follows the scheduler to another address',
    async () => {
      const address = async (): Promise<string> =>
        await docker(
          'inspect',
          '--format',
          `{{(index .NetworkSettings.Networks "${compose.project}_front").IPAddress}}`,
          await compose.container('scheduler'),
        );
      const before = await address();
      await compose.must('rm', '-sf', 'local-cloud', 'scheduler');
      // Takes the address that has become free.
      const network = `${compose.project}_front`;
      const squatter = await docker('run', '-d', '--network', network, compose.appImage, 'sleep', '300');
      try {
        expect(await (await api('GET', '/v1/jobs')).json()).toMatchObject({
          type: '/problems/unavailable',
          status: 503,
        });
        await compose.must('up', '-d');
        expect(await address()).not.toBe(before);
        await untilReady();
        expect(await compose.must('logs', 'nginx')).toContain('the scheduler moved to');
      } finally {
        await docker('rm', '-f', squatter);
      }
    },
    3 * MINUTES,
  );

  describe('nginx', () => {
    it('has a configuration that nginx finds no fault with', async () => {
      const test = await compose.must('exec', '-T', 'nginx', 'nginx', '-t', '-c', '/etc/nginx/conf.d/nginx.conf');
      expect(test).toContain('test is successful');
      expect(test).not.toContain('[warn]');
    });

    it('serves the documentation on plain http, without asking the browser for https, and hides its version', async () => {
      const { status, headers, text } = await ask(`${url}/docs`, { 'x-forwarded-proto': 'https' });
      expect(status).toBe(200);
      expect(text).toContain('swagger-ui');
      expect(headers['server']).toBe('nginx');
      expect(headers['strict-transport-security']).toBeUndefined();
      expect(String(headers['content-security-policy'])).not.toContain('upgrade-insecure-requests');
    });

    it('hands request ids on and makes up missing ones; its own answers are problems, too', async () => {
      const given = await ask(`${url}/nothing`, { 'x-request-id': 'mine.1' });
      expect(given.headers['x-request-id']).toBe('mine.1');
      expect(given.text).toContain('urn:request:mine.1');
      const refused = await api('POST', '/v1/jobs', { name: 'x'.repeat(1024 * 1024) });
      expect(refused.status).toBe(413);
      expect(refused.headers.get('content-type')).toBe('application/problem+json');
      expect(refused.headers.get('x-content-type-options')).toBe('nosniff');
      const id = refused.headers.get('x-request-id') ?? '';
      expect(id).toMatch(/^[0-9a-f]{32}$/);
      expect(await refused.json()).toMatchObject({
        type: '/problems/payload-too-large',
        detail: 'A body may have 1 MiB.',
        instance: `urn:request:${id}`,
      });
      const logs = await api('POST', '/agent/v1/orders/1/logs', { text: 'x'.repeat(9 * 1024 * 1024) });
      expect(await logs.json()).toMatchObject({ status: 413, detail: 'A body may have 9 MiB.' });
      const log = (await compose.must('logs', '--no-color', 'nginx')).split('\n').filter((line) => line.includes(id));
      expect(JSON.parse(log[0]?.slice(log[0].indexOf('{')) ?? '')).toMatchObject({
        requestId: id,
        path: '/v1/jobs',
        status: '413',
      });
    });

    it.each(['/v1/jobs', '/agent/v1/orders/1/result', '/agent/v1/orders/1/logs?since=0'])(
      'hands the head of a request to %s on before its body has come: who sends it is asked first',
      async (path) => {
        const { hostname, port } = new URL(url);
        const socket = connect(Number(port || 80), hostname);
        const head = ['content-type: application/json', 'transfer-encoding: chunked'];
        socket.write([`POST ${path} HTTP/1.1`, 'host: localhost', ...head, '', ''].join('\r\n'));
        const [answer] = (await once(socket, 'data')) as [Buffer];
        socket.destroy();
        expect(answer.toString()).toMatch(/^HTTP\/1.1 401 /);
      },
    );

    it('limits the rate of a client of /v1, and never that of agents or probes', async () => {
      const all = async (path: string): Promise<Set<number>> =>
        new Set(await Promise.all(Array.from({ length: 400 }, async () => (await ask(`${url}${path}`)).status)));
      expect(await all('/agent/v1/orders')).toEqual(new Set([401]));
      expect(await all('/health/live')).toEqual(new Set([200]));
      expect(await all('/v1/jobs')).toEqual(new Set([401, 429]));
    });

    it(
      'lets nobody from outside reach routes of agents and metrics, however the path is written',
      async () => {
        const port = await freePort();
        const publish = ['-p', `127.0.0.1:${port}:80`, '-e', 'TRUSTED_PROXY=0.0.0.0/0', '-e', 'NGINX_RATE=100000'];
        await compose.must('run', '-d', '--no-deps', ...publish, 'nginx');
        await until(async () => (await ask(`http://127.0.0.1:${port}/health/live`)).status === 200);
        const from = (address: string) => ({ 'X-Forwarded-For': address });
        // The API asks everybody for a token: 401 is its own word, for these routes and no others that are written here.
        const guarded = ['GET /agent/v1/orders', 'POST /agent/v1/orders/1/logs', 'POST /agent/v1/orders/1/result', 'GET /metrics']; // prettier-ignore
        for (const line of guarded) expect(await statusOf(port, line, from('10.0.0.5'))).toBe(401);
        const reached: string[] = [];
        let tried = 0;
        for (const line of guarded) {
          const [method = '', path = ''] = line.split(' ');
          for (const target of spellingsOf(path, '/health/live')) {
            const status = await statusOf(port, `${method} ${target}`, from('203.0.113.9'));
            tried += 1;
            if (![301, 400, 403, 404].includes(status)) reached.push(`${status} ${target}`);
          }
        }
        expect(reached).toEqual([]);
        expect(tried).toBeGreaterThan(3_000);
      },
      5 * MINUTES,
    );

    it(
      'believes what a balancer says about the client if there is one',
      async () => {
        const port = await freePort();
        const publish = ['-p', `127.0.0.1:${port}:80`, '-e', 'TRUSTED_PROXY=0.0.0.0/0'];
        await compose.must('run', '-d', '--no-deps', ...publish, 'nginx');
        const behind = `http://127.0.0.1:${port}`;
        await until(async () => (await ask(`${behind}/health/live`)).status === 200);

        const secure = await ask(`${behind}/docs`, { 'x-forwarded-proto': 'https' });
        expect(secure.headers['strict-transport-security']).toBe('max-age=31536000');
        expect(String(secure.headers['content-security-policy'])).toContain('upgrade-insecure-requests');

        const agent = (forwarded: string) => ask(`${behind}/agent/v1/orders`, { 'x-forwarded-for': forwarded });
        expect((await agent('10.0.0.5')).status).toBe(401);
        expect((await agent('203.0.113.9')).status).toBe(403);
        // The balancer appends the address it saw; what stands before it anybody can write.
        expect((await agent('10.0.0.5, 203.0.113.9')).status).toBe(403);
      },
      2 * MINUTES,
    );
  });
});

describeStack('the development services', () => {
  let compose: Compose;
  beforeAll(async () => {
    compose = await startCompose();
    await compose.must('build', 'scheduler-test');
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  it(
    'scheduler-test tests the checkout as it is now, without rights, and its exit code is the verdict',
    async () => {
      const spec = join(compose.directory, 'src/verdict.spec.ts');
      const gate = () =>
        compose.run(
          'run',
          '--rm',
          'scheduler-test',
          'npm',
          'run',
          'jest',
          '--',
          '--verbose',
          '--testPathPatterns=verdict',
        );
      const write = (expected: number) =>
        writeFile(
          spec,
          `import { expect, it } from '@jest/globals';\nit('counts as ' + process.getuid?.(), () => expect(1).toBe(${expected}));\n`,
        );
      await write(1);
      const passed = await gate();
      expect(passed.output).toContain('counts as 1000');
      expect(passed.code).toBe(0);
      await write(2);
      expect((await gate()).code).toBe(1);
    },
    5 * MINUTES,
  );

  it(
    'scheduler-dev serves without any settings, reloads an edited source and offers its debugger',
    async () => {
      await compose.must('up', '-d', 'scheduler-dev');
      const { dev, debug } = compose.ports;
      await until(async () => (await ask(`http://127.0.0.1:${dev}/health/ready`)).status === 200, 2 * MINUTES);
      expect((await ask(`http://127.0.0.1:${debug}/json/version`)).text).toContain('node.js');

      const file = join(compose.directory, 'src/health/health.controller.ts');
      const text = await readFile(file, 'utf8');
      expect(text).toContain('Is this process alive?');
      await writeFile(file, text.replace('Is this process alive?', 'Is it?'));
      await until(
        async () => (await ask(`http://127.0.0.1:${dev}/docs/openapi.json`)).text.includes('Is it?'),
        MINUTES,
      );
      const container = await compose.container('scheduler-dev');
      await compose.must('stop', 'scheduler-dev');
      expect(await docker('inspect', '--format', '{{.State.ExitCode}}', container)).toBe('0');
    },
    6 * MINUTES,
  );
});

/** Without the standard client's own ideas about headers; status 0 when nobody answers. */
async function ask(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  return await new Promise((done) => {
    const failed = () => done({ status: 0, headers: {}, text: '' });
    const request = get(url, { headers, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', failed).on('end', () => {
        done({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    request.on('timeout', () => request.destroy()).on('error', failed);
  });
}
