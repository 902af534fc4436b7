export type Architecture = 'x86_64' | 'arm64';

/**
 * The architecture of an instance type, by EC2's naming convention: a `g` after the generation means Graviton (t4g,
 * im4gn, p6e-gb200). Only a1 is older than that. DescribeInstanceTypes would need one more call and permission; where a
 * name misleads, EC2 refuses the launch, and the next type is tried.
 */
export function architectureOf(type: string): Architecture {
  return /^(a1\.|[a-z]+\d+[a-z]*g|[a-z]+\d+[a-z]*-g)/.test(type) ? 'arm64' : 'x86_64';
}
