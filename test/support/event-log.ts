import type { Database } from '../../src/database/database.js';
import type { EventResponse } from '../../src/events/event.schema.js';

/** Positions that one statement scans where it reads events of all jobs. */
export const WINDOW = 20_000;

/** More than any test needs: who reads without a pause fails instead of going on for ever. */
const MOST_STATEMENTS = 2_000;

type Values = readonly [
  from: number | null,
  limit: number,
  deployment: number | null,
  types: readonly string[] | null,
  scope: readonly string[] | null,
  job?: string,
];

/** The table of events in memory, as the statements of `read-events` read it. Its answers may be held back. */
export class EventLog {
  last = 0;
  deletedThrough = 0;
  isAway = false;
  readonly asked: { readonly name: string; readonly limit: number }[] = [];
  #events: EventResponse[] = [];
  #held: Promise<void> | undefined;
  #statements = 0;

  /** Committed, with positions. */
  append(count: number, of: Partial<EventResponse> = {}): void {
    for (let left = count; left > 0; left -= 1) this.appendAt(this.last + 1, of);
  }

  /** At a position further on: those in between are of no interest. */
  appendAt(position: number, of: Partial<EventResponse> = {}): void {
    this.#events.push({ ...BLANK, position, ...of });
    this.last = position;
  }

  /** As events that are too old are deleted. */
  deleteThrough(position: number): void {
    this.deletedThrough = position;
    this.#events = this.#events.filter((event) => event.position > position);
  }

  /** As after a restore. */
  cutAfter(position: number): void {
    this.last = position;
    this.#events = this.#events.filter((event) => event.position <= position);
  }

  /** @returns what lets the statements go on that are run until then: they read before it */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const held = promise.then(() => undefined);
    this.#held = held;
    return () => {
      if (this.#held === held) this.#held = undefined;
      resolve(undefined);
    };
  }

  /** All there are. */
  get events(): readonly EventResponse[] {
    return this.#events;
  }

  get database(): Database {
    return this as unknown as Database;
  }

  async run({ name }: { readonly name: string }, values: Values): Promise<unknown[]> {
    this.asked.push({ name, limit: values[1] });
    this.#statements += 1;
    if (this.#statements > MOST_STATEMENTS) throw new Error('it is read without an end');
    const rows = name === 'events-last' ? [{ last: this.last }] : this.#read(name, values);
    await this.#held;
    if (this.isAway) throw new Error('away');
    return rows;
  }

  #read(name: string, [from, limit, deployment, types, scope, job]: Values): unknown[] {
    const { last, deletedThrough } = this;
    const isForward = name.startsWith('events-forward');
    const begin = isForward ? Math.max(from ?? 0, deletedThrough) : Math.min(from ?? Infinity, last + 1);
    const window = job === undefined ? WINDOW : Infinity;
    const isInRange = ({ position }: EventResponse): boolean =>
      isForward ? position > begin && position <= begin + window : position < begin && position >= begin - window;
    const fitting = this.#events.filter(
      (event) =>
        isInRange(event) &&
        (job === undefined || event.job === job) &&
        (deployment === null || event.deployment === deployment) &&
        (types === null || types.includes(event.type)) &&
        (scope === null || scope.some((prefix) => event.job?.startsWith(prefix) === true)),
    );
    const events = (isForward ? fitting : fitting.toReversed()).slice(0, limit);
    const bounds = { last, deletedThrough };
    return events.length === 0 ? [{ ...bounds, event: null }] : events.map((event) => ({ ...bounds, event }));
  }
}

const BLANK: EventResponse = {
  position: 0,
  at: '2026-05-04T09:31:07.000Z',
  type: 'job.changed',
  job: null,
  deployment: null,
  attempt: null,
  instance: null,
  actor: 'scheduler',
  cause: {},
  data: {},
};
