// shellcheck over every shell script of the repository. It is no npm package: where it is missing that is said, not hidden.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file.endsWith('.sh') || file === '.ci/run' || (/^[^.]+$/.test(file) && isShell(file)));

const { status, error } = spawnSync('shellcheck', files, { stdio: 'inherit' });
if (error) console.log('skipped: shellcheck is not installed, shell scripts were not checked');
else process.exitCode = status ?? 1;

function isShell(file) {
  try {
    return /^#!.*\b(sh|bash)\b/.test(readFileSync(file, 'utf8').slice(0, 64));
  } catch {
    return false;
  }
}
