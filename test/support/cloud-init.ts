import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { join } from 'node:path';

/** A folder with Debian's package unpacked: its usr/lib/python3/dist-packages. */
const FOLDER = process.env['CLOUD_INIT'] ?? '';
const PROGRAM = join(import.meta.dirname, 'cloud_init.py');

/** A part of user data as cloud-init reads it, and what it would run of that at the first boot. */
export type Part = { readonly type: string; readonly script: string | null };

/** Why cloud-init cannot be run here; undefined = it can. */
export function whyNoCloudInit(): string | undefined {
  const { status, stderr } = ask('');
  return status === 0
    ? undefined
    : `CLOUD_INIT names no folder with a cloud-init that runs: ${stderr.trim().split('\n').at(-1)}`;
}

/** @param base64 user data as EC2 is given it */
export function partsOf(base64: string): readonly Part[] {
  const { status, stdout, stderr } = ask(`${base64}\n`);
  if (status !== 0) throw new Error(`cloud-init: ${stderr}`);
  const [parts = []] = JSON.parse(stdout) as (readonly Part[])[];
  return parts.map(({ type, script }) => ({ type, script: script && Buffer.from(script, 'base64').toString() }));
}

function ask(input: string): SpawnSyncReturns<string> {
  return spawnSync('python3', [PROGRAM, FOLDER], { input, encoding: 'utf8', timeout: 60_000 });
}
