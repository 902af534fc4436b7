import type { CloudInstance } from './instance.ts';

/** What the answers need in addition to the instance. */
export type MetadataSource = {
  readonly region: string;
  document(instance: CloudInstance): string;
  signature(document: string): string;
  tags(instance: CloudInstance): ReadonlyMap<string, string>;
  securityGroupNames(instance: CloudInstance): readonly string[];
};

/** The text at one path of the metadata service; undefined is 404, as for every path that is not known. */
export function metadataAnswer(
  path: string,
  instance: CloudInstance,
  source: MetadataSource,
): string | Buffer | undefined {
  const parts =
    path
      .split('?')[0]
      ?.split('/')
      .filter((part) => part !== '') ?? [];
  const [version, section, ...rest] = parts;
  if (version !== 'latest' && !/^\d{4}-\d{2}-\d{2}$/.test(version ?? '')) return undefined;
  const name = rest.join('/');
  switch (section) {
    case 'user-data':
      return instance.userData === '' || name !== '' ? undefined : Buffer.from(instance.userData, 'base64');
    case 'dynamic':
      return dynamicData(name, instance, source);
    case 'meta-data':
      return metaData(name, instance, source);
    case undefined:
      return 'dynamic\nmeta-data\nuser-data';
    default:
      return undefined;
  }
}

function dynamicData(name: string, instance: CloudInstance, source: MetadataSource): string | undefined {
  // /pkcs7 and /rsa2048 need a CMS writer and no agent reads them: 404.
  if (name === 'instance-identity') return 'document\nsignature';
  if (name === 'instance-identity/document') return source.document(instance);
  if (name === 'instance-identity/signature') return source.signature(source.document(instance));
  return undefined;
}

function metaData(name: string, instance: CloudInstance, source: MetadataSource): string | undefined {
  const values = metaDataValues(instance, source);
  if (Object.hasOwn(values, name)) return values[name] ?? undefined;
  const prefix = name === '' ? '' : `${name}/`;
  const entries = Object.keys(values)
    .filter((key) => values[key] !== undefined && key.startsWith(prefix))
    .map((key) => key.slice(prefix.length).replace(/\/.*/, '/'));
  return entries.length === 0 ? undefined : [...new Set(entries)].join('\n');
}

function metaDataValues(instance: CloudInstance, source: MetadataSource): Record<string, string | undefined> {
  const { spec, spotActionAt } = instance;
  const values: Record<string, string | undefined> = {
    'ami-id': spec.imageId,
    'ami-launch-index': String(instance.launchIndex),
    'events/recommendations/rebalance':
      spotActionAt === undefined ? undefined : JSON.stringify({ noticeTime: spotActionAt }),
    hostname: hostname(instance.privateIp, source.region),
    'instance-action': 'none',
    'instance-id': instance.id,
    'instance-life-cycle': spec.market,
    'instance-type': spec.instanceType,
    'local-hostname': hostname(instance.privateIp, source.region),
    'local-ipv4': instance.privateIp,
    'placement/availability-zone': spec.availabilityZone,
    'placement/region': source.region,
    'public-ipv4': instance.publicIp,
    'reservation-id': instance.reservationId,
    'security-groups': source.securityGroupNames(instance).join('\n'),
    'services/domain': 'amazonaws.com',
    'services/partition': 'aws',
    'spot/instance-action':
      spotActionAt === undefined ? undefined : JSON.stringify({ action: 'terminate', time: spotActionAt }),
  };
  if (spec.metadata.areTagsEnabled) {
    for (const [key, value] of source.tags(instance)) values[`tags/instance/${key}`] = value;
  }
  return values;
}

export function hostname(privateIp: string, region: string): string {
  return `ip-${privateIp.replaceAll('.', '-')}.${region}.compute.internal`;
}
