import type { Ec2Snapshot } from '../aws/ec2-types.js';
import type { Snapshot } from './snapshot.entity.js';

// A snapshot costs money, and EC2 has no ClientToken for it: one is made only when no other is under way, and earlier
// tries are read from rows, so that no restart or other owner begins again.

/** A row of ours. */
export type KnownSnapshot = Readonly<Omit<Snapshot, 'changedAt'>>;

/** What EC2 shows, with the id of our row from its tag. */
export type SeenSnapshot = Omit<Ec2Snapshot, 'tags'> & { readonly rowId: string };

export type SnapshotsInput = {
  readonly volumeId: string;
  readonly retentionDays: number;
  /** What EC2 shows; null = the look failed. */
  readonly seen: readonly SeenSnapshot[] | null;
  readonly known: readonly KnownSnapshot[];
  readonly now: Date;
};

export type SnapshotsPlan = {
  /** Rows to write: changed ones, and new ones of snapshots that only EC2 had. */
  readonly changes: readonly KnownSnapshot[];
  readonly isDue: boolean;
  /** Too old; the oldest first. */
  readonly deletions: readonly KnownSnapshot[];
};

/** One snapshot is made, and one event reports failures, in this time. */
const DAY_MS = 24 * 3_600_000;
/** A lost answer, and an index of EC2 that lags: sooner there could be two for one. */
const UNSEEN_MS = 15 * 60_000;
/** Even a first one of hundreds of GiB is completed by then. */
const SLOW_MS = 12 * 3_600_000;
const FIRST_PAUSE_MS = 10 * 60_000;
/** In a day. One that fails may cost money all the same. */
export const MOST_TRIES = 6;
/** In one look; the next is ten minutes later. */
const MOST_DELETIONS = 3;

/** Why we deleted it. */
export const TOO_OLD = 'older-than-retention';

export function planSnapshots(input: SnapshotsInput): SnapshotsPlan {
  const changes = input.seen === null ? changesUnseen(input) : changesOf(input, input.seen);
  const changed = new Map(changes.map((row) => [row.id, row]));
  const rows = [...input.known.filter(({ id }) => !changed.has(id)), ...changes];
  return { changes, isDue: isDue(input, rows), deletions: input.seen === null ? [] : tooOld(input, rows) };
}

/** A failure, and whether an event reports it: one does in 24 hours. */
export function failed(
  row: KnownSnapshot,
  { reason, message }: { readonly reason: string; readonly message: string },
  others: readonly KnownSnapshot[],
  now: Date,
): KnownSnapshot {
  const isReported = others.some(({ toldAt }) => toldAt !== null && now.getTime() - toldAt.getTime() < DAY_MS);
  return { ...row, state: 'failed', reason, message, toldAt: row.toldAt ?? (isReported ? null : now) };
}

/** While looks at EC2 fail: the one under way fails after its time. */
function changesUnseen({ known, now }: SnapshotsInput): KnownSnapshot[] {
  const late = known.filter((row) => isUnderWay(row) && now.getTime() - row.askedAt.getTime() >= SLOW_MS);
  return late.map((row) => failed(row, SLOW, known, now));
}

function changesOf({ known, now }: SnapshotsInput, seen: readonly SeenSnapshot[]): KnownSnapshot[] {
  const shown = new Map(seen.flatMap((snapshot) => (isOurs(snapshot) ? [[snapshot.rowId, snapshot]] : [])));
  // After a restore. An old failure was reported long ago: its row was deleted, while EC2 shows it for ever.
  const found = [...shown]
    .filter(([id, { state }]) => known.every((row) => row.id !== id) && state !== 'error')
    .map(([id, { volumeId, startedAt }]) => ({ ...ASKED, id, volumeId, askedAt: startedAt }));
  const changes: KnownSnapshot[] = [];
  for (const row of [...known, ...found]) {
    const others = [...known, ...changes];
    const next = changeOf(row, shown.get(row.id), others, now);
    if (next) changes.push(next);
  }
  return changes;
}

