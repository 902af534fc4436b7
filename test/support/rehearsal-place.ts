import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureAgentKeys } from '../../src/agent-keys/agent-keys.ts';

/** What the user data of an instance speak of, and the rehearsal therefore has. */
export type Place = {
  readonly region: string;
  readonly bucket: string;
  /** In it, by their keys. */
  readonly objects: ReadonlyMap<string, string | Buffer>;
  /** Of the objects in it by which an instance reports its boot. */
  readonly bootPrefix: string;
  readonly adminToken: string;
  /** Under which agents call the API; it leads to the instance that serves. */
  readonly apiName: string;
  readonly zoneId: string;
  readonly volumeId: string;
  readonly addressId: string;
  /** Of jobs' instances. None: those of the local cloud. */
  readonly subnetIds?: readonly string[];
  readonly securityGroupId?: string;
  /** First two numbers of the VPC's addresses, in which nginx then sees its clients. Default: any. */
  readonly vpc?: string;
};

const OWN = {
  region: 'us-west-2',
  bucket: 'rehearsal',
  bootPrefix: 'logs/boot/',
  adminToken: '0123456789abcdef0123456789abcdef',
  apiName: 'api.rehearsal.internal',
  zoneId: 'Z1',
  volumeId: 'vol-0123456789abcdef0',
  addressId: 'eipalloc-0123456789abcdef0',
};

/** The rehearsal's own, for machines without Terraform's provider. */
export async function ownPlace(checkout: string): Promise<Place> {
  const secrets = {
    POSTGRES_USER: 'scheduler',
    POSTGRES_PASSWORD: 'pass%word/with:marks',
    ADMIN_TOKEN: OWN.adminToken,
    ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  };
  const folder = await mkdtemp(join(tmpdir(), 'agent-keys-'));
  await ensureAgentKeys(folder);
  const key = (name: string): [string, Buffer] => [
    `secrets/agent-keys/${name}.pem`,
    readFileSync(join(folder, `${name}.pem`)),
  ];
  const objects = new Map<string, string | Buffer>([
    ['bundles/0.tar.gz', execFileSync('tar', ['-cz', '-C', checkout, '.'], { maxBuffer: 256 * 1024 * 1024 })],
    ['secrets/.env', `${asLines(secrets)}\n`],
    key('current'),
    key('next'),
  ]);
  await rm(folder, { recursive: true });
  return { ...OWN, objects };
}

/** As terraform/user-data/main.tf puts it together, which test/integration/terraform.spec.ts evaluates. */
export function ownUserData(more: Record<string, string> = {}): string {
  const { region, bucket, bootPrefix, apiName } = OWN;
  const settings = {
    STACK_NAME: 'main',
    SECRETS_URI: `s3://${bucket}/secrets/.env`,
    SECRETS_VERSION: '1',
    AGENT_KEYS_URI: `s3://${bucket}/secrets/agent-keys/`,
    BUNDLE_URI: `s3://${bucket}/bundles/0.tar.gz`,
    LOG_URI: `s3://${bucket}/${bootPrefix}`,
    APP_IMAGE: '',
    DATABASE: 'volume',
    RDS_AUTHORITIES: '',
    DATA_VOLUME_ID: OWN.volumeId,
    ADDRESS_ID: OWN.addressId,
    RECORD_ZONE_ID: OWN.zoneId,
    RECORD_NAME: apiName,
    SSM_AGENT_URL: '',
    DECIDED: asLines({
      AWS_REGION: region,
      CLUSTER: 'main',
      AGENT_URL: `https://${apiName}:8443`,
      DATA_VOLUME_ID: OWN.volumeId,
    }),
    SETTINGS: asLines({
      PUBLIC_URL: `http://${apiName}`,
      LOGS_URI: `s3://${bucket}/logs/jobs`,
      // All clients of a rehearsal have one address.
      NGINX_RATE: '500',
      ...more,
    }),
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key}='${value}'`);
  const script = readFileSync(join(import.meta.dirname, '../../terraform/user-data/user-data.sh'), 'utf8');
  return ['#!/bin/bash', `export AWS_DEFAULT_REGION='${region}'`, ...lines, script].join('\n');
}

/** @param objects those of the bucket that the user data name */
export function placeOf(userData: string, objects: Place['objects']): Place {
  const settings = settingsOf(userData);
  const of = (name: string): string => {
    const value = settings.get(name);
    if (value === undefined) throw new Error(`these user data do not say ${name}`);
    return value;
  };
  const decided = new Map(linesOf(of('DECIDED')));
  const [, bucket = '', bootPrefix = ''] = /^s3:\/\/([^/]+)\/(.*)$/.exec(of('LOG_URI')) ?? [];
  const secrets = new Map(linesOf(objects.get(of('SECRETS_URI').replace(`s3://${bucket}/`, ''))?.toString() ?? ''));
  const securityGroupId = decided.get('ALLOWED_SECURITY_GROUPS');
  return {
    region: of('AWS_DEFAULT_REGION'),
    bucket,
    objects,
    bootPrefix,
    adminToken: secrets.get('ADMIN_TOKEN') ?? '',
    apiName: of('RECORD_NAME'),
    zoneId: of('RECORD_ZONE_ID'),
    volumeId: of('DATA_VOLUME_ID'),
    addressId: of('ADDRESS_ID'),
    subnetIds: (decided.get('ALLOWED_SUBNETS') ?? '').split(',').filter(Boolean),
    ...(securityGroupId && { securityGroupId }),
  };
}

/** The lines before the script, of values without a single quote. */
function settingsOf(userData: string): Map<string, string> {
  const lines = /^#!\/bin\/bash\n((?:(?:export )?[A-Z_]+='[^']*'\n)+)/.exec(userData)?.[1] ?? '';
  return new Map(
    [...lines.matchAll(/([A-Z_]+)='([^']*)'\n/g)].map(([, name = '', value = '']) => [name, value] as const),
  );
}

function linesOf(text: string): (readonly [string, string])[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const);
}

function asLines(settings: Record<string, string>): string {
  return Object.entries(settings)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n');
}
