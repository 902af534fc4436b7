// `npm run lint`: all `lint:…` scripts of package.json at once, the longest first; what each prints comes in one piece when
// it has ended. Ends with 1 when one of them fails.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const names = Object.keys(scripts).filter((name) => name.startsWith('lint:'));

const codes = await Promise.all(names.map(run));
process.exitCode = codes.every((code) => code === 0) ? 0 : 1;

function run(name) {
  const startedAt = Date.now();
  return new Promise((done) => {
    const child = spawn('npm', ['run', '--silent', name], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => output.push(part));
    child.on('close', (code) => {
      const seconds = ((Date.now() - startedAt) / 1000).toFixed(0);
      process.stdout.write(`> ${name}: ${code === 0 ? 'ok' : 'FAILED'} after ${seconds} s\n`);
      for (const part of output) process.stdout.write(part);
      done(code);
    });
  });
}
