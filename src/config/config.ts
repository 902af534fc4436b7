import { createSecretKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { type HostRules, isWithin } from './host-name.js';
import { FORMER_SETTINGS, Settings } from './settings.js';

/** The settings of the whole program, from its environment. Injected by groups: `@Setting`. */
export type Config = {
  readonly http: {
    readonly host: string;
    readonly port: number;
    /** Without a trailing slash. */
    readonly publicUrl: string;
    readonly adminToken?: string;
    /** `none`: every caller is an operator. */
    readonly auth: 'token' | 'none';
    readonly docs: 'public' | 'off';
    readonly metrics: 'token' | 'public';
    readonly trustProxy: boolean | readonly string[];
  };
  readonly agents: {
    /** Where agents reach us, without a trailing slash. */
    readonly url: string;
    /** `sha256//<base64>=` of the keys that server may have; none: any key that the instance's authorities certify. */
    readonly pins: readonly string[];
    /** Agents connect by plain HTTP over a network: any server that answers in our place can give them orders. */
    readonly isInClear: boolean;
  };
  /** Where jobs have their addresses; undefined = they have none. */
  readonly addresses: Addresses | undefined;
  /** How long an ingress goes by its last answer while no process of ours answers. */
  readonly ingress: { readonly staleSeconds: number };
  readonly database: { readonly url: string; readonly listenUrl: string };
  readonly aws: {
    readonly region: string;
    readonly accountId?: string;
    /** Above 0, at most 1. */
    readonly quotaShare: number;
    /** Hosts; `own`: that of our own account in `region`. */
    readonly ecrRegistries: readonly string[];
  };
  readonly cluster: string;
  readonly role: Role;
  readonly webConcurrency: number;
  readonly retentionDays: number;
  readonly eventsRetentionDays: number;
  readonly logs: {
    /** Where sealed chunks are. */
    readonly folder: LogFolder;
    /** Of each job, uncompressed. */
    readonly maxBytes: number;
    readonly retentionDays: number;
  };
  readonly limits: {
    /** Of a token without a limit of its own. */
    readonly requestsPerMinute: number;
    readonly maxJobs?: number;
  };
  /**
   * 32 bytes each, for AES-256: the first seals, all open. KeyObjects, since those never show their bytes when they are
   * logged.
   */
  readonly encryptionKeys: readonly [KeyObject, ...KeyObject[]];
  readonly fleet: {
    readonly defaultAmi: string;
    readonly allowedAmis: readonly string[];
    readonly allowedSubnets: readonly string[];
    readonly allowedSecurityGroups: readonly string[];
    readonly allowedProfiles: readonly string[];
    readonly maxInstances?: number;
    readonly maxLaunchesPerMinute: number;
  };
  /** Of the volume with Postgres's data; undefined = none are taken. */
  readonly snapshots: { readonly volumeId: string; readonly retentionDays: number } | undefined;
  readonly webhooks: {
    /** Networks, addresses and host names webhooks may be sent to in addition to public addresses. */
    readonly allowedNetworks: readonly string[];
  };
  /** `certificates`: paths of PEM files trusted in addition to AWS's own. */
  readonly identity: { readonly certificates: readonly string[] };
  readonly logLevel: LogLevel;
  /** Settings that were given under their name of the previous version. */
  readonly formerNames: readonly { readonly former: string; readonly name: string }[];
  readonly tracing: {
    readonly exporter: 'otlp' | 'console' | 'none';
    readonly serviceName: string;
    readonly sampler: Settings['OTEL_TRACES_SAMPLER'];
    /** From 0 to 1, for samplers by ratio. */
    readonly sampledShare: number;
  };
};
/** `prefix` is empty or ends with a slash. */
export type LogFolder =
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string; readonly isPathStyle: boolean }
  | { readonly kind: 'directory'; readonly path: string };
