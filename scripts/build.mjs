// `npm run build`: dist/ from nothing. `nest start --watch` shares the folder and must not empty it, or the command that
// `npm link` has put on the PATH is gone while somebody works: hence it is emptied here, and not by nest-cli.json.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

rmSync(join(root, 'dist'), { recursive: true, force: true });
run('@nestjs/cli/bin/nest.js', 'build');
run('@swc/cli/bin/swc.js', 'cli', 'client', '--out-dir', 'dist', '--quiet');
// The compiler writes files that are not executable, and only the first `npm link` makes an executable of a bin.
const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const path of Object.values(bin)) chmodSync(join(root, path), 0o755);

function run(program, ...args) {
  execFileSync(process.execPath, [join(root, 'node_modules', program), ...args], { cwd: root, stdio: 'inherit' });
}
