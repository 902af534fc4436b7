import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CreateBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { startTestCloud } from '../../local/cloud/test-support.ts';
import { createEmptyDatabase, dropDatabase, queryDatabase } from '../support/database.ts';
import { freePort } from '../../local/ports.ts';
import { type Started, startMain } from '../support/process.ts';
import { until } from '../../local/until.ts';

const KEY = Buffer.alloc(32, 1).toString('base64');
const OTHER_KEY = Buffer.alloc(32, 2).toString('base64');
const JSON_TYPE = { 'content-type': 'application/json' };
const isListening = ({ message }: { message: string }): boolean => message === 'listening';

describe('the program', () => {
  let databaseUrl: string;
  let port: number;
  let started: Started[];

  const start = (env: Record<string, string> = {}, args: string[] = []): Started => {
    const program = startMain({ DATABASE_URL: databaseUrl, ENCRYPTION_KEY: KEY, PORT: String(port), ...env }, args);
    started.push(program);
    return program;
  };

  beforeEach(async () => {
    started = [];
    databaseUrl = await createEmptyDatabase();
    port = await freePort();
  });

  afterEach(async () => {
    for (const program of started) program.process.kill('SIGKILL');
    await Promise.all(started.map(({ ended }) => ended));
    await dropDatabase(databaseUrl);
  });

  it('names every setting that is wrong, without a value or a stack', async () => {
    const program = start({ PORT: 'S3CRET', ENCRYPTION_KEY: 'S3CRET', HOST: '0.0.0.0', PUBLIC_URL: 'http://me' });
    // A supervisor can tell: EX_CONFIG of sysexits.h.
    expect(await program.ended).toBe(78);
    for (const name of ['PORT', 'ENCRYPTION_KEY', 'ADMIN_TOKEN']) expect(program.output()).toContain(`${name}: `);
    expect(program.output()).not.toMatch(/S3CRET|"stack"|HOST: /);
  });

  it('checks the settings alone, in words for people and without a database', async () => {
    const nowhere = { DATABASE_URL: 'postgres://me:S3CRET@127.0.0.1:1/none' };
    expect(await start(nowhere, ['check-settings']).ended).toBe(0);
    const wrong = start({ ...nowhere, ENCRYPTION_KEY: 'S3CRET', WEB_CONCURRENCY: '0' }, ['check-settings']);
    expect(await wrong.ended).toBe(78);
    expect(wrong.output()).toMatch(/^the settings are not usable:\n( {2}(ENCRYPTION_KEY|WEB_CONCURRENCY): .*\n?){2}$/);
    expect(wrong.output()).not.toContain('S3CRET');

    const elsewhere = { ...nowhere, AWS_REGION: 'xx-new-1', IDENTITY_CERTIFICATES: '' };
    const unknown = start(elsewhere, ['check-settings']);
    expect(await unknown.ended).toBe(78);
    expect(unknown.output()).toMatch(/^ {2}AWS_REGION: .*xx-new-1.*name it in IDENTITY_CERTIFICATES$/m);
  });

  it('warns of agents that come in clear text over a network, and is degraded by it, though ready', async () => {
    const program = start({ PUBLIC_URL: 'http://scheduler.test' });
    const warned = await program.line(({ message }) => message === 'agents connect without TLS');
    expect(warned).toMatchObject({ level: 'warn', alarm: true, agentUrl: 'http://scheduler.test' });
    await program.line(isListening);
    const ready = await fetch(`http://127.0.0.1:${port}/health/ready`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      status: 'degraded',
      details: { agents: { status: 'degraded', message: expect.stringContaining('Set AGENT_URL') } },
    });
  });

  it('says nothing of agents that come by TLS', async () => {
    const program = start({ PUBLIC_URL: 'http://scheduler.test', AGENT_URL: 'https://scheduler.test' });
    await program.line(isListening);
    expect(program.output()).not.toContain('agents connect without TLS');
    // What else is degraded is no matter of this: no EC2 answers here, which is told as soon as it was asked.
    const { details } = (await (await fetch(`http://127.0.0.1:${port}/health/ready`)).json()) as { details: object };
    expect(details).not.toHaveProperty('agents');
    expect(details).toMatchObject({ database: { status: 'up' } });
  });

  it('says that Postgres refuses, at once', async () => {
    const program = start({ DATABASE_URL: databaseUrl.replace(/:[^:@]*@/, ':S3CRET@') });
    expect(await program.ended).toBe(1);
    const last = program.lines.at(-1);
    expect(last).toMatchObject({ level: 'fatal', message: expect.stringContaining('cannot connect to Postgres') });
    expect(program.output()).not.toMatch(/S3CRET|Retrying/);
  });

  it('says that its port is taken', async () => {
    await start().line(isListening);
    const second = start();
    expect(await second.ended).toBe(1);
    const message = `PORT: ${port} of 127.0.0.1 is in use by another program`;
    expect(second.lines.at(-1)).toMatchObject({ level: 'fatal', message });
    expect(second.lines.at(-1)).not.toHaveProperty('stack');
  });

  it('logs what nobody expected with a stack of the sources’ lines', async () => {
    await queryDatabase(databaseUrl, 'CREATE SCHEMA "scheduler-jobs" CREATE TABLE jobs (id int)');
    const program = start({}, ['migrate']);
    expect(await program.ended).toBe(1);
    expect(program.lines.at(-1)?.['stack']).toMatch(/already exists\n[^]*\/src\/schema\/migrate\.ts:\d+:/);
  });

  it('migrates, and only that', async () => {
    const first = start({}, ['migrate']);
    expect(await first.ended).toBe(0);
    const again = start({}, ['migrate']);
    expect(await again.ended).toBe(0);
    const applied = [first, again].map(({ lines }) => lines.find(({ message }) => message === 'migrated')?.['applied']);
    expect(applied).toEqual([expect.arrayContaining([expect.any(String)]), []]);
  });

  it('rotates keys while it runs, and a script can tell whether anything of the old key is left', async () => {
    const url = `http://127.0.0.1:${port}`;
    const create = async (name: string): Promise<void> => {
      const body = JSON.stringify({ name, secrets: { A: 'a' } });
      const answer = await fetch(`${url}/v1/jobs`, { method: 'POST', headers: JSON_TYPE, body });
      expect(answer.status).toBe(201);
    };
    const rotate = async (env: Record<string, string>) => {
      const program = start(env, ['rotate-keys']);
      const code = await program.ended;
      const line = program.lines.find(({ column }) => column === 'job_secrets.sealed');
      expect(program.output()).not.toMatch(/[A-Za-z0-9+/]{43}=/);
      return { code, resealed: line?.['resealed'], left: line?.['left'] };
    };
    const changed = { ENCRYPTION_KEY: OTHER_KEY, ENCRYPTION_KEYS_OLD: KEY };

    const before = start({ ROLE: 'api' });
    await before.line(isListening);
    await create('one');
    before.process.kill('SIGTERM');
    await before.ended;
    await start({ ROLE: 'api', ...changed }).line(isListening);
    await create('two');
    expect(await rotate({ ENCRYPTION_KEY: OTHER_KEY })).toEqual({ code: 1, resealed: 0, left: 1 });
    expect(await rotate(changed)).toEqual({ code: 0, resealed: 1, left: 0 });
    expect(await rotate({ ENCRYPTION_KEY: OTHER_KEY })).toEqual({ code: 0, resealed: 0, left: 0 });
  }, 60_000);

  it('knows no other command', async () => {
    const program = start({}, ['bogus']);
    expect(await program.ended).toBe(1);
    expect(program.output()).toContain('bogus');
  });

  it('takes its settings from S3', async () => {
    const s3 = createServer((request, response) => {
      const isThere = request.url?.startsWith('/bucket/secrets/.env');
      response
        .writeHead(isThere ? 200 : 404)
        .end(isThere ? `ADMIN_TOKEN=a-token-from-the-bucket\nLOG_LEVEL=debug\n` : '');
    }).listen(0, '127.0.0.1');
    await once(s3, 'listening');
    const program = start({
      SECRETS_URI: 's3://bucket/secrets/.env',
      AWS_ENDPOINT_URL: `http://127.0.0.1:${(s3.address() as AddressInfo).port}`,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    });
    const { url } = await program.line(isListening);
    const answers = await Promise.all(
      [undefined, 'Bearer a-token-from-the-bucket'].map((authorization) =>
        fetch(`${String(url)}/v1/jobs`, { headers: authorization === undefined ? {} : { authorization } }),
      ),
    );
    s3.closeAllConnections();
    s3.close();
    expect(answers.map(({ status }) => status)).toEqual([401, 200]);
    expect(program.output()).not.toContain('a-token-from-the-bucket');
  });

  it('takes its settings from S3 also where the bucket is in another region', async () => {
    const cloud = await startTestCloud();
    try {
      await cloud.s3.send(new CreateBucketCommand({ Bucket: 'elsewhere' }));
      const Body = 'ADMIN_TOKEN=a-token-from-the-bucket\n';
      await cloud.s3.send(new PutObjectCommand({ Bucket: 'elsewhere', Key: 'secrets/.env', Body }));
      cloud.cloud.faults.moveBucket('elsewhere', 'eu-west-1');
      const env = { SECRETS_URI: 's3://elsewhere/secrets/.env', ...cloud.cloud.clientEnvironment };
      // Beyond loopback a token is needed, and only the bucket has one.
      const program = start({ ...env, HOST: '0.0.0.0', PUBLIC_URL: 'https://me.example' }, ['check-settings']);
      expect([await program.ended, program.output()]).toEqual([0, 'the settings can be used']);
    } finally {
      await cloud.stop();
    }
  });

  it('answers what is under way, then ends', async () => {
    const program = start();
    await program.line(isListening);
    const socket = connect(port, '127.0.0.1');
    socket.write(
      'POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"x"',
    );
    // The answer to a second request tells that the first has arrived.
    await fetch(`http://127.0.0.1:${port}/health/live`).then((response) => response.text());
    program.process.kill('SIGTERM');
    await program.line(({ message }) => message === 'shutting down');
    socket.write(':1}');
    expect(await text(socket)).toMatch(/^HTTP\/1.1 422 [^]*connection: close/i);
    expect(await program.ended).toBe(0);
  });

  it('does not wait for connections that were opened in advance and never used', async () => {
    const program = start();
    await program.line(isListening);
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    await once(socket, 'connect');
    await fetch(`http://127.0.0.1:${port}/health/live`).then((response) => response.text());
    program.process.kill('SIGTERM');
    const startedAt = performance.now();
    expect(await program.ended).toBe(0);
    // Node itself would wait until its headers are too late: 15 s.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it('runs several API processes and one with the loops, and starts what died', async () => {
    const program = start({ WEB_CONCURRENCY: '2' });
    const others: number[] = [];
    const nextWorker = async (role: string): Promise<number> => {
      const { pid } = await program.line((line) => line['role'] === role && !others.includes(line.pid));
      others.push(pid);
      return pid;
    };
    const first = await nextWorker('api');
    await nextWorker('api');
    await nextWorker('scheduler');

    process.kill(first, 'SIGKILL');
    await nextWorker('api');
    expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(200);

    program.process.kill('SIGTERM');
    expect(await program.ended).toBe(0);
    for (const pid of others) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  it('counts on the loops’ process from the start, also where that one never gets anywhere', async () => {
    const program = start({ WEB_CONCURRENCY: '2' });
    const { pid } = await program.line((line) => line['role'] === 'scheduler');
    // Before its first sign of life.
    process.kill(pid, 'SIGSTOP');
    try {
      await program.line(isListening);
      await until(async () => {
        const response = await fetch(`http://127.0.0.1:${port}/health/ready`);
        const { details } = (await response.json()) as { details: { loops: object } };
        return 'scheduler-process' in details.loops;
      }, 20_000);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });
});
