export type Architecture = 'x86_64' | 'arm64';

/**
 * Of an instance type, by its name, as EC2's naming convention has it: behind the generation a `g` says Graviton (t4g,
 * im4gn, p6e-gb200). Only a1 is older than that. Asking DescribeInstanceTypes would take a call and a permission more;
 * of a name that is wrong here EC2 refuses the launch, and the next type is tried.
 */
export function architectureOf(type: string): Architecture {
  return /^(a1\.|[a-z]+\d+[a-z]*g|[a-z]+\d+[a-z]*-g)/.test(type) ? 'arm64' : 'x86_64';
}