/** The columns of a row of which nothing is known yet. */
export const ASKED = { snapshotId: null, state: 'asked', toldAt: null, reason: null, message: null } as const;

function changeOf(
  row: KnownSnapshot,
  shown: SeenSnapshot | undefined,
  others: readonly KnownSnapshot[],
  now: Date,
): KnownSnapshot | null {
  const isOver = row.state !== 'completed' && !isUnderWay(row);
  const ageMs = now.getTime() - row.askedAt.getTime();
  if (!shown) {
    if (isOver || ageMs < UNSEEN_MS) return null;
    if (row.state === 'completed') return { ...row, state: 'deleted', reason: GONE.reason };
    return failed(row, row.state === 'asked' ? UNKNOWN : GONE, others, now);
  }
  const here = { ...row, snapshotId: shown.id };
  if (shown.state === 'completed') {
    // One that we deleted and a person restored from the recycle bin belongs to that person.
    if (row.state === 'completed' || row.reason === TOO_OLD) return null;
    return { ...here, state: 'completed', reason: null, message: null };
  }
  if (isOver) return null;
  if (shown.state === 'error') return failed(here, BROKEN, others, now);
  if (shown.state === 'pending' && ageMs >= SLOW_MS) return failed(here, SLOW, others, now);
  return row.state === 'asked' ? { ...here, state: 'pending' } : null;
}

const UNKNOWN = { reason: 'snapshot-unknown', message: 'EC2 did not answer, and shows no snapshot of that call.' };
const GONE = { reason: 'snapshot-gone', message: 'The snapshot was deleted before it was completed.' };
const BROKEN = { reason: 'snapshot-error', message: 'EC2 reports that the snapshot failed.' };
const SLOW = { reason: 'snapshot-slow', message: 'The snapshot is not completed after twelve hours.' };

function isDue({ volumeId, seen, now }: SnapshotsInput, rows: readonly KnownSnapshot[]): boolean {
  if (rows.some(isUnderWay)) return false;
  // One that counts as failed because it takes too long.
  if (seen?.some((snapshot) => isOurs(snapshot) && snapshot.state === 'pending')) return false;
  const since = (row: KnownSnapshot): number => now.getTime() - row.askedAt.getTime();
  const good = newest(rows.filter((row) => row.state === 'completed' && row.volumeId === volumeId));
  if (good && since(good) < DAY_MS) return false;
  const tries = rows.filter((row) => row.volumeId === volumeId && since(row) < DAY_MS);
  const last = newest(tries);
  if (!last) return true;
  return tries.length < MOST_TRIES && since(last) >= FIRST_PAUSE_MS * 2 ** (tries.length - 1);
}

function tooOld({ retentionDays, seen, now }: SnapshotsInput, rows: readonly KnownSnapshot[]): KnownSnapshot[] {
  const completed = rows.filter(({ state }) => state === 'completed');
  const kept = newest(completed);
  const shown = new Set(seen?.filter(({ state }) => state === 'completed').map(({ id }) => id));
  return completed
    .filter((row) => row !== kept && shown.has(row.snapshotId ?? ''))
    .filter(({ askedAt }) => now.getTime() - askedAt.getTime() > retentionDays * DAY_MS)
    .sort((a, b) => a.askedAt.getTime() - b.askedAt.getTime())
    .slice(0, MOST_DELETIONS);
}

function newest(rows: readonly KnownSnapshot[]): KnownSnapshot | undefined {
  return rows.reduce<KnownSnapshot | undefined>(
    (best, row) => (best && best.askedAt >= row.askedAt ? best : row),
    undefined,
  );
}

function isUnderWay({ state }: KnownSnapshot): boolean {
  return state === 'asked' || state === 'pending';
}

/** One with another value in that tag was not made by us. */
function isOurs({ rowId }: SeenSnapshot): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(rowId);
}
