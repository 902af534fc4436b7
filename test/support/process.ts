import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export type LogLine = { level: string; message: string; pid: number; [key: string]: unknown };

export type Started = {
  process: ChildProcess;
  lines: readonly LogLine[];
  /** All it wrote, standard error included. */
  output(): string;
  /** Resolves with the first line, past or to come, that fits; rejects when the process ends without one. */
  line(fits: (line: LogLine) => boolean): Promise<LogLine>;
  /** Exit code, and the signal where it was one. */
  ended: Promise<number | NodeJS.Signals>;
};

/** The built program as a process of its own, with exactly this environment besides PATH and HOME. */
export function startMain(env: Record<string, string>, args: readonly string[] = []): Started {
  const main = join(import.meta.dirname, '../../dist/main.js');
  const { PATH = '', HOME = '/tmp' } = process.env;
  // An existing, empty file: a developer's own .env must not decide a test.
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH, HOME, ENV_FILE: '/dev/null', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: LogLine[] = [];
  const raw: string[] = [];
  const listeners = new Set<() => void>();
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (text) => {
      raw.push(text);
      const line = parseLine(text);
      if (line) lines.push(line);
      for (const listener of listeners) listener();
    });
  }
  return {
    process: child,
    lines,
    output: () => raw.join('\n'),
    ended,
    line: (fits) =>
      new Promise((done, failed) => {
        const look = (): void => {
          const found = lines.find(fits);
          if (!found) return;
          listeners.delete(look);
          done(found);
        };
        listeners.add(look);
        look();
        void ended.then((code) => failed(new Error(`ended with ${code} first:\n${raw.join('\n')}`)));
      }),
  };
}

function parseLine(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}
