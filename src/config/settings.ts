import { isIP } from 'node:net';
import { z } from 'zod';
import { AGENT_PIN, AGENT_URL } from './agent-url.js';
import { awsSettings } from './aws-settings.js';
import { isHostName } from './host-name.js';
import { list, url, wholeNumber } from './setting-values.js';
import { tracingSettings } from './tracing-settings.js';

// All settings. The table of docs/settings.md and .env.example are generated from this file (scripts/settings-docs.ts),
// so a description is written for an operator.

export type SettingMeta = {
  readonly description: string;
  /** What .env.example shows. */
  readonly example: string;
  readonly secret?: true;
  /** Most installations set it: .env.example does not comment it out. */
  readonly starter?: true;
};

const KEY_OF_32_BYTES = /^[A-Za-z0-9+/]{43}=$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const HOST = /^[A-Za-z0-9.:_-]{1,255}$/;
/** With a wrong proxy any client could forge its address, so only what Fastify's trustProxy understands is accepted. */
const PROXY = /^(loopback|linklocal|uniquelocal|[0-9.]+(\/\d{1,2})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(\/\d{1,3})?)$/;

const NETWORK_OR_HOST = /^[A-Za-z0-9.:_-]{1,255}(\/\d{1,3})?$/;

const plainUrl = z
  .string()
  .refine(
    (text) => AGENT_URL.test(text) && URL.canParse(text),
    'must be a URL beginning with http:// or https://: a host, perhaps a port and a path, and nothing else',
  );

const jobsUrl = z
  .string()
  .regex(
    /^https?:\/\/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*(:\d{1,5})?$/,
    'must be a URL like https://jobs.example.com, without a path and in lower case',
  )
  .refine((text) => URL.canParse(text) && isIP(new URL(text).hostname) === 0, 'must be a URL with a domain name');

const databaseUrl = url('postgres:', 'postgresql:');

