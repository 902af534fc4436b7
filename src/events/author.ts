import { AsyncLocalStorage } from 'node:async_hooks';
import { t } from '../database/statement.js';
import type { EventCause } from './append-events.js';

/** Who causes what is being done, and why: each event of it has both. */
export type Author = { readonly actor: string; readonly cause: EventCause };

const authors = new AsyncLocalStorage<Author>();

/** Runs `work` in the name of an author, however deep inside an event is written. */
export function inNameOf<T>(author: Author, work: () => T): T {
  return authors.run(author, work);
}

/** @param callerId of a token, `admin` or `anonymous` */
export function actorOf(callerId: string): string {
  return /^[0-9a-f]{8}$/.test(callerId) ? `token:${callerId}` : callerId;
}

/** The caller of the request that is being served; the scheduler itself when there is none. */
export function currentAuthor(): Author {
  return authors.getStore() ?? SCHEDULER;
}

/** Types of `authorValues`. */
export const authorTypes = [t.text, t.json] as const;

/** The same as values of a statement. */
export function authorValues(): [actor: string, cause: string] {
  const { actor, cause } = currentAuthor();
  return [actor, JSON.stringify(cause)];
}

const SCHEDULER: Author = { actor: 'scheduler', cause: {} };
