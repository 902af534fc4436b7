import type { Queryable } from '../database/database.js';
import { columnsOf, recordset, selectList, statement, t } from '../database/statement.js';
import { toJsonb } from '../database/to-jsonb.js';
import { appendEvents, type NewEvent } from '../events/append-events.js';
import type { KnownSnapshot } from './plan-snapshots.js';
import { Snapshot } from './snapshot.entity.js';

export async function readSnapshots(queryable: Queryable): Promise<KnownSnapshot[]> {
  return await queryable.run(KNOWN, []);
}

/** Writes rows, and the events of their outcomes. */
export async function writeSnapshots(queryable: Queryable, rows: readonly KnownSnapshot[]): Promise<void> {
  if (rows.length === 0) return;
  await queryable.run(WRITE, [toJsonb(rows)]);
  await appendEvents(
    queryable,
    rows.flatMap((row) => eventOf(row) ?? []),
  );
}

function eventOf({ state, toldAt, reason, message, snapshotId, volumeId }: KnownSnapshot): NewEvent | null {
  const about = {
    actor: 'fleet',
    data: { snapshot: snapshotId, volume: volumeId, ...(message !== null && { message }) },
  };
  if (state === 'completed') return { ...about, type: 'snapshot.completed' };
  if (state === 'deleted') return { ...about, type: 'snapshot.deleted', cause: { reason } };
  return state === 'failed' && toldAt !== null ? { ...about, type: 'snapshot.failed', cause: { reason } } : null;
}

const ROW = columnsOf(Snapshot, 'id', 'volumeId', 'snapshotId', 'state', 'askedAt', 'toldAt', 'reason', 'message');

const KNOWN = statement('snapshots-known', { row: ROW })(`SELECT ${selectList(ROW)} FROM snapshots ORDER BY asked_at`);

const WRITE = statement('snapshots-write', { values: [t.json] })(`
  INSERT INTO snapshots (id, volume_id, snapshot_id, state, asked_at, told_at, reason, message)
  SELECT r.id, r."volumeId", r."snapshotId", r.state, r."askedAt", r."toldAt", r.reason, r.message
  FROM ${recordset(ROW, 'r')}
  ON CONFLICT (id) DO UPDATE SET snapshot_id = excluded.snapshot_id, state = excluded.state, told_at = excluded.told_at,
    reason = excluded.reason, message = excluded.message, changed_at = clock_timestamp()`);
