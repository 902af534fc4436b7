import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '../../dist/main.js');
const READY_LIMIT_MS = 120_000;

export type ReplicaOptions = {
  readonly name: string;
  readonly port: number;
  readonly env: Readonly<Record<string, string>>;
  /** Appended to. */
  readonly logFile: string;
  /** Modules loaded before the program. */
  readonly preload?: readonly string[];
  /** It ended without having been killed. */
  readonly onOwnEnd?: (how: string) => void;
};

/** `dist/main.js` as a process group of its own: a signal meets the workers of a cluster as well. */
export class Replica {
  readonly url: string;
  readonly #options: ReplicaOptions;
  #child: ChildProcess | undefined;
  #isKilled = false;
  #isPaused = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.url = `http://127.0.0.1:${options.port}`;
  }

  get name(): string {
    return this.#options.name;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Of the process while it runs: messages over IPC reach a preloaded module. */
  get process(): ChildProcess | undefined {
    return this.#child;
  }

  /** Nothing when it runs. Resolves when the process is there, not when it serves: see `untilReady`. */
  start(): void {
    if (this.isRunning) return;
    const { port, env, logFile, preload = [], onOwnEnd } = this.#options;
    this.#isKilled = this.#isPaused = false;
    const log = openSync(logFile, 'a');
    const child = spawn(process.execPath, [...preload.flatMap((module) => ['--import', module]), MAIN], {
      // An empty environment: what is on the machine must not matter.
      env: { PATH: process.env['PATH'], ...env, PORT: String(port), ENV_FILE: '/dev/null' },
      stdio: ['ignore', log, log, ...(preload.length > 0 ? (['ipc'] as const) : [])],
      detached: true,
    });
    closeSync(log);
    child.once('exit', (code, signal) => {
      if (!this.#isKilled) onOwnEnd?.(signal ?? `code ${code}`);
    });
    this.#child = child;
  }

  async untilReady(): Promise<void> {
    const deadline = Date.now() + READY_LIMIT_MS;
    while (this.isRunning && Date.now() < deadline) {
      const answer = await fetch(`${this.url}/health/ready`, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
      if (answer?.ok) return;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`${this.name} ${this.isRunning ? 'is not ready' : 'ended'}, see ${this.#options.logFile}`);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child || !this.isRunning) return;
    this.#isKilled = true;
    const ended = once(child, 'exit');
    this.#signal(signal);
    await ended;
    // With its first process gone a cluster's workers end by themselves, but not before they have noticed.
    this.#signal('SIGKILL');
  }

  /** One worker of a cluster, if there are any. */
  async killWorker(choose: (pids: readonly number[]) => number | undefined): Promise<boolean> {
    const pid = this.#child?.pid ?? 0;
    const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    const worker = choose(
      text
        .trim()
        .split(' ')
        .flatMap((part) => Number(part) || []),
    );
    if (worker === undefined) return false;
    process.kill(worker, 'SIGKILL');
    return true;
  }

  pause(): void {
    if (!this.isRunning) return;
    this.#isPaused = true;
    this.#signal('SIGSTOP');
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#signal('SIGCONT');
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(-(this.#child?.pid ?? 0), signal);
    } catch {
      // It ended in this moment.
    }
  }
}
