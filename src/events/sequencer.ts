import type { Database } from '../database/database.js';
import { notifySql, type Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';

/** Small enough that a batch is some milliseconds, as readers wait for its commit. */
const BATCH = 1_000;

/**
 * Gives committed events their positions: in the order of their ids, one process at a time, each batch committed before
 * the next begins. So a reader that sees a position sees every lower one, and has missed nothing when it has read up to
 * there. Any number of processes may try; one that is killed leaves its batch to the next.
 */
export class Sequencer {
  constructor(
    private readonly database: Database,
    private readonly signals: Pick<Signals, 'notification' | 'eventsNumbered'>,
  ) {}

  /** Whether there is anything to do; one look at an index that is empty when there is not. */
  async hasWork(): Promise<boolean> {
    return (await this.database.run(UNSEQUENCED, [])).length > 0;
  }

  /** Sequences all there are now, and signals the readers. @returns how many */
  async run(): Promise<number> {
    let total = 0;
    for (let count = BATCH; count === BATCH; total += count) {
      count = await this.#runBatch();
      if (count > 0) this.signals.eventsNumbered();
    }
    return total;
  }

  async #runBatch(): Promise<number> {
    return await this.database.transaction(async (transaction) => {
      await transaction.run(LOCK, []);
      // A statement of its own: it must see what was committed while we waited for the lock.
      const [row] = await transaction.run(SEQUENCE, [BATCH, ...this.signals.notification()]);
      return row?.count ?? 0;
    });
  }
}

const UNSEQUENCED = statement('events-unsequenced')(`SELECT 1 FROM events WHERE position IS NULL LIMIT 1`);

const LOCK = statement('events-lock')(`SELECT 1 FROM event_positions FOR NO KEY UPDATE`);

// Notified within the transaction, so that a process that dies after the commit leaves no reader waiting. That makes
// commits queue, which these do anyway.
const SEQUENCE = statement('events-sequence', {
  values: [t.bigintValue, t.text, t.text],
  row: { count: t.int, notified: t.bigint },
})(`
  WITH waiting AS (
    SELECT id, row_number() OVER (ORDER BY id) AS place
    FROM (SELECT id FROM events WHERE position IS NULL ORDER BY id LIMIT $1) unsequenced
  ), sequenced AS (
    UPDATE events e SET position = p.last + w.place FROM waiting w, event_positions p WHERE e.id = w.id RETURNING 1
  ), counted AS (
    UPDATE event_positions SET last = last + (SELECT count(*) FROM sequenced) WHERE EXISTS (SELECT FROM sequenced)
    RETURNING ${notifySql('$2', '$3')}
  )
  SELECT count(*)::int AS count, (SELECT count(*) FROM counted) AS notified FROM sequenced`);
