import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { EXITS } from '../../cli/exit-codes.ts';
import { type CliOptions, type Ended, runCli, type RunningCli, startCli } from '../support/cli.ts';
import { freePort } from '../../local/ports.ts';
import { startStack, type Stack } from '../support/stack.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator-0123456789';
const SECRET = 'hunter2-and-more';

/** As fast as a deployment can be. */
const QUICK = {
  ports: [{ container: 8080, host: 8080 }],
  health: { path: '/', port: 8080, intervalSeconds: 1, timeoutSeconds: 1 },
  rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1, deadlineSeconds: 120 },
};

type Deployment = { number: number; status: string; image: string; definition: { env: Record<string, string> } };

describe('the command scheduler', () => {
  let stack: Stack;
  let directory: string;
  let file: string;
  const said: string[] = [];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-cli-'));
    file = await written('job.json', QUICK);
    stack = await startStack({ runtime: createSimulatedRuntime(), env: { ADMIN_TOKEN } });
  }, 60_000);
  afterAll(async () => {
    await stack.stop();
    await rm(directory, { recursive: true, force: true });
  }, 60_000);

  const environment = (env: CliOptions['env'] = {}) => ({
    SCHEDULER_URL: stack.url,
    SCHEDULER_TOKEN: ADMIN_TOKEN,
    ...env,
  });
  const start = (args: readonly string[], { env, input = '' }: CliOptions = {}): RunningCli =>
    startCli(args, { env: environment(env), input });
  async function scheduler(...args: string[]): Promise<Ended> {
    const ended = await start(args).ended;
    said.push(ended.stdout, ended.stderr);
    return ended;
  }
  async function ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await scheduler(...args);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    return stdout;
  }
  async function json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await ok(...args, '--json')) as T;
  }
  async function written(name: string, content: unknown): Promise<string> {
    const path = join(directory, name);
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  }

  it('makes a job, deploys to it, shows it, rolls it back, stops it, starts it and deletes it', async () => {
    const first = await scheduler('deploy', 'web', 'hello-web:1', '-f', file, '-e', 'GREETING=one');
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^web #1 active on i-\w+ after .*\n$/) });
    expect(first.stderr).toMatch(/^made the job web\nweb #1 hello-web:1\n/);
    const second = await scheduler('deploy', 'web', 'hello-web:2', '--env', 'GREETING=two');
    expect(second).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^env: for this deployment only; --save/),
    });

    const { items } = await json<{ items: Deployment[] }>('deployments', 'web');
    expect(items.map(({ number, image, definition }) => [number, image, definition.env])).toEqual([
      [2, 'hello-web:2', { GREETING: 'two' }],
      [1, 'hello-web:1', { GREETING: 'one' }],
    ]);
    expect(await ok('jobs')).toMatch(/^JOB .*\nweb +running +#2 +i-\w+ +http:\/\/127\.\S+:8080 .* ago\n$/);
    expect(await ok('status', 'web')).toMatch(/^web {2}running\n {2}kind +service\n {2}active +#2\n/);
    await ok('wait', 'web', '1', '--until', 'ended');
    expect(await ok('status', 'web', '1')).toMatch(/^web #1 {2}superseded\n {2}image +hello-web:1\n/);
    expect(await ok('instances')).toMatch(/^INSTANCE .*\n(i-.*\n)*i-\w+ +(pending|running) .*web #2/);
    expect(await ok('fleet')).toMatch(/^instances {2}0 pending, .*\n/);

    const following = start(['events', '-f', '-j', 'web', '-d', '3', '--json']);
    const back = await scheduler('rollback', 'web');
    expect(back.stdout).toMatch(/^web #3 active on .*, again what #1 ran\n$/);
    expect(back.stderr).toMatch(/^web #3 hello-web:1, again what #1 ran\n/);
    await ok('wait', 'web', '2', '--until', 'ended');
    expect(await ok('deployments', 'web')).toMatch(
      /\n#3 +active +hello-web:1 +rollback to #1 +- +.*\n#2 +superseded +hello-web:2 +api +- /,
    );
    await following.until(/"deployment.active"/);
    following.process.kill('SIGINT');
    const { stdout: followed } = await following.ended;
    const types = followed
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect(types.filter((type) => type.startsWith('deployment.'))).toEqual([
      'deployment.created',
      'deployment.deploying',
      'deployment.active',
    ]);
    expect(await ok('events', '-j', 'web', '--type', 'job.*', '-n', '1')).toMatch(
      /^20\S+Z {2}job\.created +web {2}by admin\n$/,
    );
    expect(await json<Deployment>('status', 'web', '#3')).toMatchObject({ image: 'hello-web:1' });
    expect(await ok('restart', 'web')).toMatch(/^web #4 active/);
    expect(await ok('stop', 'web')).toMatch(/^web {2}stopped\n/);
    expect(await ok('start', 'web', '--quiet')).toMatch(/^web #5 active/);
    expect(await ok('wait', 'web')).toMatch(/^web #5 active/);
    expect(await ok('delete', 'web', '--yes')).toBe('web is gone\n');
    expect((await scheduler('status', 'web')).code).toBe(EXITS['not-found'].code);
    expect(await ok('jobs')).toBe('JOB  STATUS  ACTIVE  INSTANCE  ADDRESS  CHANGED\n');
  }, 120_000);

  it('waits at a stop for what was still draining, too', async () => {
    const slow = await written('drain.json', { ...QUICK, rollout: { ...QUICK.rollout, drainSeconds: 4 } });
    await ok('deploy', 'draining', 'hello-web:1', '-f', slow);
    await ok('restart', 'draining', '-q');
    expect(await ok('stop', 'draining')).toMatch(/^draining {2}stopped\n/);
    const first = await ok('status', 'draining', '1');
    expect(first).toMatch(/^draining #1 {2}superseded\n/);
    expect(first).toMatch(/\n {2}message +deployment 2 is active\n/);
    expect(first).not.toContain('superseded-by-newer');
    await ok('delete', 'draining', '-y');
  }, 60_000);

  it('makes the job what the file says, and keeps options to their deployment unless told to save them', async () => {
    const env = (name: string, number: string) =>
      json<Deployment>('status', name, number).then(({ definition }) => definition.env);
    const withEnv = await written('env.json', { ...QUICK, env: { A: '1', B: '1' }, onCapacity: { waitSeconds: 60 } });
    await ok('deploy', 'filed', 'hello-web:1', '-f', withEnv);
    await ok('deploy', 'filed', '-e', 'A=2', '--no-wait');
    expect(await env('filed', '2')).toEqual({ A: '2', B: '1' });
    await ok('deploy', 'filed', '--no-wait');
    expect(await env('filed', '3')).toEqual({ A: '1', B: '1' });
    await ok('deploy', 'filed', '-e', 'A=3', '--save', '--no-wait');
    await ok('deploy', 'filed', '--no-wait');
    expect(await env('filed', '5')).toEqual({ A: '3', B: '1' });

    const without = await written('without.json', { ...QUICK, env: { A: '4' }, memoryMiB: 64, onCapacity: {} });
    await ok('deploy', 'filed', '-f', without, '-e', 'C=1', '--no-wait');
    expect(await env('filed', '6')).toEqual({ A: '4', C: '1' });
    const job = await json<Record<string, unknown>>('status', 'filed');
    expect(job).toMatchObject({ env: { A: '4' }, memoryMiB: 64, onCapacity: { waitSeconds: 600 } });
    expect(await ok('delete', 'filed', '-y', '--no-wait')).toMatch(/^filed {2}deleting\n/);
    expect(await ok('wait', 'filed', '--until', 'gone')).toBe('filed is gone\n');
  }, 120_000);

  it('takes secrets from the environment, from standard input and from a file, and shows none of them', async () => {
    const secrets = await written('secrets.env', `FROM_FILE=${SECRET}-file\n`);
    const args = ['deploy', 'secretive', 'sim/exit:3', '-f', file, '-s', 'FROM_ENV', '--secret-stdin', 'FROM_STDIN'];
    const { code, stdout, stderr } = await start([...args, '--secrets-file', secrets], {
      env: { FROM_ENV: SECRET },
      input: `${SECRET}-stdin\n`,
    }).ended;
    said.push(stdout, stderr);
    expect(code).toBe(EXITS.failed.code);
    expect(await json('status', 'secretive')).toMatchObject({ secrets: ['FROM_ENV', 'FROM_FILE', 'FROM_STDIN'] });
    await ok('delete', 'secretive', '-y');
    expect(said.join('').length).toBeGreaterThan(1_000);
    expect(said.join('')).not.toContain(SECRET);
    expect(said.join('')).not.toContain(ADMIN_TOKEN);
    expect(said.join('')).not.toContain('\u001b');
  }, 60_000);

  it('tells why a deployment failed, and exits by whose fault it was', async () => {
    const failed = await scheduler('deploy', 'faulty', 'sim/exit:3', '-f', file);
    expect(failed.code).toBe(EXITS.failed.code);
    expect(failed.stderr).toMatch(/error: faulty #1 failed\n {2}phase +starting\n {2}reason +container-exited\n/);
    expect(failed.stderr).toMatch(/exit code +3\n {2}last log lines:\n {4}sim: exits 3/);
    expect(failed.stdout).toBe('');
    expect((await scheduler('wait', 'faulty')).code).toBe(EXITS.failed.code);

    const big = await scheduler(
      'deploy',
      'big',
      'sim/oom:1',
      '-f',
      await written('big.json', { ...QUICK, memoryMiB: 64 }),
    );
    expect(big.code).toBe(EXITS.failed.code);
    expect(big.stderr).toMatch(/reason +out-of-memory\n/);
    expect(big.stderr).toContain('its limit is 64 MiB');
    // Its registry refuses two pulls: that is waited for.
    const busy = await scheduler('deploy', 'busy', 'sim/busy:2', '-f', file);
    expect(busy.stderr).toContain('toomanyrequests');
    expect(busy.code).toBe(EXITS.ok.code);

    stack.cloud.faults.setCapacity({ type: 'm5.large' }, 0);
    const poor = await written('poor.json', { ...QUICK, onCapacity: 'fail', instance: { types: ['m5.large'] } });
    const { code, stdout, stderr } = await scheduler('deploy', 'poor', 'hello-web:1', '-f', poor, '--json', '-q');
    expect(code).toBe(EXITS.infrastructure.code);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'failed', reason: 'capacity-unavailable', number: 1 });
    expect(JSON.parse(stderr)).toMatchObject({ error: { exit: 'infrastructure', code: 4 } });
    for (const name of ['faulty', 'big', 'busy', 'poor']) await ok('delete', name, '-y');
  }, 120_000);

  it('cancels; whoever waited for it is told, and so is who runs out of time or is stopped', async () => {
    const waiting = start(['deploy', 'slow', 'sim/slow:60', '-f', file]);
    await waiting.until(/pulling/);
    expect(await ok('cancel', 'slow')).toBe('slow #1 cancelled\n');
    expect(await waiting.ended).toMatchObject({ code: EXITS.cancelled.code });

    const impatient = await scheduler('deploy', 'slow', 'sim/slow:60', '--timeout', '1s');
    expect(impatient.code).toBe(EXITS['timed-out'].code);
    expect(impatient.stderr).toContain('slow #2 goes on: scheduler wait slow 2');
    for (const [signal, exit] of [
      ['SIGINT', EXITS.interrupted],
      ['SIGTERM', EXITS.terminated],
    ] as const) {
      const stopped = start(['wait', 'slow']);
      await stopped.until(/pulling|deploying/);
      stopped.process.kill(signal);
      expect(await stopped.ended).toMatchObject({
        code: exit.code,
        stderr: expect.stringContaining('slow #2 goes on: scheduler wait slow 2'),
      });
    }
    expect(await json('status', 'slow', '2')).toMatchObject({ status: 'deploying' });
    await ok('delete', 'slow', '-y');
  }, 60_000);

  it('waits on while the API is killed and started again', async () => {
    const waiting = start(['deploy', 'patient', 'sim/slow:6', '-f', file]);
    await waiting.until(/pulling/);
    await stack.kill(0);
    await stack.restart(0);
    const { code, stdout } = await waiting.ended;
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^patient #1 active/) });
    await ok('delete', 'patient', '-y');
  }, 90_000);

  it('makes tokens, which may do what they are for, and revokes them', async () => {
    const { stdout: token } = await scheduler('tokens', 'create', 'ci', '--role', 'viewer', '--scope', 'team-a-');
    expect(token).toMatch(/^sch_\w+\n$/);
    const path = await written('token', token);
    const asViewer = (...args: string[]) =>
      runCli([...args, '--token-file', path], { env: { SCHEDULER_URL: stack.url } });
    expect(await asViewer('jobs')).toMatchObject({ code: 0 });
    expect(await asViewer('deploy', 'team-a-web', 'hello-web:1')).toMatchObject({ code: EXITS.denied.code });
    expect(await ok('tokens', 'list')).toMatch(/\n\w+ +ci +viewer +team-a- +never /);
    const id = token.split('_')[1]!;
    expect(await ok('tokens', 'revoke', id)).toBe(`ci (${id}) is revoked\n`);
    expect(await asViewer('jobs')).toMatchObject({ code: EXITS.denied.code });
  }, 60_000);

  it('bounds a token by what the API can bound it by', async () => {
    const limits = ['--max-jobs', '3', '--max-instances', '4', '--max-webhooks', '0', '--requests-per-minute', '60'];
    const allow = ['registries=docker.io', 'registries=ghcr.io/team-a', 'profiles=', 'types=t3.*', 'maxDiskGiB=50'];
    const allowed = allow.flatMap((pair) => ['--allow', pair]);
    const made = await json<{ id: string }>('tokens', 'create', 'bounded', '--role', 'deployer', ...limits, ...allowed);
    expect(made).toMatchObject({
      ...{ role: 'deployer', scope: null, maxJobs: 3, maxInstances: 4, maxWebhooks: 0, requestsPerMinute: 60 },
      allow: { registries: ['docker.io', 'ghcr.io/team-a'], profiles: [], types: ['t3.*'], maxDiskGiB: 50 },
    });
    await ok('tokens', 'revoke', made.id);
  });

  it.each<[keyof typeof EXITS, string, string[]]>([
    ['usage', 'FIELD=VALUE', ['tokens', 'create', 'ci', '--role', 'deployer', '--allow', 'docker.io']],
    ['usage', 'whole number', ['tokens', 'create', 'ci', '--role', 'deployer', '--allow', 'maxDiskGiB=much']],
    ['invalid', 'constructor', ['tokens', 'create', 'ci', '--role', 'deployer', '--allow', 'constructor=x']],
    ['usage', 'unknown command', ['deployy']],
    ['usage', 'must be NAME=VALUE', ['deploy', 'web', 'nginx', '-e', 'x']],
    ['usage', 'no such variable', ['deploy', 'web', 'nginx', '-s', 'NOWHERE']],
    ['usage', 'takes a name only', ['deploy', 'web', 'nginx', '-s', 'PASSWORD=secret']],
    ['usage', 'cannot read /nowhere', ['deploy', 'web', 'nginx', '-f', '/nowhere']],
    ['usage', 'is no time', ['wait', 'web', '--timeout', 'soon']],
    ['usage', 'must be like https://', ['jobs', '--url', 'ftp://x']],
    ['usage', 'use --yes', ['delete', 'web']],
    ['usage', 'give the image', ['deploy', 'nowhere']],
    ['invalid', '#/image must not contain spaces', ['deploy', 'web', 'A B']],
    [
      'invalid',
      '#/health/port must be one of the host ports',
      ['deploy', 'web', 'nginx', '-p', '80', '--health', '81/'],
    ],
    ['not-found', 'there is no job', ['deploy', 'nowhere', 'nginx', '--no-create']],
    ['not-found', 'Job not found', ['rollback', 'nowhere']],
    ['unreachable', 'no answer: connect ECONNREFUSED', ['jobs', '--url', 'CLOSED', '--retry-for', '0']],
  ])('exits as %s: %s', async (exit, message, args) => {
    const closed = `http://127.0.0.1:${await freePort()}`;
    const { code, stdout, stderr } = await scheduler(...args.map((arg) => (arg === 'CLOSED' ? closed : arg)));
    expect({ code, stdout, stderr }).toEqual({
      code: EXITS[exit].code,
      stdout: '',
      stderr: expect.stringContaining(message),
    });
  });

  it('exits as conflict where the state does not allow it, with the problem as JSON', async () => {
    await ok('deploy', 'single', 'hello-web:1', '-f', file);
    const { code, stderr } = await scheduler('rollback', 'single', '--json');
    expect(code).toBe(EXITS.conflict.code);
    expect(JSON.parse(stderr)).toMatchObject({
      error: { exit: 'conflict', code: 10, problem: { type: '/problems/cannot-roll-back', status: 409 } },
    });
    expect((await scheduler('cancel', 'single')).code).toBe(EXITS.conflict.code);
    expect((await scheduler('deploy', 'single', 'sim/exit:3')).code).toBe(EXITS.failed.code);
    const refused = await scheduler('rollback', 'single');
    expect(refused.code).toBe(EXITS.conflict.code);
    expect(refused.stderr).toContain('Deployment 1 is serving; 2 never did.');
    expect(refused.stderr).toContain('scheduler rollback single --to NUMBER');
    await ok('delete', 'single', '-y');
  }, 60_000);

  it('exits as an error where the answer is no Scheduler API’s, and names the URL a redirect asks for', async () => {
    const site = createServer((request, response) => {
      if (request.url?.startsWith('/moved')) response.writeHead(308, { location: 'https://elsewhere.example/v1/jobs' });
      else response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<html>welcome</html>');
    }).listen(0, '127.0.0.1');
    await once(site, 'listening');
    const url = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    const page = await scheduler('jobs', '--url', url);
    expect(page).toMatchObject({
      code: EXITS.error.code,
      stderr: expect.stringContaining(`${url}/v1/jobs?limit=200 is no Scheduler API`),
    });
    const moved = await scheduler('jobs', '--url', `${url}/moved`);
    expect(moved).toMatchObject({ code: EXITS.error.code, stderr: expect.stringContaining('https://elsewhere') });
    site.close();
  });

  it('warns before a token goes over the net in clear text', async () => {
    const args = ['jobs', '--url', 'http://scheduler.invalid', '--retry-for', '0'];
    expect((await scheduler(...args)).stderr).toContain('warning: the token goes to scheduler.invalid in clear text');
  });
});
