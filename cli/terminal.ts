import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { styleText } from 'node:util';
import { safeJson, safeLine } from './safe-text.js';

export type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';

/**
 * The output of a command: results on standard output, everything about them on standard error. Nothing else writes
 * to either (lint holds that), so that text from outside cannot control a screen.
 */
export type Terminal = {
  /** A line of the result. */
  readonly out: (line: string) => void;
  /** A line about what goes on. */
  readonly note: (line: string) => void;
  /** The result, for machines. */
  readonly json: (value: unknown) => void;
  readonly jsonNote: (value: unknown) => void;
  /** A line that a container printed: for a screen like any other, but with its colours; elsewhere as it was printed. */
  readonly printed: (text: string, before?: string) => void;
  /** Whether somebody looks at standard output. */
  readonly isScreen: boolean;
  /** The answer to a question; undefined = standard input is no terminal. */
  readonly ask: (question: string, signal: AbortSignal) => Promise<string | undefined>;
  /** Coloured where standard output is a terminal and NO_COLOR is not set. */
  readonly style: (style: Style, text: string) => string;
  readonly styleNote: (style: Style, text: string) => string;
  /** Resolves once standard output has room for more: a slow reader must not fill our memory. */
  readonly drained: () => Promise<void>;
};

type Stream = NodeJS.Process['stdout'] | NodeJS.Process['stderr'];
type Streams = Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr'>;

export function openTerminal({ stdin, stdout, stderr }: Streams): Terminal {
  const out = lineWriter(stdout);
  const note = lineWriter(stderr);
  return {
    out: (line) => out(safeLine(line, coloursOf(stdout))),
    note: (line) => note(safeLine(line, coloursOf(stderr))),
    json: (value) => out(safeJson(value)),
    jsonNote: (value) => note(safeJson(value)),
    printed: (text, before = '') => {
      out(safeLine(before, coloursOf(stdout)) + (stdout.isTTY ? safeLine(text, () => true) : text));
    },
    isScreen: stdout.isTTY,
    ask: async (question, signal) => {
      if (!stdin.isTTY) return undefined;
      // As a terminal, readline would keep Ctrl-C from us.
      const asking = createInterface({ input: stdin, output: stderr, terminal: false });
      try {
        return await asking.question(safeLine(question), { signal });
      } finally {
        asking.close();
      }
    },
    style: (style, text) => styleText(style, text, { stream: stdout }),
    styleNote: (style, text) => styleText(style, text, { stream: stderr }),
    drained: async () => {
      if (stdout.writableNeedDrain) await once(stdout, 'drain');
    },
  };
}

function lineWriter(stream: Stream): (line: string) => void {
  return (line) => void stream.write(`${line}\n`);
}

/** The sequences by which this stream is styled: where it is not, there are none. */
function coloursOf(stream: Stream): (sequence: string) => boolean {
  const isStyled = styleText('bold', 'x', { stream }) !== 'x';
  return (sequence) => isStyled && OURS.has(sequence);
}

const STYLES: readonly Style[] = ['bold', 'dim', 'green', 'red', 'yellow', 'cyan'];
const OURS: ReadonlySet<string> = new Set(
  STYLES.flatMap((style) => styleText(style, ' ', { validateStream: false }).split(' ')),
);

/** Columns as wide as their widest cell, two spaces apart; no spaces at the ends of lines. */
export function tableOf(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
