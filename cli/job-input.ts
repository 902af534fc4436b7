import type { CreateJob, Job, JobPatch } from '../client/index.js';
import { parseEnvFile } from './env-file.js';
import { Failure } from './failure.js';
import type { Environment } from './session.js';
import { readSecret, readText } from './text-input.js';

/** What a deployment runs with, as files and options define it; a missing field is left as it is. */
export type Definition = Omit<
  CreateJob,
  'name' | 'kind' | 'image' | 'secrets' | 'timeoutSeconds' | 'retry' | 'schedule'
>;
export type JobFile = Definition & Pick<CreateJob, 'image' | 'kind'>;

export type DefinitionOptions = {
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly port?: readonly string[];
  /** False where `--no-route` was given. */
  readonly route?: boolean;
  readonly routePort?: number;
  readonly host?: readonly string[];
  readonly allowFrom?: readonly string[];
  readonly health?: string;
  readonly memory?: number;
  readonly cpus?: number;
  readonly init?: boolean;
  /** False where `--no-new-privileges` was given: to the parser it is the negation of another option. */
  readonly newPrivileges?: boolean;
  readonly type?: readonly string[];
  readonly market?: 'on-demand' | 'spot';
};

export type SecretOptions = {
  readonly secret?: readonly string[];
  readonly secretStdin?: string;
  readonly secretsFile?: readonly string[];
};

/** Where values come from that are neither in an option nor in a file. */
export type Surroundings = {
  readonly environment: Environment;
  readonly stdin: NodeJS.ReadableStream;
  /** Called with what is left out, and why. */
  readonly warn: (message: string) => void;
};

/** Complete, or it does not compile: a new field of a job is added here. */
const FIELDS: Readonly<Record<keyof Definition, true>> = {
  command: true,
  entrypoint: true,
  env: true,
  ports: true,
  route: true,
  memoryMiB: true,
  cpus: true,
  init: true,
  noNewPrivileges: true,
  health: true,
  instance: true,
  rollout: true,
  onCapacity: true,
  maxSilenceSeconds: true,
};

/** A job as `POST /v1/jobs` accepts it, from a file; the API checks its fields. @throws Failure */
export function readJobFile(path: string, name: string): JobFile {
  const file = parseObject(path, readText(path));
  if ('secrets' in file) {
    throw new Failure('usage', `${path} holds secrets: give them by --secret, --secret-stdin or --secrets-file`);
  }
  const { name: itsName = name, ...job } = file;
  if (itsName !== name) throw new Failure('usage', `${path} is for the job «${String(itsName)}», not ${name}`);
  return job;
}

/** @throws Failure naming the option */
export function definitionOf(
  options: DefinitionOptions,
  command: readonly string[],
  surroundings: Surroundings,
): Definition {
  const env = {
    ...readVariables(options.envFile ?? [], surroundings),
    ...pairsOf(options.env ?? [], surroundings.environment),
  };
  const ports = (options.port ?? []).map(portOf);
  const route = routeOf(options);
  const instance = {
    ...(options.type && { types: [...options.type] }),
    ...(options.market && { market: options.market }),
  };
  return {
    ...(command.length > 0 && { command: [...command] }),
    ...(Object.keys(env).length > 0 && { env }),
    ...(ports.length > 0 && { ports }),
    ...(route !== undefined && { route }),
    ...(options.health !== undefined && { health: healthOf(options.health, ports[0]?.host) }),
    ...(options.memory !== undefined && { memoryMiB: options.memory }),
    ...(options.cpus !== undefined && { cpus: options.cpus }),
    ...(options.init !== undefined && { init: options.init }),
    ...(options.newPrivileges === false && { noNewPrivileges: true }),
    ...(Object.keys(instance).length > 0 && { instance }),
  };
}

/** Values of secrets, none of which was an argument. @throws Failure */
export async function secretsOf(
  { secret = [], secretStdin, secretsFile = [] }: SecretOptions,
  surroundings: Surroundings,
): Promise<Record<string, string>> {
  const named = secret.map((name) => [name, environmentValue('--secret', name, surroundings.environment)] as const);
  return {
    ...readVariables(secretsFile, surroundings),
    ...Object.fromEntries(named),
    ...(secretStdin !== undefined && Object.fromEntries([[secretStdin, await readSecret(surroundings.stdin)]])),
  };
}

/**
 * The merge patch that makes a job equal to a file: a field that is not in the file gets its default again. Secrets
 * are in no file and stay. An unknown field stays in, so that the API rejects it by name.
 */
