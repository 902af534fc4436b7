// `npm run local`: a real Postgres, the local cloud and the API, and a sample job brought to active before your eyes.
import { join } from 'node:path';
import pg from 'pg';
import { startApi } from './api-process.ts';
import { startLocalCloud } from './cloud/local-cloud.ts';
import { HOST_DOMAINS, JOBS_DOMAIN, PRIVATE_DOMAIN, writeEnvironment } from './environment.ts';
import { startFront } from './front.ts';
import { jobNames } from './job-names.ts';
import { chooseRuntime } from './mode.ts';
import { readOptions, type LocalOptions } from './options.ts';
import { freePort, requireFreePort } from './ports.ts';
import { startPostgres } from './postgres.ts';
import { readProfiles } from './profiles.ts';
import { lockDirectory } from './run-lock.ts';
import { showSample } from './sample.ts';
import { fact, say, warn } from './say.ts';

const NEEDED_NODE = 24;
const READY_TIMEOUT_MS = 60_000;
const SAMPLE_TIMEOUT_MS = 300_000;
const DATABASE = 'scheduler';

if (Number.parseInt(process.versions.node, 10) < NEEDED_NODE) {
  console.error(`Node ${NEEDED_NODE} is needed, this is ${process.versions.node}: use \`npm run local\``);
  process.exit(1);
}

const root = join(import.meta.dirname, '..');
const undo: (() => Promise<void>)[] = [];
const stopped = Promise.withResolvers<undefined>();
let isStopping = false;
process
  .on('SIGINT', () => void stop(0))
  .on('SIGTERM', () => void stop(0))
  .on('SIGHUP', () => void stop(0));

try {
  await run(readOptions(process.env, process.argv.slice(2), root));
  await stopped.promise;
} catch (error) {
  warn(`npm run local: ${error instanceof Error ? error.message : String(error)}`);
  await stop(1);
}

async function run(options: LocalOptions): Promise<void> {
  undo.push(await lockDirectory(options.directory));
  const url = `http://127.0.0.1:${options.port}`;
  const names = { domain: PRIVATE_DOMAIN, jobs: () => jobNames(url) };
  const { runtime, label, portOf, bridge } = await chooseRuntime(options, join(options.directory, 'instances'), names);
  say(label);

  say('starting Postgres …');
  const postgres = await startPostgres({
    directory: join(options.directory, 'postgres'),
    ...(options.databasePort !== undefined && { port: options.databasePort }),
  });
  undo.push(() => postgres.stop());
  postgres.onExit((code) => {
    warn(`Postgres ended with code ${code ?? '?'}`);
    void stop(1);
  });
  const databaseUrl = await ensureDatabase(postgres.url);

  say('starting the local cloud …');
  await requireFreePort(options.cloudPort, 'LOCAL_CLOUD_PORT');
  const cloud = await startLocalCloud({
    port: options.cloudPort,
    hosts: options.cloudHosts,
    stateDir: join(options.directory, 'cloud'),
    profiles: await readProfiles(process.env, root),
    runtime,
  });
  undo.push(() => cloud.stop());

  say('starting the API …');
  await requireFreePort(options.port, 'PORT');
  if (bridge) await requireFreePort(options.port, 'PORT', bridge.address);
  const apiPort = await freePort();
  const apiUrl = `http://127.0.0.1:${apiPort}`;
  const env = await writeEnvironment(options, apiPort, databaseUrl, cloud);
  const logFile = options.isWatching ? undefined : join(options.directory, 'api.log');
  const pidFile = join(options.directory, 'api.pid');
  const api = await startApi({ root, url: apiUrl, env, isWatching: options.isWatching, logFile, pidFile });
  undo.push(() => api.stop());
  const domains = { domain: JOBS_DOMAIN, privateDomain: PRIVATE_DOMAIN, hostDomains: HOST_DOMAINS };
  const front = await startFront({ port: options.port, apiUrl, ...domains, bridge });
  undo.push(() => front.stop());
  await api.ready(READY_TIMEOUT_MS);

  say(`ready ${url}`);
  fact('Swagger UI', `${url}/docs`);
  fact('local cloud', `${cloud.endpoint}  (EC2 and S3; its keys are in the settings)`);
  fact('Postgres', databaseUrl.replace(/:[^:@/]+@/, ':…@'));
  fact('settings', `${join(options.directory, 'env')}  (ENV_FILE for a second process; the AWS CLI reads them, too)`);
  if (logFile) fact('API log', logFile);
  say('Ctrl-C stops everything; the data stays.');
  if (options.sample !== undefined) await deploySample(url, options.sample, await portOf(options.sample));
}

async function deploySample(url: string, image: string, port: number | undefined): Promise<void> {
  try {
    const address = await showSample(url, image, port, SAMPLE_TIMEOUT_MS);
    if (address?.includes('.localhost')) {
      const { host, port: shared } = new URL(address);
      fact('without names', `curl -H 'Host: ${host}' http://127.0.0.1:${shared}/`);
    }
    say(`the sample is active${address === undefined ? '' : `: curl ${address}/`}`);
  } catch (error) {
    // Everything else runs, and the answer to «why» is in the API.
    warn(error instanceof Error ? error.message : String(error));
  }
}

async function ensureDatabase(administratorUrl: string): Promise<string> {
  const client = new pg.Client({ connectionString: administratorUrl });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
  const url = new URL(administratorUrl);
  url.pathname = `/${DATABASE}`;
  return url.href;
}

/** In reverse order of the start: no part loses what it depends on. */
async function stop(code: number): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  if (undo.length > 1) say('stopping …');
  for (const step of undo.reverse()) {
    await step().catch((error: unknown) => warn(`while stopping: ${String(error)}`));
  }
  process.exitCode = code;
  stopped.resolve(undefined);
  // Nothing of ours is left to wait for; a stray handle must not keep the terminal.
  setTimeout(() => process.exit(code), 1_000).unref();
}