export const Settings = z.object({
  HOST: z.string().regex(HOST, 'must be an address or a host name').optional().meta({
    description: 'Address to listen on. Without tokens only a loopback address is accepted. Default: `127.0.0.1`.',
    example: '127.0.0.1',
  }),
  PORT: wholeNumber(1, 65_535).prefault('3000').meta({ description: 'Port to listen on.', example: '3000' }),
  PUBLIC_URL: plainUrl.optional().meta({
    description:
      'Where callers reach this API, agents on the instances included. Required unless HOST is loopback. Default: `http://HOST:PORT`.',
    example: 'https://scheduler.example.com',
  }),
  AGENT_URL: plainUrl.optional().meta({
    description:
      'Where agents reach this API, if not at PUBLIC_URL: by `https://`, since an agent obeys the server that answers there. Instances keep the URL they were launched with.',
    example: 'https://10.0.0.10:8443',
  }),
  AGENT_PINS: list(AGENT_PIN, 'pins like sha256//<43 characters of base64>=')
    .refine((pins) => pins.length <= 4, 'must be 4 pins at most')
    .prefault('')
    .meta({
      description:
        'Public keys, one of which the TLS server at AGENT_URL must have; agents then check no authority. Default: the instance’s authorities. See docs/operations.md.',
      example: 'sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
    }),
  JOBS_URL: jobsUrl.optional().meta({
    description:
      'Domain in which every job has a URL, `https://<job>.jobs.example.com`: all names in it lead to nginx. Default: jobs have none.',
    example: 'https://jobs.example.com',
  }),
  JOBS_PRIVATE_URL: jobsUrl.optional().meta({
    description:
      'The same for callers among the jobs, where names in the domain of JOBS_URL do not serve them: all names in this one lead to nginx, too. Default: JOBS_URL.',
    example: 'http://jobs.internal',
  }),
  JOBS_HOSTS: list({ test: isHostName }, 'domains like example.com, in lower case')
    .refine((domains) => domains.length <= 100, 'must be 100 domains at most')
    .prefault('')
    .meta({
      description:
        'Domains that jobs may have hosts of their own in (`route.hosts`): each of these and every name below it leads to nginx, but for the hosts of PUBLIC_URL and AGENT_URL. Default: none.',
      example: 'example.com,shop.example.org',
    }),
  ADDRESS_STALE_SECONDS: wholeNumber(1, 300).prefault('22').meta({
    description:
      'How long an ingress leads callers of jobs by its last answer while no process of the API answers. A container that callers were led to serves on for 11 seconds more than this, and so long a host is kept from other jobs. The same in every process. Change it only while nothing is deployed, stopped or deleted, and least of all to less: an answer that was given before counts for as long as was said then.',
    example: '60',
  }),
  TRUST_PROXY: z
    .union(
      [
        z.enum(['true', 'false']).transform((text) => text === 'true'),
        list(PROXY, 'addresses, networks, loopback, linklocal or uniquelocal'),
      ],
      'must be true, false or a comma-separated list of addresses, networks, loopback, linklocal or uniquelocal',
    )
    .prefault('false')
    .meta({
      description: 'Proxies whose X-Forwarded-* headers count: `true`, `false`, or a list of addresses and networks.',
      example: 'loopback,10.0.0.0/8',
    }),
  ADMIN_TOKEN: z
    .string()
    .min(16, 'must have at least 16 characters')
    .max(512, 'must have at most 512 characters')
    .regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces')
    .optional()
    .meta({
      description:
        'The operator’s bearer token, of the role `admin`; `POST /v1/tokens` makes others. Make one with `openssl rand -hex 32`.',
      starter: true,
      example: '<openssl rand -hex 32>',
      secret: true,
    }),
  AUTH: z.enum(['token', 'none'], 'must be token or none').optional().meta({
    description:
      '`token`: every call under `/v1` needs a token. `none`: no call needs one, on a loopback address only. Default: `token` with ADMIN_TOKEN, else `none`.',
    example: 'token',
  }),
  I_KNOW_ANYONE_CAN_DEPLOY: z
    .enum(['true', 'false'], 'must be true or false')
    .transform((text) => text === 'true')
    .prefault('false')
    .meta({
      description:
        'Allows `AUTH=none` on other addresses than loopback, as in a container whose port is published on loopback only.',
      example: 'false',
    }),
  RATE_LIMIT: wholeNumber(1, 1_000_000).prefault('6000').meta({
    description: 'Requests a minute of a token that has no limit of its own, all processes together.',
    example: '6000',
  }),
  MAX_JOBS: wholeNumber(1, 1_000_000).optional().meta({
    description: 'Jobs this cluster may have at once. Default: no ceiling.',
    example: '500',
  }),
  DOCS: z.enum(['public', 'off'], 'must be public or off').prefault('public').meta({
    description: 'Swagger UI and the OpenAPI document at `/docs`: `public` or `off`.',
    example: 'public',
  }),
  METRICS: z.enum(['token', 'public'], 'must be token or public').prefault('token').meta({
    description: '`/metrics`: with a token of any role that has no scope, or `public`.',
    example: 'token',
  }),
  ENCRYPTION_KEY: z
    .string({ error: 'is required; make one with: openssl rand -base64 32' })
    .refine(isKeyOf32Bytes, 'must be 32 bytes in base64; make one with: openssl rand -base64 32')
    .meta({
      description:
        'Encrypts secrets in the database: 32 bytes in base64, from `openssl rand -base64 32`. The same in every process; without it the secrets are lost.',
      starter: true,
      example: '<openssl rand -base64 32>',
      secret: true,
    }),
  ENCRYPTION_KEYS_OLD: list(KEY_OF_32_BYTES, 'keys of 32 bytes in base64').prefault('').meta({
    description:
      'Keys that still open what they encrypted, until `rotate-keys` has encrypted all of it with ENCRYPTION_KEY; see docs/operations.md.',
    example: '<the key before>',
    secret: true,
  }),
  CLUSTER: z
    .string()
    .regex(DNS_LABEL, 'must be a DNS label: a-z, 0-9 and inner hyphens, at most 63')
    .prefault('default')
    .meta({ description: 'Name of this fleet, in the tags of its instances. One per database.', example: 'default' }),
  ROLE: z
    .enum(['all', 'api', 'scheduler'], 'must be all, api or scheduler')
    .prefault('all')
    .meta({ description: 'What this process does: HTTP (`api`), the loops (`scheduler`), or `all`.', example: 'all' }),
  WEB_CONCURRENCY: wholeNumber(1, 64).prefault('1').meta({
    description: 'API processes. More than 1: that many workers and one more process with the loops.',
    example: '1',
  }),
  LOG_LEVEL: z
    .enum(['error', 'warn', 'info', 'debug'], 'must be error, warn, info or debug')
    .prefault('info')
    .meta({ description: 'Least serious level that is logged: `error`, `warn`, `info` or `debug`.', example: 'info' }),
  DATABASE_URL: databaseUrl.optional().meta({
    description:
      'Postgres, `postgres://user:password@host:5432/database?sslmode=…`. Wins over POSTGRES_*; one of both is required.',
    example: 'postgres://scheduler:<password>@localhost:5432/scheduler',
    secret: true,
  }),
  DATABASE_LISTEN_URL: databaseUrl.optional().meta({
    description: 'The same database without a pooler in between, for LISTEN. Default: DATABASE_URL.',
    example: 'postgres://scheduler:<password>@localhost:5432/scheduler',
    secret: true,
  }),
  POSTGRES_USER: z.string().optional().meta({ description: 'Postgres user.', starter: true, example: 'scheduler' }),
  POSTGRES_PASSWORD: z
    .string()
    .optional()
    .meta({ description: 'Postgres password.', starter: true, example: '<password>', secret: true }),
  POSTGRES_HOST: z
    .string()
    .regex(HOST, 'must be an address or a host name')
    .prefault('localhost')
    .meta({ description: 'Postgres host.', example: 'localhost' }),
  POSTGRES_PORT: wholeNumber(1, 65_535).prefault('5432').meta({ description: 'Postgres port.', example: '5432' }),
  POSTGRES_DB: z.string().prefault('scheduler').meta({ description: 'Postgres database.', example: 'scheduler' }),
  ...awsSettings,
  MAX_INSTANCES: wholeNumber(1, 1_000_000).optional().meta({
    description: 'Instances this fleet may have at once; deployments wait beyond it. Default: what EC2 allows.',
    example: '100',
  }),
  MAX_LAUNCHES_PER_MINUTE: wholeNumber(1, 10_000).prefault('60').meta({
    description:
      'RunInstances calls this fleet makes in a minute, refused ones included; the last quarter is for attempts that heal or have waited five seconds, and the others wait for the next minute. It bounds what trouble can cost.',
    example: '20',
  }),
  RETENTION_DAYS: wholeNumber(1, 36_500).prefault('30').meta({
    description:
      'How long ended deployments, deleted jobs and terminated instances stay. The last 50 deployments of a job stay longer.',
    example: '90',
  }),
  EVENTS_RETENTION_DAYS: wholeNumber(1, 36_500).prefault('90').meta({
    description:
      'How long events are kept, the record of who did what included. A client that reconnects later is notified of the gap.',
    example: '365',
  }),
  LOGS_URI: z
    .string()
    .regex(
      /^(s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9._/-]{0,256})?|(?!\w+:\/\/)[^\0]+)$/,
      'must be s3://bucket/prefix or a directory',
    )
    .prefault('.local/logs')
    .meta({
      description:
        'Where older log lines of jobs are kept: `s3://bucket/prefix`, or a directory, which all processes must share.',
      example: 's3://my-bucket/logs/jobs',
    }),
  LOGS_MAX_MIB: wholeNumber(1, 1_048_576).prefault('256').meta({
    description: 'MiB that are kept of a job’s log, uncompressed; the oldest lines are deleted.',
    example: '1024',
  }),
  LOGS_RETENTION_DAYS: wholeNumber(1, 36_500).prefault('14').meta({
    description: 'How long log lines are kept. Those of a deleted job are deleted with it, after RETENTION_DAYS.',
    example: '30',
  }),
  DATA_VOLUME_ID: z
    .string()
    .regex(/^vol-[0-9a-f]{8,17}$/, 'must be a volume id like vol-0123456789abcdef0')
    .optional()
    .meta({
      description:
        'EBS volume with Postgres’s data: the fleet’s owner takes a snapshot of it every 24 hours. Terraform sets it. Default: none are taken.',
      example: 'vol-0123456789abcdef0',
    }),
  SNAPSHOTS_RETENTION_DAYS: wholeNumber(2, 365).prefault('14').meta({
    description: 'How long those snapshots stay. The newest one stays longer, and so do those this API did not make.',
    example: '30',
  }),
  WEBHOOKS_ALLOWED_NETWORKS: list({ test: isNetworkOrHost }, 'networks, addresses or host names').prefault('').meta({
    description:
      'Networks, addresses and host names webhooks may be sent to, in addition to public addresses by HTTPS. Plain HTTP is allowed there, too.',
    example: '10.20.0.0/16,hooks.internal',
  }),
  IDENTITY_CERTIFICATES: list(/^[^\0]+$/, 'paths')
    .prefault('')
    .meta({
      description: 'PEM files trusted to sign instance identity documents, in addition to AWS’s own.',
      example: '/etc/scheduler/identity.pem',
    }),
  ...tracingSettings,
  ENV_FILE: z.string().optional().meta({
    description: 'File with settings of this table; the process environment wins. Default: `.env`, if there is one.',
    example: '/etc/scheduler/env',
  }),
  SECRETS_URI: z
    .string()
    .regex(/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/.+$/, 'must look like s3://bucket/key')
    .optional()
    .meta({
      description:
        'The same kind of file in S3, read at start: it wins over ENV_FILE, the process environment over both.',
      example: 's3://my-bucket/secrets/.env',
    }),
});
export type Settings = z.infer<typeof Settings>;

/** Former name → name: read for one version, with a warning. */
export const FORMER_SETTINGS: Readonly<Record<string, keyof Settings>> = { DEFAULT_IMAGE_ID: 'DEFAULT_AMI' };

/** Text that only looks like a network would allow nothing, or be read as a host name. */
function isNetworkOrHost(text: string): boolean {
  if (!NETWORK_OR_HOST.test(text)) return false;
  const [address = '', bits] = text.split('/');
  const version = isIP(address);
  if (bits !== undefined) return version !== 0 && Number(bits) <= (version === 4 ? 32 : 128);
  return version !== 0 || !(address.includes(':') || /^[\d.]+$/.test(address));
}

function isKeyOf32Bytes(text: string): boolean {
  return KEY_OF_32_BYTES.test(text);
}
