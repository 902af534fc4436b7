import { type Command, InvalidArgumentError, Option } from 'commander';
import { secondsOf } from './duration.js';
import { eventsOf } from './event-stream.js';
import { deploymentNumber, type OpenSession, wholeNumber } from './options.js';
import type { Session } from './session.js';

type LogsOptions = {
  readonly follow?: boolean;
  readonly deployment?: number;
  readonly attempt?: number;
  readonly stream?: 'stdout' | 'stderr';
  readonly tail?: number;
  readonly since?: string;
  readonly timestamps?: boolean;
};
type Line = { readonly deployment: number; readonly attempt: number; readonly at: string; readonly text: string };

export function addLogs(program: Command, open: OpenSession): void {
  program
    .command('logs')
    .summary('show what a job prints, of all its instances')
    .description(
      'Shows what the active deployment printed, or the latest that printed anything. With -f it continues, with later deployments too, until the job is gone; with --deployment until that has ended.',
    )
    .argument('<job>')
    .option('-f, --follow', 'continue with new lines')
    .option('-d, --deployment <number>', 'of this deployment', deploymentNumber)
    .option('--attempt <number>', 'of this attempt of the deployment', wholeNumber)
    .addOption(new Option('--stream <stream>', 'only this one').choices(['stdout', 'stderr']))
    .option('-n, --tail <lines>', 'how many of the latest lines (default: 1000, with --since all)', wholeNumber)
    .option('--since <time>', 'printed since: a time like 2026-11-25T19:00:00Z, or how long ago like 10m', sinceOf)
    .option('-t, --timestamps', 'begin lines with the time')
    .action(async (name: string, { timestamps, ...options }: LogsOptions, self: Command) => {
      const session = open(self);
      const request = { path: `/v1/jobs/${encodeURIComponent(name)}/logs`, query: options };
      let source = '';
      for await (const { event, data } of eventsOf(session, request)) {
        if (event === 'end') return;
        if (event !== 'line') continue;
        const line = JSON.parse(data) as Line;
        source = announce(session, name, line, source);
        print(session, line, timestamps ?? false);
        await session.terminal.drained();
      }
    });
}

/** Notes where lines come from whenever that changes. */
function announce({ terminal, isQuiet }: Session, name: string, { deployment, attempt }: Line, before: string): string {
  const source = `${name} #${deployment}${attempt > 1 ? `, attempt ${attempt}` : ''}`;
  if (source !== before && !isQuiet) terminal.note(terminal.styleNote('dim', `-- ${source}`));
  return source;
}

function print({ terminal, isJson }: Session, line: Line, hasTimestamp: boolean): void {
  if (isJson) terminal.json(line);
  else terminal.printed(line.text, hasTimestamp ? `${terminal.style('dim', line.at)} ` : '');
}

/** RFC 3339, of a time or of how long ago it was. */
function sinceOf(text: string): string {
  const seconds = secondsOf(text);
  if (seconds !== undefined) return new Date(Date.now() - seconds * 1_000).toISOString();
  if (Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError('It is no time: write 90s, 10m, 2h, 7d or 2026-05-04T09:31:07Z.');
  return text;
}
