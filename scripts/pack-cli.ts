// Makes of the built command a package of its own, its two dependencies inside: scheduler-cli-<version>.tgz, which
// `npm install --global` takes without a registry. Into another folder with its name as the argument.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const DEPENDENCIES = ['commander', 'eventsource-parser'];

type Package = {
  readonly version: string;
  readonly license: string;
  readonly engines: object;
  readonly dependencies: Readonly<Record<string, string>>;
};

const root = join(import.meta.dirname, '..');
const target = resolve(process.argv[2] ?? '.');
const directory = mkdtempSync(join(tmpdir(), 'scheduler-cli-'));
try {
  for (const folder of ['cli', 'client'])
    cpSync(join(root, 'dist', folder), join(directory, folder), { recursive: true });
  // The types of the client are its sources.
  cpSync(join(root, 'client'), join(directory, 'client'), {
    recursive: true,
    filter: (path) => !path.endsWith('.spec.ts'),
  });
  for (const name of DEPENDENCIES) {
    cpSync(join(root, 'node_modules', name), join(directory, 'node_modules', name), { recursive: true });
  }
  for (const [from, to] of [
    ['docs/cli.md', 'README.md'],
    ['LICENSE', 'LICENSE'],
  ] as const) {
    cpSync(join(root, from), join(directory, to));
  }
  writeFileSync(join(directory, 'package.json'), JSON.stringify(manifest(), undefined, 2));
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', target], {
      cwd: directory,
      encoding: 'utf8',
    }),
  ) as { filename: string }[];
  console.log(join(target, packed?.filename ?? ''));
} finally {
  rmSync(directory, { recursive: true });
}

function manifest(): object {
  const { version, license, engines, dependencies } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  ) as Package;
  return {
    name: 'scheduler-cli',
    version,
    description: 'Deploys Docker images to jobs, each on an EC2 instance of its own, by the Scheduler API.',
    license,
    type: 'module',
    engines,
    bin: { scheduler: 'cli/main.js' },
    exports: { './client': { types: './client/index.ts', default: './client/index.js' } },
    dependencies: Object.fromEntries(DEPENDENCIES.map((name) => [name, dependencies[name]])),
    bundleDependencies: DEPENDENCIES,
  };
}
