// Makes a fresh clone ready: installs when the lock file is newer than what is installed, builds when asked and needed.
// Runs on whatever Node the machine has, from a `pre…` script: the script proper then finds Node 24 in node_modules/.bin.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');
const at = (...path) => join(root, ...path);

if (!isInstalled()) {
  console.log('installing dependencies (npm ci) …');
  npm('ci', '--no-audit', '--no-fund', '--loglevel=error');
}
if (process.argv.includes('build')) npm('run', '--silent', 'build');

function isInstalled() {
  const installed = at('node_modules', '.package-lock.json');
  if (!existsSync(installed) || !existsSync(at('node_modules', '.bin', 'node'))) return false;
  if (statSync(installed).mtimeMs >= statSync(at('package-lock.json')).mtimeMs) return true;
  // A checkout touches the lock file without changing it: compare what it lists with what is installed.
  const wanted = JSON.parse(readFileSync(at('package-lock.json'), 'utf8')).packages;
  const found = JSON.parse(readFileSync(installed, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional }]) => !path || optional || found[path]?.version === version,
  );
}

function npm(...args) {
  execFileSync('npm', args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' });
}
