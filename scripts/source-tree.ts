import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Paths that git knows or would add, so that a change not yet committed counts as well. @param patterns of git; none = all */
export function listSources(...patterns: readonly string[]): string[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...patterns];
  const listed = execFileSync('git', args, { cwd: root }).toString().split('\0').filter(Boolean);
  // One that is deleted, but not yet for git, is listed as well.
  return listed.filter((path) => existsSync(join(root, path)));
}

/** A copy in which a program may change what it likes; packages are only pointed to. */
export function copySources(target: string): void {
  for (const path of listSources()) {
    mkdirSync(join(target, dirname(path)), { recursive: true });
    cpSync(join(root, path), join(target, path));
  }
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'));
}
