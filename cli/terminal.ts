import { once } from 'node:events';
import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';

/** Where a command speaks: results on standard output, everything about them on standard error. */
export type Terminal = {
  /** A line of the result. */
  readonly out: (line: string) => void;
  /** A line about what goes on. */
  readonly note: (line: string) => void;
  /** Coloured where standard output is a terminal and NO_COLOR is not set. */
  readonly style: (style: Style, text: string) => string;
  readonly styleNote: (style: Style, text: string) => string;
  /** Resolves once whoever reads standard output has room for more: a slow reader must not fill our memory. */
  readonly drained: () => Promise<void>;
  /** Standard output is a screen. */
  readonly isScreen: boolean;
};

export function openTerminal({ stdout, stderr }: Pick<NodeJS.Process, 'stdout' | 'stderr'>): Terminal {
  return {
    out: (line) => void stdout.write(`${line}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    style: (style, text) => styleText(style, text, { stream: stdout }),
    styleNote: (style, text) => styleText(style, text, { stream: stderr }),
    drained: async () => {
      if (stdout.writableNeedDrain) await once(stdout, 'drain');
    },
    isScreen: stdout.isTTY,
  };
}

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
