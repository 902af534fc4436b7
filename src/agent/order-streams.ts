import type { Readable } from 'node:stream';
import { Injectable, Optional } from '@nestjs/common';
import { Database } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { Shutdown } from '../process/shutdown.js';
import { OrderStream } from './order-stream.entity.js';
import { readUpload } from './read-upload.js';
import { StreamTail } from './stream-tail.js';

/** Lines that arrive meanwhile are stored together. */
const STORE_EVERY_MS = 1_000;

/** Receives a stream that Docker sends for an order, and keeps its newest lines with the order. */
@Injectable()
export class OrderStreams {
  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    private readonly shutdown: Shutdown,
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Stores lines as they arrive, every second; a line without its end is left to the next upload.
   * @param since where the upload begins, `<seconds>` or `<seconds>.<fraction>`
   * @returns where the next one is to begin, once all is stored: `<seconds>.<nine digits>`
   * @throws Problem order-not-found, instance-retired, conflict, malformed-request, payload-too-large, shutting-down,
   * unavailable
   */
  async store(instanceId: string, number: number, since: string, body: Readable): Promise<string> {
    const [target] = await this.database.run(TARGET, [instanceId, number]);
    if (!target) throw new Problem('order-not-found', `There is no order ${number} for a stream of this instance.`);
    if (target.hasEnded) throw new Problem('instance-retired', 'The attempt has ended.');
    if (target.isReplaced) throw new Problem('conflict', 'A newer order follows this stream.');
    const tail = new StreamTail({ content: target.content ?? '', since: target.since ?? since });
    let stored = target.since;
    const store = async () => {
      if (!tail.isNews) return;
      const rows = await this.database.run(STORE, [instanceId, number, stored, tail.since, tail.content]);
      if (rows.length === 0) throw new Problem('unavailable', 'Another upload was first.', { retryAfterSeconds: 1 });
      stored = tail.since;
      tail.stored();
    };
    try {
      await this.#takeIn(tail, body, store);
    } finally {
      // Also of an upload that broke off.
      await store();
    }
    return tail.since;
  }

  /** Waits for the database: meanwhile nothing more is read. */
  async #takeIn(tail: StreamTail, body: Readable, store: () => Promise<void>): Promise<void> {
    let storedAtMs = -Infinity;
    for await (const piece of readUpload(this.shutdown, body)) {
      tail.add(piece);
      if (this.now() - storedAtMs < STORE_EVERY_MS) continue;
      await store();
      storedAtMs = this.now();
    }
  }
}

const STORED = columnsOf(OrderStream, 'since', 'content');

const TARGET = statement('stream-target', {
  values: [t.text, t.int],
  // Of what is stored; null = nothing yet.
  row: { hasEnded: t.bool, since: t.nullable(STORED.since), content: t.nullable(STORED.content), isReplaced: t.bool },
})(`
  SELECT a.phase = 'ended' AS "hasEnded", s.since, s.content, EXISTS (
    SELECT 1 FROM orders newer
    WHERE newer.instance_id = o.instance_id AND newer.number > o.number AND newer.kind = 'stream'
      AND newer.spec ->> 'name' = o.spec ->> 'name'
  ) AS "isReplaced"
  FROM orders o
  JOIN attempts a ON a.id = o.attempt_id
  LEFT JOIN order_streams s ON s.instance_id = o.instance_id AND s.number = o.number
  WHERE o.instance_id = $1 AND o.number = $2 AND o.kind = 'stream'`);

// Of two uploads at once the second to store finds another state than it began with.
const STORE = statement('stream-store', { values: [t.text, t.int, t.nullable(t.text), t.text, t.text] })(`
  INSERT INTO order_streams AS s (instance_id, number, since, content, updated_at)
  SELECT $1, $2, $4, $5, clock_timestamp()
  ON CONFLICT (instance_id, number) DO UPDATE
    SET since = excluded.since, content = excluded.content, updated_at = excluded.updated_at WHERE s.since = $3::text
  RETURNING number`);
