import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { ConfigError, type Environment } from './config.js';

export type LoadOptions = {
  /** Where the default `.env` is looked for. Default: the working directory. */
  readonly directory?: string;
  /** Bounds the call to S3. Default: that of ObjectStore. */
  readonly timeoutMs?: number;
};

/**
 * The settings before they are checked: the process environment wins over the object at SECRETS_URI, that over the file
 * at ENV_FILE (default: `.env`, if there is one).
 *
 * What the AWS SDK and OpenTelemetry's exporter read by themselves (`AWS_…`, `OTEL_…`) is written into `env`, so that a
 * file can name an endpoint, a region or credentials. Nothing else is written there: secrets must not reach child
 * processes.
 * @throws ConfigError naming the file or URI, and the cause
 */
export async function loadEnvironment(env = process.env, options: LoadOptions = {}): Promise<Environment> {
  const given = withoutEmpty(env);
  const file = await readEnvFile(given, options.directory ?? process.cwd());
  const local = { ...file, ...given };
  publishForLibraries(local, env);
  const uri = local['SECRETS_URI'];
  if (uri === undefined) return local;
  const merged = { ...file, ...(await readSecrets(uri, local, options.timeoutMs)), ...given };
  publishForLibraries(merged, env);
  return merged;
}

type Values = Readonly<Record<string, string>>;

async function readEnvFile(given: Values, directory: string): Promise<Values> {
  const named = given['ENV_FILE'];
  const path = named ?? join(directory, '.env');
  if (named === undefined && !existsSync(path)) return {};
  try {
    return withoutEmpty(parseEnv(await readFile(path, 'utf8')));
  } catch (error) {
    throw new ConfigError([`ENV_FILE: ${path} cannot be read: ${causeOf(error)}`]);
  }
}

async function readSecrets(uri: string, env: Values, timeoutMs: number | undefined): Promise<Values> {
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(uri) ?? [];
  if (bucket === undefined || key === undefined) throw new ConfigError(['SECRETS_URI: must look like s3://bucket/key']);
  // Loaded only where it is needed: the SDK costs a start some 100 ms.
  const { ObjectStore } = await import('../aws/s3.js');
  const store = new ObjectStore({
    region: env['AWS_REGION'] ?? 'us-west-2',
    isPathStyle: 'AWS_ENDPOINT_URL' in env || 'AWS_ENDPOINT_URL_S3' in env,
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
  try {
    return withoutEmpty(parseEnv(await store.readText({ bucket, key })));
  } catch (error) {
    throw new ConfigError([`SECRETS_URI: ${uri} cannot be read: ${causeOf(error)}`]);
  } finally {
    store.close();
  }
}

function publishForLibraries(values: Values, env: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(values)) {
    if (/^(AWS_|OTEL_)/.test(name)) env[name] = value;
  }
}

/** An empty value counts as none, as in loadConfig. */
function withoutEmpty(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const filled = Object.entries(values).filter((entry): entry is [string, string] => (entry[1] ?? '').trim() !== '');
  return Object.fromEntries(filled);
}

function causeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return causeOf(error.errors[0]);
  if (!(error instanceof Error)) return String(error);
  // To a role that may not list the bucket S3 answers this for a missing object, too.
  if (error.name === 'AccessDenied') return 'AccessDenied: the role may not read it, or it does not exist';
  // The SDK puts S3's error code (NoSuchKey …) into the name.
  return error.name === 'Error' ? error.message : `${error.name}: ${error.message}`;
}
