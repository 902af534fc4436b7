import cluster, { type Worker } from 'node:cluster';
import type { Config, Environment, Role } from './config/config.js';
import type { Metrics } from './metrics/metrics.js';
import { WorkerEnd, WorkerMetrics } from './metrics/worker-metrics.js';
import type { Heartbeats } from './process/heartbeats.js';

// WEB_CONCURRENCY > 1: API workers share the port, one more process runs the loops without HTTP, so that a heavy pass
// never delays an answer. This first process only starts them, restarts them, and forwards signals.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A worker that ran this long had started well: its end is a new failure, not a repeated one. */
const STEADY_MS = 60_000;
/** Above main.ts's own limit, so that workers log themselves what hung. */
const STOP_LIMIT_MS = 25_000;

const BEAT_EVERY_MS = 5_000;
/** Six beats: a busy minute must not take the API out of service. */
const BEAT_MAX_AGE_MS = 30_000;
const BEAT = 'loops-alive';
const JOINED = 'joined';

/** Runs in the first process; ends it on a signal to stop. */
export function runCluster(config: Config, environment: Environment): void {
  const roles: Role[] = Array.from({ length: config.webConcurrency }, () => 'api');
  if (config.role === 'all') roles.push('scheduler');
  const workers = new Map<number, Worker>();
  const workerMetrics = new WorkerMetrics();
  let isStopping = false;

  const start = (slot: number, role: Role, pauseMs: number): void => {
    if (isStopping) return;
    const startedAt = performance.now();
    // Without SECRETS_URI: its content is in `environment`, and S3 may be unreachable when a worker restarts.
    const worker = cluster.fork({ ...environment, ROLE: role, WEB_CONCURRENCY: '1', SECRETS_URI: '' });
    workers.set(slot, worker);
    const metrics = workerMetrics.add((message) => send(worker, message));
    worker.on('message', (message: unknown) => {
      metrics.receive(message);
      if (message === BEAT) for (const other of workers.values()) if (other !== worker) send(other, BEAT);
      // The loops' process may never send its first beat, and no worker may be ready without it for long.
      if (message === JOINED && config.role === 'all') send(worker, BEAT);
    });
    worker.once('exit', (code, signal: string | null) => {
      workers.delete(slot);
      metrics.end();
      if (isStopping) return;
      const isSteady = performance.now() - startedAt > STEADY_MS;
      const pause = isSteady ? FIRST_PAUSE_MS : pauseMs;
      log('warn', `${role} process ended (${signal ?? code}), starting it again in ${pause} ms`);
      setTimeout(() => start(slot, role, Math.min(pause * 2, LONGEST_PAUSE_MS)), pause);
    });
  };

  const stop = (): void => {
    if (isStopping) return;
    isStopping = true;
    for (const worker of workers.values()) worker.process.kill('SIGTERM');
    setTimeout(() => {
      for (const worker of workers.values()) worker.process.kill('SIGKILL');
      process.exit(1);
    }, STOP_LIMIT_MS).unref();
    const ended = [...workers.values()].map((worker) => new Promise((done) => worker.once('exit', done)));
    void Promise.all(ended).then(() => process.exit(0));
  };

  process.on('SIGTERM', stop).on('SIGINT', stop);
  roles.forEach((role, slot) => start(slot, role, FIRST_PAUSE_MS));
}

/** Whether this process listens: all except the loops' process of a cluster. */
export function hasHttp({ role }: Config): boolean {
  return !(cluster.isWorker && role === 'scheduler');
}

/** Makes the loops' signs of life, in another process, part of the API workers' readiness, and their metrics those of all. */
export function joinCluster({ role }: Config, heartbeats: Heartbeats, metrics: Metrics): void {
  const self = cluster.worker;
  if (!self) return;
  const end = new WorkerEnd(
    (message) => send(self, message),
    () => metrics.snapshot(),
  );
  metrics.gatherBy(() => end.gather());
  self.on('message', (message: unknown) => void end.receive(message));
  if (role === 'scheduler') {
    setInterval(() => {
      if (Object.values(heartbeats.loops()).every(({ isAlive }) => isAlive)) send(self, BEAT);
    }, BEAT_EVERY_MS).unref();
    return;
  }
  self.on('message', (message: unknown) => {
    if (message !== BEAT) return;
    // Expected from the first beat on: a cluster with ROLE=api has no such process.
    heartbeats.expect('scheduler-process', BEAT_MAX_AGE_MS);
  });
  send(self, JOINED);
}

function send(worker: Worker, message: string | object): void {
  // A worker that is just ending receives no message; that is no error.
  if (worker.isConnected()) worker.send(message, undefined, () => undefined);
}

function log(level: string, message: string): void {
  process.stdout.write(
    `${JSON.stringify({ level, pid: process.pid, timestamp: Date.now(), message, context: 'Cluster' })}\n`,
  );
}
