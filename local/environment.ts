import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import type { LocalOptions } from './options.ts';

export type Parts = { databaseUrl: string; cloudEndpoint: string; region: string; identityCertificatePem: string };

/** Settings of the API here, also written to `<directory>/env` for a second process (`ENV_FILE=.local/env npm start`). */
export async function writeEnvironment(options: LocalOptions, parts: Parts): Promise<Record<string, string>> {
  const file = join(options.directory, 'env');
  const certificate = join(options.directory, 'identity-certificate.pem');
  await writeFile(certificate, parts.identityCertificatePem);
  const known = parseEnv(await readFile(file, 'utf8').catch(() => ''));
  const settings = {
    HOST: '127.0.0.1',
    PORT: String(options.port),
    PUBLIC_URL: `http://127.0.0.1:${options.port}`,
    DATABASE_URL: parts.databaseUrl,
    // Kept: what is encrypted in the database must stay readable in the next run.
    ENCRYPTION_KEY: known['ENCRYPTION_KEY'] ?? randomBytes(32).toString('base64'),
    // A second process on the same data must ask for it as well.
    ...(process.env['ADMIN_TOKEN'] && { ADMIN_TOKEN: process.env['ADMIN_TOKEN'] }),
    AWS_REGION: parts.region,
    AWS_ENDPOINT_URL: parts.cloudEndpoint,
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    IDENTITY_CERTIFICATES: certificate,
    // A receiver to try webhooks with runs on this machine.
    WEBHOOKS_ALLOWED_NETWORKS: '127.0.0.0/8,::1',
  };
  const text = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(file, text.join(''), { mode: 0o600 });
  return settings;
}