/** A job's URL is `<scheme>//<job>.<domain><:port>`. */
export type JobUrls = {
  readonly scheme: 'http:' | 'https:';
  readonly domain: string;
  /** With its colon, or empty. */
  readonly port: string;
};
export type Addresses = JobUrls & {
  /** For callers among the jobs; the same where the operator has no others for them. */
  readonly private: JobUrls;
  readonly hostRules: HostRules;
};
export type Role = 'all' | 'api' | 'scheduler';
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** Shape of `process.env`; an empty value counts as none, as compose files pass `${X:-}`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Every problem at once, by variable name. No message contains a value: many are secrets. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly problems: readonly string[]) {
    super(`the settings are not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
  }
}

/** @throws ConfigError */
export function loadConfig(env: Environment): Config {
  const { given, former } = withCurrentNames(withoutEmpty(env));
  const parsed = Settings.safeParse(given);
  const problems = [...(parsed.error?.issues ?? []).map(describeIssue), ...findContradictions(given)];
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(group(parsed.data, former, 'AWS_ENDPOINT_URL' in given || 'AWS_ENDPOINT_URL_S3' in given));
}

/** Whether a listener on this address can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  const address = host.toLowerCase();
  if (address === 'localhost' || address === '::1') return true;
  return isIP(address) === 4 && address.startsWith('127.');
}

/** Operators who want the service reachable set another address: so this is the default with and without a token. */
const DEFAULT_HOST = '127.0.0.1';

/** @param isPathStyle S3 is not AWS's own */
function group(settings: Settings, formerNames: Config['formerNames'], isPathStyle: boolean): Config {
  const host = settings.HOST ?? DEFAULT_HOST;
  const url = settings.DATABASE_URL ?? postgresUrl(settings);
  const publicUrl = (settings.PUBLIC_URL ?? `http://${urlHost(host)}:${settings.PORT}`).replace(/\/+$/, '');
  return {
    http: {
      host,
      port: settings.PORT,
      publicUrl,
      ...(settings.ADMIN_TOKEN !== undefined && { adminToken: settings.ADMIN_TOKEN }),
      auth: settings.AUTH ?? (settings.ADMIN_TOKEN === undefined ? 'none' : 'token'),
      docs: settings.DOCS,
      metrics: settings.METRICS,
      trustProxy: settings.TRUST_PROXY,
    },
    agents: {
      url: settings.AGENT_URL?.replace(/\/+$/, '') ?? publicUrl,
      pins: settings.AGENT_PINS,
      // Without both, HOST is a loopback address, or this process launches nothing (ROLE=api).
      isInClear: isInClear(settings.AGENT_URL ?? settings.PUBLIC_URL),
    },
    addresses:
      settings.JOBS_URL === undefined
        ? undefined
        : {
            ...jobUrlsIn(settings.JOBS_URL),
            private: jobUrlsIn(settings.JOBS_PRIVATE_URL ?? settings.JOBS_URL),
            hostRules: { domains: settings.JOBS_HOSTS, reserved: hostsOf(publicUrl, settings.AGENT_URL) },
          },
    ingress: { staleSeconds: settings.ADDRESS_STALE_SECONDS },
    database: { url, listenUrl: settings.DATABASE_LISTEN_URL ?? url },
    aws: {
      region: settings.AWS_REGION,
      ...(settings.AWS_ACCOUNT_ID !== undefined && { accountId: settings.AWS_ACCOUNT_ID }),
      quotaShare: settings.EC2_QUOTA_SHARE,
      ecrRegistries: settings.ECR_REGISTRIES,
    },
    cluster: settings.CLUSTER,
    role: settings.ROLE,
    webConcurrency: settings.WEB_CONCURRENCY,
    retentionDays: settings.RETENTION_DAYS,
    eventsRetentionDays: settings.EVENTS_RETENTION_DAYS,
    logs: {
      folder: logFolderOf(settings.LOGS_URI, isPathStyle),
      maxBytes: settings.LOGS_MAX_MIB * 1_048_576,
      retentionDays: settings.LOGS_RETENTION_DAYS,
    },
    limits: {
      requestsPerMinute: settings.RATE_LIMIT,
      ...(settings.MAX_JOBS !== undefined && { maxJobs: settings.MAX_JOBS }),
    },
    encryptionKeys: [keyOf(settings.ENCRYPTION_KEY), ...settings.ENCRYPTION_KEYS_OLD.map(keyOf)],
    fleet: {
      defaultAmi: settings.DEFAULT_AMI,
      allowedAmis: settings.ALLOWED_AMIS,
      allowedSubnets: settings.ALLOWED_SUBNETS,
      allowedSecurityGroups: settings.ALLOWED_SECURITY_GROUPS,
      allowedProfiles: settings.ALLOWED_PROFILES,
      ...(settings.MAX_INSTANCES !== undefined && { maxInstances: settings.MAX_INSTANCES }),
      maxLaunchesPerMinute: settings.MAX_LAUNCHES_PER_MINUTE,
    },
    snapshots:
      settings.DATA_VOLUME_ID === undefined
        ? undefined
        : { volumeId: settings.DATA_VOLUME_ID, retentionDays: settings.SNAPSHOTS_RETENTION_DAYS },
    webhooks: { allowedNetworks: settings.WEBHOOKS_ALLOWED_NETWORKS },
    identity: { certificates: settings.IDENTITY_CERTIFICATES },
    logLevel: settings.LOG_LEVEL,
    formerNames,
    tracing: {
      exporter: tracesExporterOf(settings),
      serviceName: settings.OTEL_SERVICE_NAME,
      sampler: settings.OTEL_TRACES_SAMPLER,
      sampledShare: settings.OTEL_TRACES_SAMPLER_ARG,
    },
  };
}

function isInClear(url: string | undefined): boolean {
  if (url === undefined) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

function jobUrlsIn(url: string): JobUrls {
  const { protocol, hostname, port } = new URL(url);
  return { scheme: protocol === 'https:' ? protocol : 'http:', domain: hostname, port: port && `:${port}` };
}

function hostsOf(...urls: readonly (string | undefined)[]): string[] {
  return [...new Set(urls.flatMap((url) => (url === undefined ? [] : new URL(url).hostname.replace(/\.$/, ''))))];
}

/** Whether a job of the right name would have this URL's host. */
function isBelow(url: string | undefined, jobsUrl: string | undefined): boolean {
  if (!url || !jobsUrl || !URL.canParse(url) || !URL.canParse(jobsUrl)) return false;
  return new URL(url).hostname.endsWith(`.${new URL(jobsUrl).hostname}`);
}

function tracesExporterOf(settings: Settings): Config['tracing']['exporter'] {
  if (settings.OTEL_SDK_DISABLED) return 'none';
  const endpoint = settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_ENDPOINT;
  return settings.OTEL_TRACES_EXPORTER ?? (endpoint === undefined ? 'none' : 'otlp');
}

function logFolderOf(uri: string, isPathStyle: boolean): LogFolder {
  const [, bucket, path = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri) ?? [];
  if (bucket === undefined) return { kind: 'directory', path: resolve(uri) };
  const prefix = path.replace(/\/+$/, '');
  return { kind: 's3', bucket, prefix: prefix === '' ? '' : `${prefix}/`, isPathStyle };
}

function keyOf(base64: string): KeyObject {
  return createSecretKey(base64, 'base64');
}

function describeIssue(issue: z.core.$ZodIssue): string {
  return `${issue.path.join('.')}: ${issue.message}`;
}

/** Faults of several settings together. Reads the raw text, to report them with the faults of single settings. */
function findContradictions(given: Record<string, string>): string[] {
  const problems: string[] = [];
  const host = given['HOST'] ?? DEFAULT_HOST;
  if (given['AUTH'] === 'none' && given['ADMIN_TOKEN'] !== undefined) {
    problems.push('AUTH: is none although ADMIN_TOKEN is set: leave one of them out');
  }
  if (!isLoopback(host) && given['I_KNOW_ANYONE_CAN_DEPLOY'] !== 'true') {
    if (given['AUTH'] === 'none') problems.push('AUTH: must not be none when HOST is not a loopback address');
    else if (given['AUTH'] === undefined && given['ADMIN_TOKEN'] === undefined) {
      problems.push('ADMIN_TOKEN: is required when HOST is not a loopback address');
    }
  }
  if (!isLoopback(host) && given['PUBLIC_URL'] === undefined && given['ROLE'] !== 'api') {
    problems.push('PUBLIC_URL: is required when HOST is not a loopback address: agents on the instances connect to it');
  }
  const agentUrl = given['AGENT_URL'] ?? given['PUBLIC_URL'];
  if (given['AGENT_PINS'] !== undefined && agentUrl?.startsWith('https:') !== true) {
    problems.push('AGENT_PINS: need an AGENT_URL that begins with https://: without TLS there is no key to compare');
  }
  problems.push(...contradictionsOfAddresses(given));
  if (given['WEB_CONCURRENCY'] !== undefined && given['WEB_CONCURRENCY'] !== '1' && given['ROLE'] === 'scheduler') {
    problems.push('WEB_CONCURRENCY: must be 1 when ROLE is scheduler');
  }
  if (given['DATABASE_URL'] === undefined) {
    for (const name of ['POSTGRES_USER', 'POSTGRES_PASSWORD'] as const) {
      if (given[name] === undefined) problems.push(`${name}: is required when there is no DATABASE_URL`);
    }
  }
  return problems;
}

function contradictionsOfAddresses(given: Record<string, string>): string[] {
  const problems: string[] = [];
  for (const jobs of ['JOBS_URL', 'JOBS_PRIVATE_URL'] as const) {
    for (const name of ['PUBLIC_URL', 'AGENT_URL', 'JOBS_URL'] as const) {
      if (isBelow(given[name], given[jobs])) problems.push(`${jobs}: has the host of ${name} among the jobs’ own`);
    }
  }
  for (const name of ['JOBS_HOSTS', 'JOBS_PRIVATE_URL'] as const) {
    if (given[name] === undefined || given['JOBS_URL'] !== undefined) continue;
    problems.push(`${name}: needs JOBS_URL, which says how jobs are called`);
  }
  const [domain, privately] = [given['JOBS_URL'], given['JOBS_PRIVATE_URL']].map(
    (url) => URL.parse(url ?? '')?.hostname,
  );
  const listed = (given['JOBS_HOSTS'] ?? '').split(',').map((host) => host.trim());
  if (domain !== undefined && listed.some((host) => isWithin(host, domain))) {
    problems.push('JOBS_HOSTS: has a name of the domain of JOBS_URL, where each name is that of a job');
  }
  // Above it as well: a job that has a host there would never be called at it.
  const isOther = privately !== undefined && domain !== undefined && !isWithin(privately, domain);
  if (isOther && listed.some((host) => isWithin(host, privately) || isWithin(privately, host))) {
    problems.push('JOBS_HOSTS: shares names with the domain of JOBS_PRIVATE_URL, where each name is that of a job');
  }
  return problems;
}

/** Where a setting is given under both names, the present name wins. */
function withCurrentNames(env: Record<string, string>) {
  const former = Object.entries(FORMER_SETTINGS)
    .filter(([old]) => old in env)
    .map(([old, name]) => ({ former: old, name }));
  const renamed = former.map(({ former: old, name }) => [name, env[old] ?? ''] as const);
  return { given: { ...Object.fromEntries(renamed), ...env }, former };
}

function withoutEmpty(env: Environment): Record<string, string> {
  const entries = Object.entries(env).map(([name, value]) => [name, value?.trim() ?? ''] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== ''));
}

function postgresUrl(settings: Settings): string {
  const { POSTGRES_USER = '', POSTGRES_PASSWORD = '', POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB } = settings;
  const credentials = `${encodeURIComponent(POSTGRES_USER)}:${encodeURIComponent(POSTGRES_PASSWORD)}`;
  return `postgres://${credentials}@${urlHost(POSTGRES_HOST)}:${POSTGRES_PORT}/${encodeURIComponent(POSTGRES_DB)}`;
}

function urlHost(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value) as unknown[]) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner);
  }
  return Object.freeze(value);
}
