import type { DataSource } from 'typeorm';
import { isDatabaseAway } from './database-away.js';

const GIVE_UP_AFTER_MS = 60_000;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Connects, repeating with backoff until Postgres answers: in a compose stack it may start later than we do.
 * Wrong credentials or an unknown database are final at once.
 * @throws DatabaseUnavailable
 */
export async function connect(
  dataSource: DataSource,
  log: (message: string) => void,
  giveUpAfterMs = GIVE_UP_AFTER_MS,
): Promise<void> {
  const isWorthIt = (error: unknown): boolean => !isFinal(error);
  const startedAt = Date.now();
  await repeat(() => dataSource.initialize(), { isWorthIt, log, giveUpAfterMs }).catch((error: unknown) => {
    throw new DatabaseUnavailable(error, Date.now() - startedAt);
  });
}

/** Repeats `work` while Postgres is away, as it may be in the middle of a start. @throws what `work` throws */
export async function whileAway<T>(work: () => Promise<T>, log: (message: string) => void): Promise<T> {
  const isWorthIt = (error: unknown): boolean => isDatabaseAway(error) && !isFinal(error);
  return repeat(work, { isWorthIt, log, giveUpAfterMs: GIVE_UP_AFTER_MS });
}

type Patience = {
  readonly isWorthIt: (error: unknown) => boolean;
  readonly log: (message: string) => void;
  readonly giveUpAfterMs: number;
};

async function repeat<T>(work: () => Promise<T>, { isWorthIt, log, giveUpAfterMs }: Patience): Promise<T> {
  const startedAt = Date.now();
  for (let pause = 250; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      if (!isWorthIt(error) || Date.now() - startedAt + pause > giveUpAfterMs) throw error;
      log(`Postgres does not answer yet (${describe(error)}), trying again in ${pause} ms`);
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}

export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable' as const;

  constructor(cause: unknown, waitedMs: number) {
    super(
      `cannot connect to Postgres after ${Math.round(waitedMs / 1000)} s: ${describe(cause)}; check DATABASE_URL or POSTGRES_*`,
      { cause },
    );
  }
}

// Invalid authorization, invalid password, unknown database: https://www.postgresql.org/docs/current/errcodes-appendix.html
const FINAL_CODES = new Set(['28000', '28P01', '3D000']);

function isFinal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && FINAL_CODES.has(String(error.code));
}

function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0]);
  return error instanceof Error ? error.message || error.name : String(error);
}
