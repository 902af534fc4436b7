import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Debian's busybox, whose tools are those of Alpine, and of the images that stand on it. Its shell must look for tools on
 * the PATH, as Alpine's does: Debian's busybox-static finds its own first.
 */
const BUSYBOX = process.env['BUSYBOX'] ?? 'busybox';

export function whyNoBusybox(): string | undefined {
  const { status } = spawnSync(BUSYBOX, ['sh', '-c', 'PATH=; tr a b </dev/null'], { stdio: 'ignore' });
  if (status === 127) return undefined;
  return status === null ? 'no busybox on the PATH' : 'this busybox takes its own tools before those on the PATH';
}

/** A folder for the PATH with all that busybox has. */
export function linkTools(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const busybox = execFileSync('sh', ['-c', `command -v "$1"`, 'sh', BUSYBOX], { encoding: 'utf8' }).trim();
  const tools = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  for (const tool of tools) symlinkSync(busybox, join(folder, tool));
}
