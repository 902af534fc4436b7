import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLocalCloud, type CloudOptions, type LocalCloud } from '../../local/cloud/local-cloud.ts';
import type { InstanceRuntime } from '../../local/cloud/runtime.ts';
import { freePort } from '../../local/ports.ts';
import { createMigratedDatabase, dropDatabase, openQueries } from './database.ts';
import { until } from '../../local/until.ts';

export type StackOptions = {
  runtime: InstanceRuntime;
  cloud?: Partial<CloudOptions>;
  /** API processes on one database; each has all roles. Default 1. */
  replicas?: number;
  env?: Record<string, string>;
  /** An empty database of the test's own. Default: one of the Postgres all tests share, dropped at the end. */
  databaseUrl?: string;
};

/** The program as users run it: `dist/main.js` as processes of their own, real Postgres, the local cloud. */
export type Stack = {
  readonly cloud: LocalCloud;
  readonly databaseUrl: string;
  /** Of the first process. */
  readonly url: string;
  /** Of every process. */
  readonly urls: readonly string[];
  /** Parsed JSON answer; tries the next process while one does not answer. @throws Error for statuses other than 2xx, unless expected */
  call<T = Record<string, unknown>>(method: string, path: string, body?: object): Promise<T>;
  /** Body of a GET for plain text. @throws Error for statuses other than 2xx */
  text(path: string): Promise<string>;
  status(method: string, path: string, body?: object): Promise<number>;
  /** Also of a request that is refused, then with the problem's code. */
  answer(method: string, path: string, body?: object): Promise<{ status: number; body: unknown; problem?: string }>;
  /** Straight from the database: what the API does not return. */
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  kill(replica: number, signal?: NodeJS.Signals): Promise<void>;
  restart(replica: number): Promise<void>;
  /** As if so much time had passed since the owner was killed: the next one need not wait for the end of its lease. */
  expireLease(): Promise<void>;
  /** What the processes logged. */
  logs(): string;
  stop(): Promise<void>;
};

const MAIN = join(import.meta.dirname, '../../dist/main.js');
/** Nine processes may be starting on two busy cores. */
const READY_TIMEOUT_MS = 90_000;

export async function startStack({
  runtime,
  cloud: cloudOptions,
  replicas = 1,
  env = {},
  databaseUrl: ownDatabaseUrl,
}: StackOptions): Promise<Stack> {
  const directory = await mkdtemp(join(tmpdir(), 'scheduler-api-stack-'));
  const databaseUrl = ownDatabaseUrl ?? (await createMigratedDatabase());
  const database = openQueries(databaseUrl);
  const cloud = await startLocalCloud({ port: 0, bootMs: 200, visibilityMs: 100, runtime, ...cloudOptions });
  const certificate = join(directory, 'identity.pem');
  await writeFile(certificate, cloud.identityCertificatePem);
  const ports = await Promise.all(Array.from({ length: replicas }, freePort));
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  const settings = {
    DATABASE_URL: databaseUrl,
    ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    ...cloud.clientEnvironment,
    IDENTITY_CERTIFICATES: certificate,
    ...env,
  };
  let log = '';
  const processes = new Map<number, ChildProcess>();

  const start = async (replica: number): Promise<void> => {
    const child = spawn(process.execPath, [MAIN], {
      // An empty environment: what is on the machine that runs the tests must not matter.
      env: { PATH: process.env['PATH'], ENV_FILE: '/dev/null', ...settings, PORT: String(ports[replica]) },
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const collect = (chunk: Buffer): void => void (log = (log + chunk.toString()).slice(-500_000));
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    processes.set(replica, child);
    await untilReady(urls[replica] ?? '', child, () => log);
  };
  const kill = async (replica: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    const child = processes.get(replica);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  };
  const stop = async (): Promise<void> => {
    await Promise.all([...processes.keys()].map((replica) => kill(replica, 'SIGTERM')));
    await cloud.stop();
    await database.close();
    if (!ownDatabaseUrl) await dropDatabase(databaseUrl);
    await rm(directory, { recursive: true, force: true });
  };

  try {
    await Promise.all(ports.map((_, replica) => start(replica)));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    cloud,
    databaseUrl,
    url: urls[0] ?? '',
    urls,
    call: async <T>(method: string, path: string, body?: object) => {
      const response = await send(urls, method, path, body);
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
      return JSON.parse(text) as T;
    },
    text: async (path) => {
      const response = await send(urls, 'GET', path);
      const text = await response.text();
      if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${text}`);
      return text;
    },
    answer: async (method, path, body) => {
      const response = await send(urls, method, path, body);
      const parsed = (await response.json()) as { type?: string };
      const problem = response.ok ? undefined : (parsed.type?.split('/').at(-1) ?? 'unknown');
      return { status: response.status, body: parsed, ...(problem !== undefined && { problem }) };
    },
    query: (sql, values) => database.query(sql, values),
    status: async (method, path, body) => (await send(urls, method, path, body)).status,
    kill,
    restart: start,
    expireLease: async () => {
      await database.query('UPDATE owner SET expires_at = clock_timestamp()');
    },
    logs: () => log,
    stop,
  };
}

/** From the first process that answers: a client behind a load balancer. */
async function send(urls: readonly string[], method: string, path: string, body?: object): Promise<Response> {
  let failure: unknown;
  for (const url of urls) {
    try {
      return await fetch(`${url}${path}`, {
        method,
        ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(70_000),
      });
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`${method} ${path}: no process answers`, { cause: failure });
}

async function untilReady(url: string, child: ChildProcess, log: () => string): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`the API ended with code ${child.exitCode}: ${log()}`);
    const response = await fetch(`${url}/health/ready`).catch(() => undefined);
    return response?.ok === true;
  };
  await until(isReady, READY_TIMEOUT_MS, () => `the API is not ready: ${log()}`);
}
