import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createWriteStream, readFileSync, rmSync, writeFileSync, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { requireFreePort } from './ports.ts';
import { say, warn } from './say.ts';

export type ApiProcess = {
  /** Resolves when /health/ready answers 200. @throws Error when it does not in time, or the process never got up. */
  ready(timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
};

export type ApiOptions = {
  root: string;
  url: string;
  env: Record<string, string>;
  isWatching: boolean;
  /** Its log; undefined = this terminal. */
  logFile: string | undefined;
  /** Remembers the process, so that the next run finds it when this one is killed. */
  pidFile: string;
};

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const STEADY_MS = 10_000;
/** More than the API gives itself. */
const STOP_LIMIT_MS = 25_000;

/** The exit code of src/main.ts for wrong settings, which another start would not change. */
const BAD_SETTINGS = 78;

/** The API as its own process; started again whenever it ends. One that a killed run left behind is ended first. */
export async function startApi(options: ApiOptions): Promise<ApiProcess> {
  await endLeftOver(options.pidFile);
  await requireFreePort(Number(new URL(options.url).port), 'PORT');
  const log = options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: 'a' });
  let child: ChildProcess | undefined;
  let isStopping = false;
  let timer: NodeJS.Timeout | undefined;
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => undefined);

  const start = (pauseMs: number): void => {
    const startedAt = performance.now();
    const started = launch(options, log);
    child = started;
    writeFileSync(options.pidFile, String(started.pid ?? ''));
    started.once('exit', (code, signal) => {
      if (isStopping) return;
      if (code === BAD_SETTINGS) {
        refused.reject(new Error(faultsOfSettings(options)));
        return;
      }
      const pause = performance.now() - startedAt > STEADY_MS ? FIRST_PAUSE_MS : pauseMs;
      warn(`the API ended (${signal ?? `code ${code ?? '?'}`}), starting it again`);
      timer = setTimeout(() => start(Math.min(pause * 2, LONGEST_PAUSE_MS)), pause);
    });
  };
  start(FIRST_PAUSE_MS);

  return {
    ready: (timeoutMs) => Promise.race([waitUntilReady(options.url, timeoutMs), refused.promise]),
    stop: async () => {
      isStopping = true;
      clearTimeout(timer);
      if (child) await end(child);
      rmSync(options.pidFile, { force: true });
      log?.end();
    },
  };
}

function launch({ root, env, isWatching }: ApiOptions, log: WriteStream | undefined): ChildProcess {
  const args = isWatching
    ? [join(root, 'node_modules/@nestjs/cli/bin/nest.js'), 'start', '--watch', '--watchAssets', '--debug']
    : ['--enable-source-maps', join(root, 'dist/main.js')];
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: environmentOf(env),
    stdio: ['ignore', log ? 'pipe' : 'inherit', log ? 'pipe' : 'inherit'],
    // Its own group: Ctrl-C reaches us alone, and we stop things in the right order.
    detached: true,
  });
  if (log) {
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
  }
  return child;
}

function environmentOf(env: ApiOptions['env']): NodeJS.ProcessEnv {
  return { ...withoutAws(process.env), ...env };
}

/** The faults as text for people: the log has a line for machines. */
function faultsOfSettings({ root, env }: ApiOptions): string {
  const args = [join(root, 'dist/main.js'), 'check-settings'];
  return spawnSync(process.execPath, args, { cwd: root, env: environmentOf(env), encoding: 'utf8' }).stderr.trimEnd();
}

/** A profile or a session of a real account would win over the keys of the local cloud, or be sent along with them. */
function withoutAws(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('AWS_')));
}

async function waitUntilReady(url: string, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let last = 'no answer';
  while (performance.now() < deadline) {
    try {
      const response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(2_000) });
      if (response.ok) return;
      last = `${response.status} ${await response.text()}`;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`the API is not ready after ${Math.round(timeoutMs / 1000)} s: ${last}`);
}

/** The whole group: with --watch the program is a grandchild. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = new Promise((done) => child.once('exit', done));
  killGroup(child.pid, 'SIGTERM');
  const pid = child.pid;
  const killer = setTimeout(() => {
    say('the API does not end, killing it');
    killGroup(pid, 'SIGKILL');
  }, STOP_LIMIT_MS);
  await ended;
  clearTimeout(killer);
}

async function endLeftOver(pidFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, 'utf8').catch(() => ''));
  if (!(pid > 1) || !isApi(pid)) return;
  killGroup(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_LIMIT_MS;
  while (isApi(pid)) {
    if (performance.now() > deadline) killGroup(pid, 'SIGKILL');
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** The number alone may belong to another program by now. */
function isApi(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return /dist\/main\.js|nest\.js/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return false;
  }
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It ended in this moment.
  }
}
