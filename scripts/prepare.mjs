// `npm run ready`, with which other scripts of package.json begin: installs when the lock file is newer than what is
// installed. It runs on whatever Node the machine has, in a shell of its own: the one that waits for it then finds Node 24
// in node_modules/.bin, and has not remembered another.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');
const at = (...path) => join(root, ...path);

if (!isInstalled()) {
  console.log('installing dependencies (npm ci) …');
  const options = { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' };
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], options);
}

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