export function replacing(job: Job, file: JobFile): JobPatch {
  const { requestedInstance, ...rest } = job;
  const current: Readonly<Record<string, unknown>> = { ...rest, instance: requestedInstance };
  const wanted: Readonly<Record<string, unknown>> = file;
  const spokenOf = Object.keys(wanted).filter((field) => field !== 'kind' && field !== 'image');
  const entries = [...new Set([...Object.keys(FIELDS), ...spokenOf])].map((field) => {
    const value = wanted[field] ?? null;
    // A choice, not a record: its members are no fields of their own, and none may be null.
    return [field, field === 'onCapacity' ? value : patchOf(current[field], value)] as const;
  });
  return Object.fromEntries(entries);
}

/** What must be patched away first: merging cannot remove a member of `onCapacity`. */
export function clearing({ onCapacity: current }: Job, { onCapacity: wanted }: Definition): JobPatch | undefined {
  if (!isRecord(current) || !isRecord(wanted)) return undefined;
  return Object.keys(current).some((key) => !Object.hasOwn(wanted, key)) ? { onCapacity: null } : undefined;
}

function patchOf(current: unknown, wanted: unknown): unknown {
  if (!isRecord(wanted) || !isRecord(current)) return wanted;
  const gone = Object.keys(current).filter((key) => !Object.hasOwn(wanted, key));
  const kept = Object.entries(wanted).map(([key, value]) => [key, patchOf(ownOf(current, key), value)] as const);
  return Object.fromEntries([...gone.map((key) => [key, null] as const), ...kept]);
}

/** A variable may be named `constructor`, which every object has. */
function ownOf(record: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** `NAME=VALUE`, or `NAME` with the value that the environment has, as Docker does it. */
function pairsOf(pairs: readonly string[], environment: Environment): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at === 0) throw new Failure('usage', `--env «${pair}» must be NAME=VALUE`);
      return at < 0 ? [pair, environmentValue('--env', pair, environment)] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

function environmentValue(option: '--env' | '--secret', name: string, environment: Environment): string {
  if (name.includes('=')) {
    const detail = 'an argument can be read by everybody on the machine';
    throw new Failure('usage', `${option} takes a name only, and its value from the environment: ${detail}`);
  }
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (value !== undefined) return value;
  const otherwise = option === '--env' ? ', so that it must be NAME=VALUE' : '';
  throw new Failure('usage', `${option} ${name}: there is no such variable in the environment${otherwise}`);
}

/** Of several files the later ones win. */
function readVariables(paths: readonly string[], { environment, warn }: Surroundings): Record<string, string> {
  const files = paths.map((path) => {
    const { values, missing } = parseEnvFile(path, readText(path), environment);
    for (const name of missing) {
      warn(`${name} of ${path} is left out: it has no value there, and none in the environment`);
    }
    return Object.entries(values);
  });
  return Object.fromEntries(files.flat());
}

/** `80` or `HOST:CONTAINER`, as Docker has it. */
function portOf(text: string): { container: number; host: number } {
  const [, host, container = host] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (host === undefined) throw new Failure('usage', `--port «${text}» must be PORT or HOST:CONTAINER`);
  return { host: Number(host), container: Number(container) };
}

/** What no option spoke of is left as it is. */
function routeOf({ route, routePort, host, allowFrom }: DefinitionOptions): Definition['route'] {
  const chosen = {
    ...(routePort !== undefined && { port: routePort }),
    ...(host && { hosts: [...host] }),
    ...(allowFrom && { allow: [...allowFrom] }),
  };
  const isChosen = Object.keys(chosen).length > 0;
  if (route !== false) return isChosen ? chosen : undefined;
  if (isChosen) throw new Failure('usage', '--no-route goes with no --route-port, --host or --allow-from');
  return false;
}

/** `/path` at the first published port, or `PORT/path`. */
function healthOf(text: string, firstPort: number | undefined): { path: string; port: number } {
  const [, port, path] = /^(\d{1,5})?(\/.*)$/.exec(text) ?? [];
  const hostPort = port === undefined ? firstPort : Number(port);
  if (path === undefined || hostPort === undefined) {
    throw new Failure('usage', `--health «${text}» must be /PATH together with --port, or HOST_PORT/PATH`);
  }
  return { path, port: hostPort };
}

function parseObject(path: string, text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    const place = /\bat position \d+/.exec(String(error))?.[0] ?? '';
    throw new Failure('usage', `${path} is not JSON ${place}`.trimEnd());
  }
  if (!isRecord(parsed)) throw new Failure('usage', `${path} must hold a JSON object`);
  return parsed;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
