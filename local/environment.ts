import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import type { LocalCloud } from './cloud/local-cloud.ts';
import type { LocalOptions } from './options.ts';

/** Systems and browsers resolve every name below it to loopback, most of them without being told. */
export const JOBS_DOMAIN = 'localhost';

/** Of the names by which containers call jobs: within one `*.localhost` is the container itself. No resolver outside has them. */
export const PRIVATE_DOMAIN = 'jobs.internal';

/** For hosts of jobs' own: kept for such uses, so that no request can get to anybody else (RFC 2606). */
export const HOST_DOMAINS: readonly string[] = ['test'];

type CloudParts = Pick<LocalCloud, 'clientEnvironment' | 'identityCertificatePem' | 'keys'>;

/**
 * Settings of the API here, also written to `<directory>/env` for a second process (`ENV_FILE=.local/env npm start`), and
 * with the keys of the local cloud for its other clients.
 */
export async function writeEnvironment(
  options: LocalOptions,
  apiPort: number,
  databaseUrl: string,
  cloud: CloudParts,
): Promise<Record<string, string>> {
  const certificate = join(options.directory, 'identity-certificate.pem');
  await writeFile(certificate, cloud.identityCertificatePem);
  const known = parseEnv(await readFile(environmentFile(options.directory), 'utf8').catch(() => ''));
  const settings = {
    HOST: '127.0.0.1',
    PORT: String(apiPort),
    // Both lead to the front, which passes requests on by their host.
    PUBLIC_URL: `http://127.0.0.1:${options.port}`,
    JOBS_URL: `http://${JOBS_DOMAIN}:${options.port}`,
    JOBS_PRIVATE_URL: `http://${PRIVATE_DOMAIN}:${options.port}`,
    JOBS_HOSTS: HOST_DOMAINS.join(','),
    DATABASE_URL: databaseUrl,
    // Kept: what is encrypted in the database must stay readable in the next run.
    ENCRYPTION_KEY: known['ENCRYPTION_KEY'] ?? randomBytes(32).toString('base64'),
    // A second process on the same data must require it as well.
    ...(process.env['ADMIN_TOKEN'] && { ADMIN_TOKEN: process.env['ADMIN_TOKEN'] }),
    ...cloud.clientEnvironment,
    IDENTITY_CERTIFICATES: certificate,
    // A receiver to try webhooks with runs on this machine.
    WEBHOOKS_ALLOWED_NETWORKS: '127.0.0.0/8,::1',
  };
  await writeVariables(options.directory, { ...settings, LOCAL_CONTROL_TOKEN: cloud.keys.controlToken });
  return settings;
}

/** A file that Node and a shell can read as variables; for this user only. */
export async function writeVariables(directory: string, variables: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${quote(value)}\n`);
  const file = environmentFile(directory);
  await writeFile(`${file}.new`, lines.join(''), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

function environmentFile(directory: string): string {
  return join(directory, 'env');
}

/** Only where a shell would read something else, as in the name of a folder. */
function quote(value: string): string {
  return /^[\w@%+=:,./-]*$/.test(value) ? value : `'${value}'`;
}
