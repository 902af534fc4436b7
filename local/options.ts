import { join, resolve } from 'node:path';

export type LocalMode = 'auto' | 'docker' | 'simulated';

/** The settings of `npm run local`, from its environment. */
export type LocalOptions = {
  /** Of the API. */
  readonly port: number;
  /** Of the local cloud's EC2 and S3. */
  readonly cloudPort: number;
  /** Host names, in addition to loopback's, under which the local cloud is called, as by other containers. */
  readonly cloudHosts: readonly string[];
  /** undefined = a free one. */
  readonly databasePort: number | undefined;
  /** Everything that is kept between runs. */
  readonly directory: string;
  readonly mode: LocalMode;
  /** Image of the sample job; undefined = no sample. */
  readonly sample: string | undefined;
  /** Start the API with `nest start --watch`. */
  readonly isWatching: boolean;
};

export const DEFAULT_SAMPLE = 'node:24-bookworm-slim';

/** @throws Error naming the variable. */
export function readOptions(env: NodeJS.ProcessEnv, args: readonly string[], root: string): LocalOptions {
  const mode = env['LOCAL_MODE'] || 'auto';
  if (mode !== 'auto' && mode !== 'docker' && mode !== 'simulated') {
    throw new Error('LOCAL_MODE must be auto, docker or simulated');
  }
  const sample = env['LOCAL_SAMPLE'] || DEFAULT_SAMPLE;
  return {
    port: portOf(env, 'PORT') ?? 3000,
    cloudPort: portOf(env, 'LOCAL_CLOUD_PORT') ?? 4566,
    cloudHosts: hostsOf(env, 'LOCAL_CLOUD_HOSTS'),
    databasePort: portOf(env, 'LOCAL_DB_PORT'),
    directory: resolve(root, env['LOCAL_DIR'] || join(root, '.local')),
    mode,
    sample: sample === 'none' ? undefined : sample,
    isWatching: args.includes('--watch'),
  };
}

function hostsOf(env: NodeJS.ProcessEnv, name: string): string[] {
  const hosts = (env[name] ?? '').split(',').map((host) => host.trim().toLowerCase());
  const wrong = hosts.find((host) => !/^[a-z0-9._-]*$/.test(host));
  if (wrong === undefined) return hosts.filter((host) => host !== '');
  throw new Error(`${name} must be names or IPv4 addresses without ports, with commas between them: ${wrong} is none`);
}

function portOf(env: NodeJS.ProcessEnv, name: string): number | undefined {
  const text = env[name];
  if (!text) return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`${name} must be a port, 1 to 65535`);
  return port;
}
