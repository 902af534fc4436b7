import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { type Config, ConfigError, type Environment, isLoopback, loadConfig } from './config.js';

const KEY = Buffer.alloc(32, 7).toString('base64');
const enough = { DATABASE_URL: 'postgres://me:pass@db:5432/x', ENCRYPTION_KEY: KEY };
const TOKEN = 'a-token-of-some-length';

function problemsOf(env: Environment): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

const PIN = 'sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';

describe('loadConfig', () => {
  it.each([
    ['https://jobs.example.com', { scheme: 'https:', domain: 'jobs.example.com', port: '' }],
    ['http://localhost:3000', { scheme: 'http:', domain: 'localhost', port: ':3000' }],
    [undefined, undefined],
  ])('has the jobs’ addresses in JOBS_URL %s', (url, addresses) => {
    const env = { ...enough, PUBLIC_URL: 'https://example.com', ...(url !== undefined && { JOBS_URL: url }) };
    const hostRules = { domains: [], reserved: ['example.com'] };
    // For callers among the jobs there are the same, unless the operator says otherwise.
    expect(loadConfig(env).addresses).toEqual(addresses && { ...addresses, private: addresses, hostRules });
  });

  it('has other addresses of jobs for callers among them', () => {
    const env = { ...enough, JOBS_URL: 'https://jobs.own.test', JOBS_HOSTS: 'own.test' };
    for (const [url, addresses] of [
      ['http://jobs.internal:3000', { scheme: 'http:', domain: 'jobs.internal', port: ':3000' }],
      ['http://jobs.own.test', { scheme: 'http:', domain: 'jobs.own.test', port: '' }],
      ['http://own.jobs.own.test', { scheme: 'http:', domain: 'own.jobs.own.test', port: '' }],
    ] as const) {
      expect(loadConfig({ ...env, JOBS_PRIVATE_URL: url }).addresses?.private).toEqual(addresses);
    }
  });

  it('takes the addresses that Terraform makes of an Elastic IP', () => {
    const own = { PUBLIC_URL: 'http://203.0.113.20', AGENT_URL: 'https://api.scheduler.internal:8443' };
    const jobs = { JOBS_URL: 'http://203-0-113-20.sslip.io', JOBS_PRIVATE_URL: 'http://jobs.scheduler.internal' };
    const { addresses } = loadConfig({ ...enough, ...own, ...jobs });
    expect([addresses?.domain, addresses?.private.domain]).toEqual([
      '203-0-113-20.sslip.io',
      'jobs.scheduler.internal',
    ]);
  });

  it('has the domains of jobs’ own hosts, and keeps those of the API from them', () => {
    const urls = { PUBLIC_URL: 'https://API.own.test/', AGENT_URL: 'https://agents.own.test:8443' };
    const env = { ...enough, ...urls, JOBS_URL: 'https://jobs.own.test', JOBS_HOSTS: 'own.test, shop.example' };
    expect(loadConfig(env).addresses?.hostRules).toEqual({
      domains: ['own.test', 'shop.example'],
      reserved: ['api.own.test', 'agents.own.test'],
    });
  });

  it('needs only a database and a key, and serves loopback then', () => {
    const config = loadConfig(enough);

    expect(config.http).toEqual({
      host: '127.0.0.1',
      port: 3000,
      publicUrl: 'http://127.0.0.1:3000',
      auth: 'none',
      docs: 'public',
      metrics: 'token',
      trustProxy: false,
    });
    expect(config.database).toEqual({ url: enough.DATABASE_URL, listenUrl: enough.DATABASE_URL });
    expect(config.aws).toEqual({ region: 'us-west-2', quotaShare: 0.8, ecrRegistries: ['own'] });
    expect(config).toMatchObject({ cluster: 'default', role: 'all', webConcurrency: 1, logLevel: 'info' });
    expect(config.ingress).toEqual({ staleSeconds: 22 });
    expect(config.limits).toEqual({ requestsPerMinute: 6000 });
    expect(config.fleet).toEqual({
      defaultAmi: 'ecs-al2023',
      allowedAmis: ['ecs-al2023', 'ecs-al2023-arm64'],
      allowedSubnets: [],
      allowedSecurityGroups: [],
      allowedProfiles: [],
      maxLaunchesPerMinute: 60,
    });
    expect(config.encryptionKeys.map((key) => key.export())).toEqual([Buffer.alloc(32, 7)]);
  });

  it('reads settings under the names of the version before, and says so', () => {
    const config = loadConfig({ ...enough, DEFAULT_IMAGE_ID: 'ami-01234567' });
    expect(config.fleet.defaultAmi).toBe('ami-01234567');
    expect(config.formerNames).toEqual([{ former: 'DEFAULT_IMAGE_ID', name: 'DEFAULT_AMI' }]);
    const both = loadConfig({ ...enough, DEFAULT_IMAGE_ID: 'ami-01234567', DEFAULT_AMI: 'ecs-al2023-arm64' });
    expect(both.fleet.defaultAmi).toBe('ecs-al2023-arm64');
    expect(loadConfig(enough).formerNames).toEqual([]);
  });

  it.each([
    [{}, 'http://127.0.0.1:3000', false],
    [{ PUBLIC_URL: 'http://10.0.0.1' }, 'http://10.0.0.1', true],
    [{ PUBLIC_URL: 'http://[::1]:3000' }, 'http://[::1]:3000', false],
    [{ PUBLIC_URL: 'http://localhost:3000' }, 'http://localhost:3000', false],
    [{ PUBLIC_URL: 'http://127.0.0.1.example.com' }, 'http://127.0.0.1.example.com', true],
    [{ PUBLIC_URL: 'https://me' }, 'https://me', false],
    [{ PUBLIC_URL: 'http://me', AGENT_URL: 'https://me:8443/' }, 'https://me:8443', false],
    [{ PUBLIC_URL: 'https://me', AGENT_URL: 'http://me' }, 'http://me', true],
    [{ HOST: '0.0.0.0', ROLE: 'api', ADMIN_TOKEN: TOKEN }, 'http://0.0.0.0:3000', false],
  ])('with %j agents go to %s; in clear text over a network: %s', (env, url, isInClear) => {
    expect(loadConfig({ ...enough, ...env }).agents).toEqual({ url, pins: [], isInClear });
  });

  it('takes the pins of two keys', () => {
    const { agents } = loadConfig({ ...enough, AGENT_URL: 'https://me', AGENT_PINS: `${PIN}, ${PIN}` });
    expect(agents.pins).toEqual([PIN, PIN]);
  });

  it.each([
    [{}, 'none'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }, 'otlp'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318/v1/traces' }, 'otlp'],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, 'otlp'],
    [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }, 'none'],
    [{ OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'otlp' }, 'none'],
  ])('makes spans only where OpenTelemetry’s variables ask for them: %j', (given, exporter) => {
    expect(loadConfig({ ...enough, ...given }).tracing).toEqual({
      exporter,
      serviceName: 'scheduler-api',
      sampler: 'parentbased_always_on',
      sampledShare: 1,
    });
  });

  it('builds the database address from POSTGRES_*, whatever the password holds', () => {
    const { database } = loadConfig({
      ...enough,
      DATABASE_URL: undefined,
      POSTGRES_USER: 'me',
      POSTGRES_PASSWORD: 'p@ss/w:rd#?',
      POSTGRES_HOST: '::1',
    });

    const url = new URL(database.url);
    expect(decodeURIComponent(url.password)).toBe('p@ss/w:rd#?');
    expect([url.username, url.hostname, url.port, url.pathname]).toEqual(['me', '[::1]', '5432', '/scheduler']);
  });

  it('reads lists, and everything else that is given', () => {
    const config = loadConfig({
      ...enough,
      HOST: '0.0.0.0',
      PORT: '8080',
      ADMIN_TOKEN: TOKEN,
      PUBLIC_URL: 'https://scheduler.example.com/',
      TRUST_PROXY: 'loopback, 10.0.0.0/8',
      DATABASE_LISTEN_URL: 'postgres://direct/x',
      AWS_ACCOUNT_ID: '123456789012',
      ALLOWED_SUBNETS: ' subnet-0123456789abcdef0 ,subnet-01234567,',
      MAX_INSTANCES: '12',
      MAX_LAUNCHES_PER_MINUTE: '20',
      ECR_REGISTRIES: 'own, 123456789012.dkr.ecr.eu-west-1.amazonaws.com',
      ADDRESS_STALE_SECONDS: '60',
      MAX_JOBS: '10',
      RATE_LIMIT: '60',
      DOCS: 'off',
      METRICS: 'public',
      IDENTITY_CERTIFICATES: '/a.pem,/b.pem',
      DATA_VOLUME_ID: 'vol-0123456789abcdef0',
    });

    expect(config.http).toEqual({
      host: '0.0.0.0',
      port: 8080,
      adminToken: TOKEN,
      publicUrl: 'https://scheduler.example.com',
      auth: 'token',
      docs: 'off',
      metrics: 'public',
      trustProxy: ['loopback', '10.0.0.0/8'],
    });
    expect(config.database.listenUrl).toBe('postgres://direct/x');
    expect(config.aws.accountId).toBe('123456789012');
    expect(config.aws.ecrRegistries).toEqual(['own', '123456789012.dkr.ecr.eu-west-1.amazonaws.com']);
    expect(config.fleet).toMatchObject({
      allowedSubnets: ['subnet-0123456789abcdef0', 'subnet-01234567'],
      maxInstances: 12,
      maxLaunchesPerMinute: 20,
    });
    expect(config.ingress).toEqual({ staleSeconds: 60 });
    expect(config.limits).toEqual({ requestsPerMinute: 60, maxJobs: 10 });
    expect(config.identity.certificates).toEqual(['/a.pem', '/b.pem']);
    expect(config.snapshots).toEqual({ volumeId: 'vol-0123456789abcdef0', retentionDays: 14 });
    expect(loadConfig(enough).snapshots).toBeUndefined();
  });

  it('takes an empty value for none', () => {
    expect(loadConfig({ ...enough, PORT: '', ADMIN_TOKEN: ' ', AWS_ENDPOINT_URL: '' }).http).toMatchObject({
      port: 3000,
    });
  });

  it('is frozen to its depth', () => {
    const config = loadConfig(enough);
    expect(Object.isFrozen(config.fleet.allowedSubnets)).toBe(true);
    expect(() => Object.assign(config.http, { port: 1 })).toThrow(TypeError);
  });

  const secret = 'S3CRET-value';
  it.each<[string, Environment, string]>([
    ['a port beyond the last', { PORT: '70000' }, 'PORT'],
    ['a port that is no number', { PORT: secret }, 'PORT'],
    ['events that are kept no day', { EVENTS_RETENTION_DAYS: '0' }, 'EVENTS_RETENTION_DAYS'],
    ['a host with a path', { HOST: `${secret}/x`, ADMIN_TOKEN: TOKEN, PUBLIC_URL: 'http://me' }, 'HOST'],
    ['a network with impossible bits', { WEBHOOKS_ALLOWED_NETWORKS: '10.0.0.0/33' }, 'WEBHOOKS_ALLOWED_NETWORKS'],
    ['a network by its name', { WEBHOOKS_ALLOWED_NETWORKS: `${secret}/8` }, 'WEBHOOKS_ALLOWED_NETWORKS'],
    ['half an address', { WEBHOOKS_ALLOWED_NETWORKS: '10.0.0' }, 'WEBHOOKS_ALLOWED_NETWORKS'],
    ['a URL for a host', { WEBHOOKS_ALLOWED_NETWORKS: `https://${secret}` }, 'WEBHOOKS_ALLOWED_NETWORKS'],
    ['a short token', { ADMIN_TOKEN: secret }, 'ADMIN_TOKEN'],
    ['a token with a space', { ADMIN_TOKEN: `${secret} ${secret}` }, 'ADMIN_TOKEN'],
    ['no key', { ENCRYPTION_KEY: undefined }, 'ENCRYPTION_KEY'],
    ['a key of 31 bytes', { ENCRYPTION_KEY: Buffer.alloc(31).toString('base64') }, 'ENCRYPTION_KEY'],
    ['a key that is not base64', { ENCRYPTION_KEY: secret }, 'ENCRYPTION_KEY'],
    ['a public URL without a scheme', { PUBLIC_URL: `${secret}.example.com` }, 'PUBLIC_URL'],
    ['a public URL of another scheme', { PUBLIC_URL: `ftp://${secret}` }, 'PUBLIC_URL'],
    ['a public URL with a password', { PUBLIC_URL: `https://me:${secret}@example.com` }, 'PUBLIC_URL'],
    ['a public URL with a query', { PUBLIC_URL: `https://example.com/?${secret}` }, 'PUBLIC_URL'],
    ['a public URL no shell script can hold', { PUBLIC_URL: `https://example.com/'${secret}` }, 'PUBLIC_URL'],
    ['an agents’ URL no shell script can hold', { AGENT_URL: `https://example.com/'${secret}` }, 'AGENT_URL'],
    ['a pin of another digest', { AGENT_URL: 'https://me', AGENT_PINS: `${PIN},md5//${secret}` }, 'AGENT_PINS'],
    ['five pins', { AGENT_URL: 'https://me', AGENT_PINS: Array(5).fill(PIN).join() }, 'AGENT_PINS'],
    ['pins without TLS', { AGENT_URL: 'http://me', PUBLIC_URL: 'https://me', AGENT_PINS: PIN }, 'AGENT_PINS'],
    ['a job’s name for the API', { PUBLIC_URL: 'https://api.a.test', JOBS_URL: 'https://a.test' }, 'JOBS_URL'],
    ['a job’s name for agents', { AGENT_URL: 'https://b.api.a.test', JOBS_URL: 'http://a.test:81' }, 'JOBS_URL'],
    ['jobs at an address', { JOBS_URL: 'http://10.0.0.1' }, 'JOBS_URL'],
    ['jobs below a path', { JOBS_URL: 'http://a.test/jobs' }, 'JOBS_URL'],
    ['jobs at a name with capitals', { JOBS_URL: 'http://A.test' }, 'JOBS_URL'],
    ['hosts of jobs without a URL', { JOBS_HOSTS: 'a.test' }, 'JOBS_HOSTS'],
    ['hosts of jobs with capitals', { JOBS_URL: 'http://a.test', JOBS_HOSTS: 'b.test,C.test' }, 'JOBS_HOSTS'],
    ['hosts of jobs with an asterisk', { JOBS_URL: 'http://a.test', JOBS_HOSTS: '*.b.test' }, 'JOBS_HOSTS'],
    ['an address for hosts of jobs', { JOBS_URL: 'http://a.test', JOBS_HOSTS: '10.0.0.1' }, 'JOBS_HOSTS'],
    ['the jobs’ domain for hosts of jobs', { JOBS_URL: 'http://a.test', JOBS_HOSTS: 'a.test' }, 'JOBS_HOSTS'],
    ['a job’s name for hosts of jobs', { JOBS_URL: 'http://a.test', JOBS_HOSTS: 'x.a.test' }, 'JOBS_HOSTS'],
    ['private addresses of jobs without others', { JOBS_PRIVATE_URL: 'http://a.test' }, 'JOBS_PRIVATE_URL'],
    [
      'jobs privately at an address',
      { JOBS_URL: 'http://a.test', JOBS_PRIVATE_URL: 'http://10.0.0.1' },
      'JOBS_PRIVATE_URL',
    ],
    [
      'the API among private names',
      { PUBLIC_URL: 'http://b.c.test', JOBS_URL: 'http://a.test', JOBS_PRIVATE_URL: 'http://c.test' },
      'JOBS_PRIVATE_URL',
    ],
    [
      'public names among private ones',
      { JOBS_URL: 'http://a.c.test', JOBS_PRIVATE_URL: 'http://c.test' },
      'JOBS_PRIVATE_URL',
    ],
    [
      'a private name for hosts of jobs',
      { JOBS_URL: 'http://a.test', JOBS_PRIVATE_URL: 'http://c.test', JOBS_HOSTS: 'x.c.test' },
      'JOBS_HOSTS',
    ],
    [
      'private names among hosts of jobs',
      { JOBS_URL: 'http://a.test', JOBS_PRIVATE_URL: 'http://c.test', JOBS_HOSTS: 'b.test,test' },
      'JOBS_HOSTS',
    ],
    ['answers that may not be used a second', { ADDRESS_STALE_SECONDS: '0' }, 'ADDRESS_STALE_SECONDS'],
    ['answers that are used for longer than five minutes', { ADDRESS_STALE_SECONDS: '301' }, 'ADDRESS_STALE_SECONDS'],
    ['pins without a URL', { AGENT_PINS: PIN }, 'AGENT_PINS'],
    ['a database of another kind', { DATABASE_URL: `mysql://me:${secret}@db/x` }, 'DATABASE_URL'],
    ['a broken listen address', { DATABASE_LISTEN_URL: secret }, 'DATABASE_LISTEN_URL'],
    ['no database at all', { DATABASE_URL: undefined, POSTGRES_USER: secret }, 'POSTGRES_PASSWORD'],
    ['a role that is none', { ROLE: secret }, 'ROLE'],
    ['a cluster that is no label', { CLUSTER: secret }, 'CLUSTER'],
    ['no worker', { WEB_CONCURRENCY: '0' }, 'WEB_CONCURRENCY'],
    ['many schedulers under one roof', { WEB_CONCURRENCY: '2', ROLE: 'scheduler' }, 'WEB_CONCURRENCY'],
    ['a region that is none', { AWS_REGION: secret }, 'AWS_REGION'],
    ['a quota share above one', { EC2_QUOTA_SHARE: '1.5' }, 'EC2_QUOTA_SHARE'],
    ['an AMI that is none', { DEFAULT_AMI: secret }, 'DEFAULT_AMI'],
    ['an AMI that is none, by its former name', { DEFAULT_IMAGE_ID: secret }, 'DEFAULT_AMI'],
    ['an allowed AMI that is none', { ALLOWED_AMIS: `ecs-al2023,${secret}` }, 'ALLOWED_AMIS'],
    ['a subnet that is none', { ALLOWED_SUBNETS: `subnet-01234567,${secret}` }, 'ALLOWED_SUBNETS'],
    ['a registry of ECR that is none', { ECR_REGISTRIES: `own,${secret}` }, 'ECR_REGISTRIES'],
    ['a proxy that is none', { TRUST_PROXY: `10.0.0.0/8,${secret}` }, 'TRUST_PROXY'],
    ['a secrets address without a key', { SECRETS_URI: `s3://${secret}` }, 'SECRETS_URI'],
    ['a collector without a scheme', { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }, 'OTEL_EXPORTER_OTLP_ENDPOINT'],
    ['a protocol we do not speak', { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_PROTOCOL'],
    ['an unknown exporter', { OTEL_TRACES_EXPORTER: 'zipkin' }, 'OTEL_TRACES_EXPORTER'],
    ['an unknown sampler', { OTEL_TRACES_SAMPLER: 'jaeger_remote' }, 'OTEL_TRACES_SAMPLER'],
    ['a share above all', { OTEL_TRACES_SAMPLER_ARG: '1.1' }, 'OTEL_TRACES_SAMPLER_ARG'],
    ['logs in a bucket without a name', { LOGS_URI: `s3:///${secret}` }, 'LOGS_URI'],
    ['logs at another kind of address', { LOGS_URI: `ftp://${secret}` }, 'LOGS_URI'],
    ['a data volume that is none', { DATA_VOLUME_ID: secret }, 'DATA_VOLUME_ID'],
    ['snapshots that go before the next is there', { SNAPSHOTS_RETENTION_DAYS: '1' }, 'SNAPSHOTS_RETENTION_DAYS'],
    ['no room for logs', { LOGS_MAX_MIB: '0' }, 'LOGS_MAX_MIB'],
    ['an endpoint without a scheme', { AWS_ENDPOINT_URL: secret }, 'AWS_ENDPOINT_URL'],
    ['an open address without a token', { HOST: '0.0.0.0', PUBLIC_URL: 'http://me' }, 'ADMIN_TOKEN'],
    ['an open address where nobody is asked', { HOST: '0.0.0.0', PUBLIC_URL: 'http://me', AUTH: 'none' }, 'AUTH'],
    ['nobody asked, with a token', { AUTH: 'none', ADMIN_TOKEN: TOKEN }, 'AUTH'],
    ['a way of access that is none', { AUTH: secret }, 'AUTH'],
    ['no request at all', { RATE_LIMIT: '0' }, 'RATE_LIMIT'],
    ['an open address instances cannot call', { HOST: '0.0.0.0', ADMIN_TOKEN: TOKEN }, 'PUBLIC_URL'],
  ])('refuses %s, by name and without the value', (_what, env, name) => {
    const problems = problemsOf({ ...enough, ...env });

    expect(problems.map((problem) => problem.split(':')[0])).toEqual([name]);
    expect(problems.join()).not.toContain(secret);
  });

  it('says how to make a key', () => {
    expect(problemsOf({ DATABASE_URL: enough.DATABASE_URL }).join()).toContain('openssl rand -base64 32');
  });

  it('reports everything at once', () => {
    const problems = problemsOf({ HOST: '0.0.0.0', PORT: 'x', ROLE: 'x' });
    expect(problems.map((problem) => problem.split(':')[0]).toSorted()).toEqual([
      'ADMIN_TOKEN',
      'ENCRYPTION_KEY',
      'PORT',
      'POSTGRES_PASSWORD',
      'POSTGRES_USER',
      'PUBLIC_URL',
      'ROLE',
    ]);
  });

  it.each([
    ['tokens of the database only', { AUTH: 'token' }, 'token'],
    ['nobody asked, by someone who knows', { AUTH: 'none', I_KNOW_ANYONE_CAN_DEPLOY: 'true' }, 'none'],
    ['nobody asked, without a word', { I_KNOW_ANYONE_CAN_DEPLOY: 'true' }, 'none'],
  ])('serves an open address with %s', (_what, env, auth) => {
    expect(loadConfig({ ...enough, HOST: '0.0.0.0', PUBLIC_URL: 'http://me', ...env }).http.auth).toBe(auth);
  });

  it.each<[string, Config['logs']['folder']]>([
    ['s3://bucket', { kind: 's3', bucket: 'bucket', prefix: '', isPathStyle: false }],
    ['s3://bucket/logs/jobs/', { kind: 's3', bucket: 'bucket', prefix: 'logs/jobs/', isPathStyle: false }],
    ['/data/logs', { kind: 'directory', path: '/data/logs' }],
    ['logs', { kind: 'directory', path: join(process.cwd(), 'logs') }],
  ])('keeps logs in %s', (uri, folder) => {
    expect(loadConfig({ ...enough, LOGS_URI: uri }).logs.folder).toEqual(folder);
  });

  it('lets a pure API process do without a public URL', () => {
    expect(problemsOf({ ...enough, HOST: '0.0.0.0', ADMIN_TOKEN: TOKEN, ROLE: 'api' })).toEqual([]);
  });
});

describe('isLoopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.200.3.4', true],
    ['::1', true],
    ['LOCALHOST', true],
    ['127.example.com', false],
    ['0.0.0.0', false],
    ['::', false],
    ['10.0.0.1', false],
  ])('%s: %s', (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });
});
