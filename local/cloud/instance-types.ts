export type Architecture = 'x86_64' | 'arm64';
export type InstanceType = { readonly name: string; readonly vcpus: number; readonly architecture: Architecture };

/** The common current families; undefined for a name EC2 would not know. vCPUs follow the size, as on EC2. */
export function findInstanceType(name: string): InstanceType | undefined {
  if (name === 'm1.small') return { name, vcpus: 1, architecture: 'x86_64' };
  const [family = '', size = '', ...rest] = name.split('.');
  if (rest.length > 0 || !FAMILIES.has(family)) return undefined;
  const isBurstable = family.startsWith('t');
  const architecture: Architecture = /^[a-z]+\d+g/.test(family) ? 'arm64' : 'x86_64';
  const vcpus = isBurstable ? BURSTABLE_VCPUS[size] : sizeVcpus(size);
  return vcpus === undefined ? undefined : { name, vcpus, architecture };
}

const FAMILIES = new Set(
  'c m r'
    .split(' ')
    .flatMap((kind) =>
      ['5', '5a', '5d', '5n', '6a', '6g', '6gd', '6i', '7a', '7g', '7gd', '7i', '8g', '8i'].map(
        (generation) => `${kind}${generation}`,
      ),
    )
    .concat(['t2', 't3', 't3a', 't4g', 'm7i-flex', 'c7i-flex', 'm8i-flex']),
);

const BURSTABLE_VCPUS: Readonly<Record<string, number>> = {
  nano: 2,
  micro: 2,
  small: 2,
  medium: 2,
  large: 2,
  xlarge: 4,
  '2xlarge': 8,
};

function sizeVcpus(size: string): number | undefined {
  if (size === 'medium') return 1;
  if (size === 'large') return 2;
  if (size === 'xlarge') return 4;
  const factor = /^(2|3|4|6|8|9|12|16|18|24|32|48)xlarge$/.exec(size)?.[1];
  return factor === undefined ? undefined : Number(factor) * 4;
}
