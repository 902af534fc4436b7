import type { Problem } from '../client/index.js';
import type { Exit } from './exit-codes.js';

type FailureExtra = {
  /** Further lines for people. */
  readonly details?: readonly string[];
  readonly problem?: Problem;
  readonly cause?: unknown;
};

/** Ends the command: with this exit code, and these words on standard error. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly details: readonly string[];
  readonly problem: Problem | undefined;

  constructor(
    readonly exit: Exit,
    message: string,
    { details = [], problem, cause }: FailureExtra = {},
  ) {
    super(message, { cause });
    this.details = details;
    this.problem = problem;
  }

  /** The same, with one more line for people. */
  with(detail: string): Failure {
    const { exit, message, details, problem, cause } = this;
    return new Failure(exit, message, { details: [...details, detail], ...(problem && { problem }), cause });
  }
}
