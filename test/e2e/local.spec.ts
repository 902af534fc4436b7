import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { until } from '../../local/until.ts';

const children: ChildProcess[] = [];
const ROOT = join(import.meta.dirname, '../..');

/** `npm run local` as a user runs it, on a folder and ports of its own. */
describe('npm run local', () => {
  let directory: string;
  let port: number;
  let env: Record<string, string | undefined>;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-local-'));
    // As a clone in an ordinary folder: in a private one Postgres' data would be kept elsewhere.
    await chmod(directory, 0o755);
    port = await freePort();
    const cloudPort = await freePort();
    env = { ...process.env, PORT: String(port), LOCAL_CLOUD_PORT: String(cloudPort), LOCAL_DIR: directory };
    env['LOCAL_MODE'] = 'simulated';
    // What a developer's shell may hold: with them the API would ask as somebody the local cloud does not know.
    Object.assign(env, { AWS_PROFILE: 'work', AWS_SESSION_TOKEN: 'session', AWS_ACCESS_KEY_ID: 'AKIAREAL' });
  });
  afterEach(async () => {
    // Whatever a failed test left running would keep Jest alive, and the port.
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  }, 60_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('ends with the name of a setting that the API cannot use', async () => {
    const { process: run, line } = start({ ...env, ADMIN_TOKEN: 'short' });
    const ended = once(run, 'exit');
    await line(/^ {2}ADMIN_TOKEN: must have at least 16 characters$/);
    await ended;
    expect(run.exitCode).toBe(1);
  }, 60_000);

  it('says first that it simulates, gets ready and brings the sample to active; stops everything on SIGTERM', async () => {
    const run = start(env);
    const active = await run.line(/^the sample is active: curl (\S+)/);
    expect(run.lines()[0]).toMatch(/^SIMULATED/);
    expect(run.lines()).toContain(`ready http://127.0.0.1:${port}`);
    expect(
      run
        .lines()
        .filter((line) => line !== '')
        .at(-1),
    ).toBe(active[0]);
    // The sample has a name on the API's own port, with curl also where the system does not resolve it.
    expect(active[1]).toBe(`http://hello.localhost:${port}/`);
    expect(run.lines()).toContain(`  without names  curl -H 'Host: hello.localhost:${port}' http://127.0.0.1:${port}/`);
    expect(await withHost(port, 'hello.localhost')).toMatchObject([200, expect.stringContaining('hello')]);
    expect(await withHost(port, 'hello.jobs.internal')).toMatchObject([200, expect.stringContaining('hello')]);
    expect(await withHost(port, 'other.localhost')).toMatchObject([
      404,
      expect.stringContaining('No job has this address'),
    ]);
    const pids = await startedProcesses(directory);
    expect(pids.filter(isAlive)).toHaveLength(2);

    // The keys are for this user alone, and open the local cloud.
    const file = join(directory, 'env');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const settings = parseEnv(await readFile(file, 'utf8'));
    const ledger = `${settings['AWS_ENDPOINT_URL'] ?? ''}/_local/ledger`;
    const authorization = `Bearer ${settings['LOCAL_CONTROL_TOKEN'] ?? ''}`;
    const { calls } = (await (await fetch(ledger, { headers: { authorization } })).json()) as { calls: object[] };
    expect(calls).toContainEqual(expect.objectContaining({ action: 'RunInstances', outcome: 'ok' }));
    expect((await fetch(ledger)).status).toBe(401);

    run.process.kill('SIGTERM');
    await once(run.process, 'exit');
    expect(run.process.exitCode).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
  }, 120_000);

  it('keeps its data: the sample is healed on a new instance, and not made twice', async () => {
    const run = start({ ...env, ALLOWED_PROFILES: 'team-a' });
    await run.line(/^the sample is active/);
    expect(run.lines().join('\n')).not.toContain('POST /v1/jobs');
    const { items } = (await (await fetch(`http://127.0.0.1:${port}/v1/jobs`)).json()) as { items: { name: string }[] };
    expect(items.map(({ name }) => name)).toEqual(['hello']);
    const deployment = await (await fetch(`http://127.0.0.1:${port}/v1/jobs/hello/deployments/1`)).json();
    expect(deployment).toMatchObject({ status: 'active', attempt: 2 });

    // The local cloud has the instance profiles that jobs may name.
    const jobs = `http://127.0.0.1:${port}/v1/jobs`;
    const body = JSON.stringify({ name: 'profiled', image: 'web:1', instance: { profile: 'team-a' } });
    await fetch(jobs, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const profiled = await (await fetch(`${jobs}/profiled?wait=30&until=settled`)).json();
    expect(profiled).toMatchObject({ status: 'running' });
    await fetch(`${jobs}/profiled`, { method: 'DELETE' });

    // The next test starts where kill -9 leaves things.
    run.process.kill('SIGKILL');
    await once(run.process, 'exit');
  }, 120_000);

  it('starts again after kill -9 of itself, and ends what that run left behind', async () => {
    const leftOver = await startedProcesses(directory);
    expect(leftOver.filter(isAlive).length).toBeGreaterThan(0);
    // With access control on, this time.
    const run = start({ ...env, ADMIN_TOKEN: 'the-token-of-the-operator' });
    await run.line(/^the sample is active/);
    expect((await fetch(`http://127.0.0.1:${port}/v1/jobs`)).status).toBe(401);
    expect(await readFile(join(directory, 'env'), 'utf8')).toContain('ADMIN_TOKEN=the-token-of-the-operator\n');
    expect(leftOver.filter(isAlive)).toEqual([]);

    const [, apiPid = 0] = await startedProcesses(directory);
    process.kill(apiPid, 'SIGKILL');
    await run.line(/^the API ended \(SIGKILL\)/);
    await until(async () => await isReady(port), 180_000);

    const second = start(env);
    await second.line(/is in use by process \d+/);
    run.process.kill('SIGINT');
    await once(run.process, 'exit');
    expect((await startedProcesses(directory)).filter(isAlive)).toEqual([]);
  }, 180_000);
});

/** A request of this machine that names another host. */
async function withHost(port: number, name: string): Promise<[number | undefined, string]> {
  const sent = get({ host: '127.0.0.1', port, headers: { host: `${name}:${port}` }, agent: false });
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return [response.statusCode, await text(response)];
}

function start(env: Record<string, string | undefined>) {
  const child: ChildProcess = spawn(process.execPath, ['local/main.ts'], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  let wake = (): void => undefined;
  const collect = (chunk: Buffer): void => {
    text += chunk.toString();
    wake();
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  child.once('exit', () => setImmediate(() => wake()));
  const lines = (): string[] => text.split('\n');
  return {
    process: child,
    lines,
    /** The first line that matches. @throws Error when the process ends without one */
    line: async (pattern: RegExp): Promise<RegExpExecArray> => {
      for (;;) {
        for (const line of lines()) {
          const match = pattern.exec(line);
          if (match) return match;
        }
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`ended without ${pattern}:\n${text}`);
        await new Promise<void>((done) => (wake = done));
      }
    },
  };
}

/** Postgres and the API, by what the run wrote down. */
async function startedProcesses(directory: string): Promise<number[]> {
  const postgres = await readFile(join(directory, 'postgres/data/postmaster.pid'), 'utf8').catch(() => '');
  const api = await readFile(join(directory, 'api.pid'), 'utf8').catch(() => '');
  return [postgres.split('\n')[0], api].flatMap((text) => (text ? [Number(text)] : []));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function isReady(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined);
  return response?.ok === true;
}
