import type { Callers } from './callers.ts';
import type { ApiDocument } from './document.ts';
import type { Known } from './known.ts';
import type { ValueMaker } from './values.ts';

/** What requests are made from. */
export type Sources = {
  readonly document: ApiDocument;
  readonly values: ValueMaker;
  readonly known: Known;
  readonly callers: Callers;
  /** What agents registered with. */
  readonly forms: () => readonly string[];
};
