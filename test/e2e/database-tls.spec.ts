import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { type EmbeddedPostgres, startPostgres } from '../../local/postgres.ts';
import { startMain, type Started } from '../support/process.ts';

// As terraform/user-data/user-data.sh has it with RDS: TLS, and a server that the given authorities vouch for by its name.
describe('a Postgres that is known by its certificate', () => {
  const folder = mkdtempSync(join(tmpdir(), 'database-tls-'));
  let postgres: EmbeddedPostgres;
  let program: Started | undefined;

  beforeAll(async () => {
    postgres = await startPostgres({ directory: join(folder, 'postgres'), isDisposable: true });
    makeCertificates(folder);
    await switchTlsOn(postgres, folder);
  }, 60_000);
  afterEach(async () => {
    program?.process.kill('SIGKILL');
    await program?.ended;
  });
  afterAll(async () => {
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is used', async () => {
    program = migrate({ NODE_EXTRA_CA_CERTS: join(folder, 'authority.pem') });
    expect(await program.ended).toBe(0);
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    const { rows } = await client.query(
      `SELECT count(*)::int AS count FROM pg_tables WHERE schemaname = 'scheduler-jobs'`,
    );
    await client.end();
    expect((rows as { count: number }[])[0]?.count).toBeGreaterThan(5);
  });

  it.each([
    ['an authority nobody named', {}],
    ['another name', { NODE_EXTRA_CA_CERTS: join(folder, 'authority.pem'), POSTGRES_HOST: '127.0.0.1' }],
  ])('is refused with %s', async (_what, env) => {
    program = migrate(env);
    await program.line(({ message }) => /Postgres does not answer yet \(.*(certificate|altnames)/i.test(message));
  });

  function migrate(env: Record<string, string>): Started {
    const { username, password, port, pathname } = new URL(postgres.url);
    const settings = {
      POSTGRES_HOST: 'localhost',
      POSTGRES_PORT: port,
      POSTGRES_USER: username,
      POSTGRES_PASSWORD: decodeURIComponent(password),
      POSTGRES_DB: pathname.slice(1),
      PGSSLMODE: 'verify-full',
      ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    };
    return startMain({ ...settings, ...env }, ['migrate']);
  }
});

/** An authority, and a server's certificate of it for the name localhost. */
function makeCertificates(folder: string): void {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout'];
  openssl('req', '-x509', ...key, 'authority.key', '-out', 'authority.pem', '-subj', '/CN=authority', '-days', '2');
  openssl('req', ...key, 'server.key', '-out', 'server.csr', '-subj', '/CN=database');
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:localhost\n');
  const signed = ['-CA', 'authority.pem', '-CAkey', 'authority.key', '-CAcreateserial', '-extfile', 'names'];
  openssl('x509', '-req', '-in', 'server.csr', ...signed, '-out', 'server.pem', '-days', '2');
}

async function switchTlsOn(postgres: EmbeddedPostgres, folder: string): Promise<void> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  const { rows } = await client.query('SHOW data_directory');
  const data = (rows as { data_directory: string }[])[0]?.data_directory ?? '';
  const { uid, gid } = statSync(data);
  for (const name of ['server.key', 'server.pem']) {
    execFileSync('install', ['-m', '600', join(folder, name), join(data, name)]);
    chownSync(join(data, name), uid, gid);
  }
  await client.query(`ALTER SYSTEM SET ssl_cert_file = 'server.pem'`);
  await client.query(`ALTER SYSTEM SET ssl_key_file = 'server.key'`);
  await client.query('ALTER SYSTEM SET ssl = on');
  await client.query('SELECT pg_reload_conf()');
  await client.end();
}
