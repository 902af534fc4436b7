import { Inject, Injectable, Optional } from '@nestjs/common';
import { Setting } from '../config/setting.decorator.js';
import { Database, type Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import type { Caller } from '../http/caller.js';
import { RateLimit } from './rate-limit.entity.js';

/** A bucket holds what comes in during this time. */
export const WINDOW_SECONDS = 60;
/** A slice is this part of the bucket: more statements with a larger number, more requests left unused with a smaller. */
const SLICES = 50;
const LARGEST_SLICE = 100;
/** The rest of a slice is then returned with the next request: other processes may need it more. */
const SLICE_MS = 5_000;
const MOST_CALLERS = 10_000;

export type Standing = {
  readonly isAllowed: boolean;
  /** Requests a minute. */
  readonly limit: number;
  /** Requests this caller has at least, as far as this process knows. */
  readonly remaining: number;
  /** Until the bucket is full again. */
  readonly resetSeconds: number;
  /** Until there is one again; 0 = there is. */
  readonly retrySeconds: number;
};

type Slice = {
  left: number;
  /** In the shared bucket, when the slice was taken. */
  readonly others: number;
  readonly endsAtMs: number;
  /** Of an empty slice: no query before then. */
  readonly emptyUntilMs: number;
};

/**
 * Requests per minute and caller, for all processes together: each takes a slice of the caller's bucket in Postgres and
 * counts it down in memory. Never more than the limit; up to a slice per process less at a time. See
 * docs/adr/0009-rate-limit-in-slices.md.
 */
@Injectable()
export class RateLimiter {
  readonly #slices = new Map<string, Slice>();
  readonly #taking = new Map<string, Promise<Slice>>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    @Inject(Database) private readonly database: Queryable,
    /** Of callers without a limit of their own. */
    @Setting('limits') private readonly limits: { readonly requestsPerMinute: number },
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {}

  /** Takes one request of the caller's. @throws what the database throws */
  async take({ id, requestsPerMinute }: Pick<Caller, 'id' | 'requestsPerMinute'>): Promise<Standing> {
    const limit = requestsPerMinute ?? this.limits.requestsPerMinute;
    for (;;) {
      const slice = this.#slices.get(id) ?? (await this.#take(id, limit, 0));
      const now = this.now();
      if (slice.left > 0 && now < slice.endsAtMs) {
        slice.left -= 1;
        return standingOf(slice, limit, 0);
      }
      if (slice.left === 0 && now < slice.emptyUntilMs) return standingOf(slice, limit, slice.emptyUntilMs - now);
      if (this.#slices.get(id) !== slice) continue;
      this.#slices.delete(id);
      await this.#take(id, limit, slice.left);
    }
  }

  /** Requests that arrive meanwhile wait for the same slice. @param left of the one before */
  #take(id: string, limit: number, left: number): Promise<Slice> {
    const taking = this.#taking.get(id) ?? this.#takeSlice(id, limit, left).finally(() => this.#taking.delete(id));
    this.#taking.set(id, taking);
    return taking;
  }

  async #takeSlice(id: string, limit: number, left: number): Promise<Slice> {
    const size = Math.min(LARGEST_SLICE, Math.max(1, Math.floor(limit / SLICES)));
    const [row] = await this.database.run(TAKE, [id, limit, size, WINDOW_SECONDS, left]);
    if (!row) throw new Error('an upsert has a row');
    const { granted, available } = row;
    const now = this.now();
    const msPerRequest = (WINDOW_SECONDS * 1000) / limit;
    const slice = {
      left: granted,
      others: Math.floor(available),
      endsAtMs: now + SLICE_MS,
      emptyUntilMs: granted === 0 ? now + (1 - available) * msPerRequest : 0,
    };
    if (this.#slices.size >= MOST_CALLERS) this.#slices.clear();
    this.#slices.set(id, slice);
    return slice;
  }
}

/** @see https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.html */
export function rateLimitHeaders({ limit, remaining, resetSeconds }: Standing): Record<string, string> {
  return {
    'ratelimit-policy': `"default";q=${limit};w=${WINDOW_SECONDS}`,
    ratelimit: `"default";r=${remaining};t=${resetSeconds}`,
  };
}

function standingOf({ left, others }: Slice, limit: number, retryMs: number): Standing {
  const remaining = Math.min(limit, left + others);
  return {
    isAllowed: retryMs === 0,
    limit,
    remaining,
    resetSeconds: Math.ceil(((limit - remaining) * WINDOW_SECONDS) / limit),
    retrySeconds: Math.ceil(retryMs / 1000),
  };
}

// $1 caller, $2 limit, $3 slice, $4 seconds in which an empty bucket is full again, $5 what is returned of the slice
// before: if it were lost, five processes with few requests each would use up the bucket. The row's lock is what makes
// the processes one after the other; a clock that jumps back adds nothing.
const TAKE = statement('take-requests', {
  values: [t.text, t.int, t.int, t.int, t.int],
  row: columnsOf(RateLimit, 'granted', 'available'),
})(`
  INSERT INTO rate_limits AS r (caller, available, granted)
  VALUES ($1, $2::int - LEAST($2::int, $3::int), LEAST($2::int, $3::int))
  ON CONFLICT (caller) DO UPDATE SET (available, granted, updated_at) = (
    SELECT filled - LEAST($3::int, floor(filled)), LEAST($3::int, floor(filled)), clock_timestamp()
    FROM (SELECT LEAST($2::int, r.available + $5::int + GREATEST(0, extract(epoch FROM clock_timestamp() - r.updated_at)) * $2::int / $4::int) AS filled) f
  )
  RETURNING granted, available`);
