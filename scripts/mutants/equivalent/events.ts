import type { Equivalent } from './equivalent.ts';

export const EVENTS: readonly Equivalent[] = [
  {
    file: 'src/events/event-feed.ts',
    on: 'if (read.isAtEnd) await this.#next(position, signal);',
    original: 'read.isAtEnd',
    mutated: 'true || (read.isAtEnd)',
    why: 'Where more is known waiting ends at once; it saves a turn.',
  },
  {
    file: 'src/events/event-feed.ts',
    on: 'this.#waiting.delete(wake);',
    original: 'this.#waiting.delete(wake);',
    mutated: '',
    why: 'Waking who is awake does nothing. It bounds memory, which nothing shows.',
  },
  {
    file: 'src/events/event-feed.ts',
    on: 'if (this.#followers === 0) return;',
    original: 'this.#followers === 0',
    mutated: 'false && (this.#followers === 0)',
    why: 'Of `#refresh`: nothing is read without followers anyway, and the next one begins with a refresh.',
  },
  {
    file: 'src/events/event-feed.ts',
    on: 'if (this.#through !== before) return void (this.#isStale = true);',
    original: 'true',
    mutated: 'false',
    why: 'Whatever forgets is followed by a refresh, which says so as well.',
  },
  {
    file: 'src/events/event-feed.ts',
    on: 'this.#recent = all.slice(-MOST_RECENT);',
    original: 'all.slice(-MOST_RECENT)',
    mutated: 'all',
    why: 'It bounds memory, which nothing shows: what is older than `#from` is read from the table either way.',
  },
  {
    file: 'src/events/events.service.ts',
    on: '? readForward(this.database, filter, from ?? 0, count)',
    original: '0',
    mutated: '1',
    why: 'Of `from ?? 0`: going forward there always is a position. (Of the default `after = 0` a test notices.)',
  },
  {
    file: 'src/events/sequencer.ts',
    on: 'return row?.count ?? 0;',
    original: '0',
    mutated: '1',
    why: 'The statement counts: it always has a row.',
  },
];
