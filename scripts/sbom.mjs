// `npm run sbom`: what this is made of and made with, as CycloneDX, into sbom.cdx.json or the file that is named; what no
// production image holds has the property cdx:npm:package:development. (`--omit dev` leaves out production packages that
// a development one needs as well, like @nestjs/common.) Exits with 1 when it does not list exactly the packages of
// the lock file: an empty one would pass for a clean one.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = join(import.meta.dirname, '..');
const target = resolve(process.argv[2] ?? join(root, 'sbom.cdx.json'));

const made = execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
  shell: process.platform === 'win32',
});
const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
// An alias is listed by the package it stands for.
const wanted = Object.entries(packages)
  .filter(([path, { link }]) => path && !link)
  .map(([path, { name, version }]) => `pkg:npm/${name ?? path.split('node_modules/').at(-1)}@${version}`);
const listed = JSON.parse(made).components.map(({ purl }) => decodeURIComponent(String(purl).split('?')[0]));
const missing = [...new Set(wanted)].filter((one) => !listed.includes(one));
const foreign = listed.filter((one) => !wanted.includes(one));
if (wanted.length === 0 || missing.length > 0 || foreign.length > 0) {
  console.error(`missing: ${missing.join(' ') || 'none'}; not in the lock file: ${foreign.join(' ') || 'none'}`);
  process.exit(1);
}
writeFileSync(target, made);
console.log(`${target}: ${listed.length} packages`);
