import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../local/ports.ts';

const ROOT = join(import.meta.dirname, '../..');
const IMAGES = ['node:24-bookworm-slim', 'nginx:1.28-alpine', 'postgres:18-alpine'];
/** 1.29, which Debian has and the files are written for, before v2. */
const COMPOSE = [['docker-compose'], ['docker', 'compose']].find(
  ([command = '', ...args]) => spawnSync(command, [...args, 'version'], { stdio: 'ignore' }).status === 0,
);
const COMMAND_TIMEOUT_MS = 600_000;
const QUIET = { encoding: 'utf8', timeout: 300_000 } as const;
/** Far more than any of these files takes. */
const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024;

export type Ran = { code: number; output: string };

export type Compose = {
  /** The checkout it runs in; edit what you like. */
  readonly directory: string;
  readonly project: string;
  /** Of nginx, on 127.0.0.1. */
  readonly port: number;
  /** What `docker-compose` runs with. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly ports: { readonly dev: number; readonly debug: number };
  /** Of the scheduler, once it is built. */
  readonly appImage: string;
  /** Never rejects because of the exit code. */
  run(...args: string[]): Promise<Ran>;
  /** @throws Error with all output unless the exit code is 0 */
  must(...args: string[]): Promise<string>;
  /** A script of the checkout, with the settings `docker-compose` has. @throws Error with all output unless the exit code is 0 */
  script(file: string, ...args: string[]): Promise<string>;
  /** Id of the service's one container. */
  container(service: string): Promise<string>;
  /** Removes everything but what the images consist of, which is the cache of the next run. */
  dispose(): Promise<void>;
};

/** Why the stack cannot be run here; undefined = it can. */
export function whyNoCompose(): string | undefined {
  if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status !== 0) return 'no Docker engine answers';
  if (COMPOSE === undefined) return 'there is neither docker-compose nor docker compose';
  const missing = IMAGES.find((image) => !has(image) && !canPull(image));
  return missing === undefined ? undefined : `the engine neither has nor can pull ${missing}`;
}

