import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export type CliOptions = {
  readonly env?: Readonly<Record<string, string>>;
  /** Its standard input; none = empty. */
  readonly input?: string;
};

export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export type RunningCli = {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves once what it wrote so far, both outputs together, fits. */
  until(fits: RegExp): Promise<void>;
};

const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');

/** The built command as a pipeline runs it: a process without a terminal, with exactly this environment besides PATH. */
export function startCli(args: readonly string[], { env = {}, input = '' }: CliOptions = {}): RunningCli {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { PATH: process.env['PATH'], ...env } });
  const output = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      for (const listener of listeners) listener();
    });
  }
  child.stdin.on('error', () => undefined).end(input);
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, ...output }));
  return {
    process: child,
    ended,
    until: (fits) =>
      new Promise((done, failed) => {
        const look = (): void => {
          if (!fits.test(output.stdout + output.stderr)) return;
          listeners.delete(look);
          done();
        };
        listeners.add(look);
        look();
        void ended.then(({ code, stdout, stderr }) => {
          failed(new Error(`ended with ${code ?? 'a signal'} without ${fits}:\n${stdout}\n${stderr}`));
        });
      }),
  };
}

export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
  return await startCli(args, options).ended;
}
