import type { Command } from 'commander';
import type { Event } from '../client/index.js';
import { answerOf } from './answers.js';
import { eventsOf } from './event-stream.js';
import { deploymentNumber, type OpenSession, wholeNumber } from './options.js';
import type { Session } from './session.js';

type EventsOptions = {
  readonly job?: string;
  readonly deployment?: number;
  readonly type?: string;
  readonly number: number;
  readonly follow?: boolean;
};
type Filter = Pick<EventsOptions, 'job' | 'deployment' | 'type'>;

const LARGEST_PAGE = 200;

export function addEvents(program: Command, open: OpenSession): void {
  program
    .command('events')
    .summary('show what happened, and who requested it')
    .option('-j, --job <job>', 'only of this job')
    .option('-d, --deployment <number>', 'only of this deployment', deploymentNumber)
    .option('--type <type>', 'only of this type, or of a kind: deployment.*')
    .option('-n, --number <number>', 'how many of the latest', wholeNumber, 20)
    .option('-f, --follow', 'continue with new events')
    .action(async ({ number, follow, ...filter }: EventsOptions, self: Command) => {
      const session = open(self);
      const recent = await latest(session, filter, Math.max(number, 1));
      const shown = recent.slice(-number || recent.length);
      for (const event of shown) print(session, event);
      if (!follow) return;
      const after = recent.at(-1)?.position ?? 0;
      for await (const { event, data } of eventsOf(session, { path: '/v1/events', query: { ...filter, after } })) {
        if (event === 'gap') session.terminal.note('some events in between are no longer stored');
        else print(session, JSON.parse(data) as Event);
        await session.terminal.drained();
      }
    });
}

/** The latest events, the oldest of them first. */
async function latest({ scheduler }: Session, filter: Filter, limit: number): Promise<Event[]> {
  const found: Event[] = [];
  let before: number | undefined;
  while (found.length < limit) {
    const query = { ...filter, order: 'newest' as const, limit: Math.min(limit - found.length, LARGEST_PAGE) };
    const page = await answerOf(
      scheduler.events.list({ query: { ...query, ...(before !== undefined && { before }) } }),
    );
    found.push(...page.items);
    if (page.nextCursor === null) break;
    before = Number(page.nextCursor);
  }
  return found.reverse();
}

function print({ terminal, isJson }: Session, event: Event): void {
  if (isJson) {
    terminal.json(event);
    return;
  }
  const { at, type, job, deployment, attempt, instance, actor, cause } = event;
  const subject = [
    job,
    deployment === null ? undefined : `#${deployment}`,
    attempt === null ? undefined : `attempt ${attempt}`,
  ];
  const words = [...subject, instance, cause.reason].filter((word) => typeof word === 'string').join(' ');
  terminal.out(`${terminal.style('dim', at)}  ${type.padEnd(24)}  ${words}  ${terminal.style('dim', `by ${actor}`)}`);
}
