import { join } from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import type { Config } from './config/config.js';
import type { Heartbeats } from './process/heartbeats.js';

// Of our own code only types are imported above: an older Node must reach the message below before syntax that it does
// not know.
const NEEDED_NODE = 24;

/** Without one the program serves. `check-settings` does only what all of them do first. */
const COMMANDS = ['migrate', 'rotate-keys', 'check-settings'];

/** As sysexits.h's EX_CONFIG: only another setting helps, so a supervisor need not restart it. */
const BAD_SETTINGS = 78;

/** A response under way gets this long. Supervisors kill after some 30 s, without an orderly end. */
const SHUTDOWN_LIMIT_MS = 20_000;

if (Number.parseInt(process.versions.node, 10) < NEEDED_NODE) {
  console.error(
    `Node ${NEEDED_NODE} or newer is needed, this is ${process.versions.node}. npm start uses the right one.`,
  );
  process.exit(1);
}
const { enableCompileCache, setSourceMapsSupport } = await import('node:module');
// Saves a quarter of the start, which is mostly the compiling of libraries. Not in /tmp, where others could add code.
enableCompileCache(join(import.meta.dirname, '..', 'node_modules', '.cache', 'scheduler-api'));
// Stacks name lines of src, but those of this file. Not --enable-source-maps, which reads the maps of all libraries too: a seventh of the start.
setSourceMapsSupport(true, { nodeModules: false, generatedCode: false });
process.on('uncaughtException', fail).on('unhandledRejection', fail);
await main(process.argv[2]).catch(fail);

async function main(command: string | undefined): Promise<void> {
  if (command !== undefined && !COMMANDS.includes(command)) {
    throw new Error(`unknown command "${command}": there are ${COMMANDS.join(', ')}`);
  }
  const { loadConfig } = await import('./config/config.js');
  const { loadEnvironment } = await import('./config/load-environment.js');
  const environment = await loadEnvironment();
  const config = loadConfig(environment);
  if (command === 'check-settings') {
    const { trustedIdentityKeys } = await import('./agent/identity.js');
    // Named files may exist only where the program serves.
    if (config.identity.certificates.length === 0) trustedIdentityKeys(config.aws.region, []);
    console.log('the settings can be used');
    return;
  }
  if (command === 'migrate') await migrateOnly(config);
  else if (command === 'rotate-keys') await rotate(config);
  else if (config.webConcurrency === 1) await serve(config);
  else (await import('./cluster.js')).runCluster(config, environment);
}

async function migrateOnly({ database, logLevel }: Config): Promise<void> {
  const { createLogger } = await import('./http/logger.js');
  const { connect } = await import('./database/connect.js');
  const { createDataSource } = await import('./schema/data-source.js');
  const { migrate } = await import('./schema/migrate.js');
  const logger = createLogger(logLevel);
  const dataSource = createDataSource({ url: database.url, poolSize: 2 });
  await connect(dataSource, (message) => logger.warn(message));
  try {
    logger.log('migrated', { applied: await migrate(dataSource) });
  } finally {
    await dataSource.destroy();
  }
}

async function rotate({ database: { url }, encryptionKeys, logLevel }: Config): Promise<void> {
  const { createLogger } = await import('./http/logger.js');
  const { connect } = await import('./database/connect.js');
  const { createDataSource } = await import('./schema/data-source.js');
  const { Database } = await import('./database/database.js');
  const { rotateKeys } = await import('./key-rotation/rotate-keys.js');
  const logger = createLogger(logLevel);
  const dataSource = createDataSource({ url, poolSize: 2 });
  await connect(dataSource, (message) => logger.warn(message));
  try {
    const rotated = await rotateKeys(new Database(dataSource), encryptionKeys, (context, error) =>
      logger.error('could not be opened', { context, error: String(error) }),
    );
    for (const { column, resealed, left } of rotated) logger.log('rotated', { column, resealed, left });
    // A supervisor or a script must not go on to delete the old key.
    if (rotated.some(({ left }) => left > 0)) process.exitCode = 1;
  } finally {
    await dataSource.destroy();
  }
}

async function serve(config: Config): Promise<void> {
  const { createApp } = await import('./configure-app.js');
  const { joinCluster, hasHttp } = await import('./cluster.js');
  const { Metrics } = await import('./metrics/metrics.js');
  const { Heartbeats } = await import('./process/heartbeats.js');
  const { Shutdown } = await import('./process/shutdown.js');
  const { Logger } = await import('@nestjs/common');
  const logger = new Logger('Main');
  for (const names of config.formerNames)
    logger.warn('setting has a new name, the former one ends with the next version', names);
  const app = await createApp(config);
  stopOnSignals(app, app.get(Shutdown), logger);
  joinCluster(config, app.get(Heartbeats), app.get(Metrics));
  if (config.agents.isInClear) warnOfClearText(config, app.get(Heartbeats), logger);
  if (!hasHttp(config)) {
    await app.init();
    logger.log('running', { role: config.role });
    return;
  }
  await app.listen({ host: config.http.host, port: config.http.port }).catch(explainBusyPort);
  logger.log('listening', { url: await app.getUrl(), role: config.role, publicUrl: config.http.publicUrl });
}

function explainBusyPort(error: NodeJS.ErrnoException & { address?: string; port?: number }): never {
  if (error.code !== 'EADDRINUSE') throw error;
  const place = `${error.port ?? ''} of ${error.address ?? ''}`;
  throw new Error(`PORT: ${place} is in use by another program`, { cause: error });
}

/** Degraded for good: only another setting helps. */
function warnOfClearText({ agents, role }: Config, heartbeats: Heartbeats, logger: Log): void {
  const detail = `agents connect to ${agents.url} without TLS: a server in its place can give them orders. Set AGENT_URL`;
  heartbeats.degrade('agents', detail);
  // Logged once, where several processes share the settings.
  if (role !== 'api')
    logger.warn('agents connect without TLS', { agentUrl: agents.url, alarm: true, mend: 'set AGENT_URL' });
}

type Log = { log(message: string, details: object): void; warn(message: string, details: object): void };

function stopOnSignals(app: INestApplicationContext, shutdown: { begin(): void }, logger: Log): void {
  const stop = (signal: NodeJS.Signals): void => {
    // A second signal must not wait for the first one's twenty seconds.
    process.once(signal, () => process.exit(1));
    logger.log('shutting down', { signal });
    setTimeout(() => fail(new Error(`not shut down within ${SHUTDOWN_LIMIT_MS / 1000} s`)), SHUTDOWN_LIMIT_MS).unref();
    shutdown.begin();
    app.close().then(() => process.exit(0), fail);
  };
  process.once('SIGTERM', stop).once('SIGINT', stop);
}

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error && !isMendable(error) ? error.stack : undefined;
  const line = { level: 'fatal', pid: process.pid, timestamp: Date.now(), message, stack };
  const isForPeople = process.stderr.isTTY || process.argv[2] === 'check-settings';
  process.stderr.write(`${isForPeople ? (stack ?? message) : JSON.stringify(line)}\n`);
  process.exit(error instanceof Error && error.name === 'ConfigError' ? BAD_SETTINGS : 1);
}

/** An error that an operator can fix is logged as a sentence; any other with its stack. */
function isMendable(error: Error): boolean {
  const { cause } = error;
  if ([error, cause].some((one) => one instanceof Error && 'syscall' in one && one.syscall === 'listen')) return true;
  return ['ConfigError', 'DatabaseUnavailable'].includes(error.name);
}
