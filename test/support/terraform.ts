import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const TERRAFORM = join(import.meta.dirname, '..', '..', 'terraform');

export function hasTerraform(): boolean {
  return terraform(TERRAFORM, 'version').status === 0;
}

/** The only output of a module without resources: Terraform needs neither provider nor account for it. */
export function evaluateModule(module: string, input: object): string {
  const folder = mkdtempSync(join(tmpdir(), `terraform-${module}-`));
  try {
    cpSync(join(TERRAFORM, module), folder, { recursive: true });
    writeFileSync(join(folder, 'terraform.tfvars.json'), JSON.stringify(input));
    for (const args of [
      ['init', '-backend=false'],
      ['apply', '-auto-approve'],
    ]) {
      const { status, stderr } = terraform(folder, ...args, '-input=false', '-no-color');
      if (status !== 0) throw new Error(stderr);
    }
    const outputs = JSON.parse(terraform(folder, 'output', '-json').stdout) as Record<string, { value: string }>;
    return Object.values(outputs)[0]?.value ?? '';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What a developer or a CI has set up for Terraform must not change what is tested. */
export function terraform(cwd: string, ...args: string[]): SpawnSyncReturns<string> {
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, TF_CLI_CONFIG_FILE: '/dev/null', CHECKPOINT_DISABLE: '1' };
  return spawnSync('terraform', args, { cwd, encoding: 'utf8', env });
}