/** @param network first two numbers of the addresses that a test's network is to have. Killed tests leave networks behind. */
export function whyNotIn(network: string): string | undefined {
  const ids = spawnSync('docker', ['network', 'ls', '-q'], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  const format = '{{.Name}} {{range .IPAM.Config}}{{.Subnet}} {{end}}';
  const { stdout } = spawnSync('docker', ['network', 'inspect', '-f', format, ...ids], { encoding: 'utf8' });
  const taken = stdout.split('\n').find((line) => line.includes(` ${network}.`));
  return taken && `the Docker network ${taken.trim()} has addresses that the test needs (docker network prune)`;
}

/**
 * An image of Postgres with client programs of its own version: the official one, or a stand-in that lacks them with them
 * added. undefined = neither is to be had.
 */
export function imageWithPgDump(): string | undefined {
  const [, , image = ''] = IMAGES;
  const tag = 'postgres-with-client:18';
  const isDumping = (name: string): boolean => {
    const { stdout } = spawnSync('docker', ['run', '--rm', '--entrypoint', 'pg_dump', name, '--version'], QUIET);
    return stdout.includes(') 18.');
  };
  if (isDumping(image)) return image;
  if (has(tag) && isDumping(tag)) return tag;
  spawnSync('docker', ['build', '-t', tag, join(ROOT, 'test/docker/postgres-client')], QUIET);
  return has(tag) && isDumping(tag) ? tag : undefined;
}

/** `docker-compose` as a user runs it, in a clean checkout of what is here now, as a project with ports of its own. */
export async function startCompose(files: readonly string[] = ['docker-compose.yml']): Promise<Compose> {
  const directory = await checkOut();
  const project = `stack-${randomBytes(4).toString('hex')}`;
  const [port, dev, debug] = [await freePort(), await freePort(), await freePort()];
  // Of its own: while others build theirs, a shared name would move, and `up` would start every container again.
  const images = { app: `scheduler-api-test:${project}`, development: `scheduler-api-development-test:${project}` };
  const { PATH, HOME } = process.env;
  // Settings of the shell that runs the tests must not decide them.
  const env = {
    PATH,
    HOME,
    // For the scripts in deploy/.
    COMPOSE: (COMPOSE ?? []).join(' '),
    COMPOSE_PROJECT_NAME: project,
    COMPOSE_FILE: files.join(':'),
    HTTP_ADDRESS: '127.0.0.1',
    HTTP_PORT: String(port),
    DEV_PORT: String(dev),
    DEV_DEBUG_PORT: String(debug),
    APP_IMAGE: images.app,
    DEVELOPMENT_IMAGE: images.development,
  };
  const [command = 'docker-compose', ...words] = COMPOSE ?? [];
  const run = async (...args: string[]): Promise<Ran> =>
    await execute(command, [...words, ...args], { cwd: directory, env });
  const must = async (...args: string[]): Promise<string> => {
    const { code, output } = await run(...args);
    if (code !== 0) throw new Error(`docker-compose ${args.join(' ')} ended with ${code}:\n${output}`);
    return output;
  };
  return {
    directory,
    project,
    port,
    environment: env,
    ports: { dev, debug },
    appImage: images.app,
    run,
    must,
    script: async (file, ...args) => {
      const { code, output } = await execute(join(directory, file), args, { cwd: directory, env });
      if (code !== 0) throw new Error(`${file} ended with ${code}:\n${output}`);
      return output;
    },
    container: async (service) => {
      const id = (await must('ps', '-q', service)).trim();
      if (!/^[0-9a-f]{64}$/.test(id)) throw new Error(`${service} has no container: ${id}`);
      return id;
    },
    dispose: async () => {
      await must('down', '--volumes', '--remove-orphans', '--timeout', '5');
      for (const image of Object.values(images).filter(has)) {
        await docker('tag', image, image.replace(/:.*/, ':latest'));
        await docker('rmi', image);
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export async function writeSettings({ directory }: Compose, settings: Record<string, string>): Promise<void> {
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(join(directory, '.env'), lines.join(''), { mode: 0o600 });
}

/** @throws Error with all output unless the exit code is 0 */
export async function docker(...args: string[]): Promise<string> {
  const { code, output } = await execute('docker', args);
  if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}:\n${output}`);
  return output.trim();
}

/**
 * kill -9 of a container's first process from outside, as the kernel does it when memory runs out. `docker kill` would
 * count as the operator's wish, after which nothing is restarted.
 */
export async function killFromOutside(container: string): Promise<void> {
  const pid = await docker('inspect', '--format', '{{.State.Pid}}', container);
  await docker('run', '--rm', '--pid', 'host', IMAGES[0] ?? '', 'sh', '-c', `kill -9 ${pid}`);
}

/** A folder with what is here now, committed or not, and nothing that git ignores. */
export async function checkOut(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'scheduler-api-checkout-'));
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: ROOT, encoding: 'utf8' });
  for (const file of listed.split('\0').filter(Boolean)) {
    // Listed, but removed from the folder: not committed yet.
    await cp(join(ROOT, file), join(directory, file)).catch(() => undefined);
  }
  return directory;
}

/** Never rejects because of the exit code. Much faster than `docker-compose exec`, which is a Python program. */
export async function inContainer(id: string, script: string): Promise<Ran> {
  return await execute('docker', ['exec', id, 'sh', '-c', script]);
}

function has(image: string): boolean {
  return spawnSync('docker', ['image', 'inspect', image], { stdio: 'ignore' }).status === 0;
}

function canPull(image: string): boolean {
  return spawnSync('docker', ['pull', '-q', image], { stdio: 'ignore', timeout: 120_000 }).status === 0;
}

async function execute(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string | undefined> } = {},
): Promise<Ran> {
  return await new Promise((done) => {
    const limits = { timeout: COMMAND_TIMEOUT_MS, maxBuffer: OUTPUT_LIMIT_BYTES };
    const child = execFile(command, args, { ...options, ...limits }, (_error, stdout, stderr) =>
      done({ code: child.exitCode ?? -1, output: `${stdout}${stderr}` }),
    );
  });
}
