import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createWriteStream, rmSync, writeFileSync, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endChild, endLeftOver } from './processes.ts';
import { say, warn } from './say.ts';
import { until } from './until.ts';

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
  const leftOver = Number(await readFile(options.pidFile, 'utf8').catch(() => ''));
  const isApi = (command: string) => /dist\/main\.js|nest\.js/.test(command);
  if (leftOver > 1) await endLeftOver(-leftOver, isApi, { name: 'SIGTERM', limitMs: STOP_LIMIT_MS });
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
    : [join(root, 'dist/main.js')];
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
  let last = 'no answer';
  const isReady = async (): Promise<boolean> => {
    try {
      const response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(2_000) });
      last = `${response.status} ${await response.text()}`;
      return response.ok;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
      return false;
    }
  };
  await until(isReady, timeoutMs, () => `the API is not ready after ${Math.round(timeoutMs / 1000)} s: ${last}`);
}

/** The whole group: with --watch the program is a grandchild. */
async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  const onLimit = () => say('the API does not end, killing it');
  await endChild(child, -child.pid, { name: 'SIGTERM', limitMs: STOP_LIMIT_MS, onLimit });
}
