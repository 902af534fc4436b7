import { describe, expect, it } from '@jest/globals';
import {
  failed,
  type KnownSnapshot,
  planSnapshots,
  type SeenSnapshot,
  type SnapshotsInput,
  TOO_OLD,
} from './plan-snapshots.js';

const NOW = new Date('2026-03-20T12:00:00.000Z');
const VOLUME = 'vol-1';
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const ago = (ms: number): Date => new Date(NOW.getTime() - ms);

function known(
  n: number,
  ageMs: number,
  state: KnownSnapshot['state'],
  more: Partial<KnownSnapshot> = {},
): KnownSnapshot {
  const snapshotId = state === 'asked' ? null : `snap-${n}`;
  const row = { id: uuid(n), volumeId: VOLUME, snapshotId, state, askedAt: ago(ageMs) };
  return { ...row, toldAt: null, reason: null, message: null, ...more };
}

function seen(n: number, ageMs: number, state: SeenSnapshot['state'], more: Partial<SeenSnapshot> = {}): SeenSnapshot {
  return {
    id: `snap-${n}`,
    volumeId: VOLUME,
    state,
    startedAt: ago(ageMs),
    rowId: uuid(n),
    ...more,
  };
}

const plan = (input: Partial<SnapshotsInput>) =>
  planSnapshots({ volumeId: VOLUME, retentionDays: 14, seen: [], known: [], now: NOW, ...input });
const refused = { reason: 'permission-denied', message: 'no' };
const refusals = (...agesMs: number[]) =>
  agesMs.map((ageMs, n) => known(n + 1, ageMs, 'failed', { ...refused, snapshotId: null }));

describe('a snapshot is asked for', () => {
  it.each<[string, boolean, Partial<SnapshotsInput>]>([
    ['where there is none', true, {}],
    ['not a minute before the last is a day old', false, { known: [known(1, DAY - MINUTE, 'completed')], seen: [seen(1, DAY - MINUTE, 'completed')] }],
    ['when the last is a day old', true, { known: [known(1, DAY, 'completed')], seen: [seen(1, DAY, 'completed')] }],
    ['not while one is under way, however old', false, { known: [known(1, DAY, 'pending')], seen: [seen(1, DAY, 'pending')] }],
    ['not while nobody knows of one that was asked for', false, { known: [known(1, 14 * MINUTE, 'asked')] }],
    ['not where EC2 shows one that a restored database forgot', false, { seen: [seen(1, HOUR, 'completed')] }],
    ['not where EC2 shows one of those that is under way', false, { seen: [seen(1, HOUR, 'pending')] }],
    ['of another volume than before', true, { known: [known(1, HOUR, 'completed', { volumeId: 'vol-0' })], seen: [seen(1, HOUR, 'completed', { volumeId: 'vol-0' })] }],
    ['whatever a person made', true, { seen: [seen(1, HOUR, 'completed', { rowId: 'mine' })] }],
    ['again when the last was deleted by hand', true, { known: [known(1, HOUR, 'completed')] }],
    ['again ten minutes after a refusal', true, { known: refusals(10 * MINUTE) }],
    ['not sooner', false, { known: refusals(9 * MINUTE) }],
    ['not twenty minutes after the second of them', false, { known: refusals(35 * MINUTE, 19 * MINUTE) }],
    ['again then', true, { known: refusals(35 * MINUTE, 20 * MINUTE) }],
    ['not a seventh time in a day', false, { known: refusals(...[23, 22, 21, 20, 19, 12].map((hours) => hours * HOUR)) }],
    ['a seventh time after it', true, { known: refusals(...[24, 22, 21, 20, 19, 12].map((hours) => hours * HOUR)) }],
    ['by what is known while EC2 does not tell', false, { seen: null, known: [known(1, HOUR, 'completed')] }],
    ['also while EC2 does not tell, for which that is a failure', true, { seen: null }],
  ])('%s: %s', (_, isDue, input) => {
    expect(plan(input).isDue).toBe(isDue);
  }); // prettier-ignore
});

describe('what EC2 shows', () => {
  it.each<[string, KnownSnapshot | null, SeenSnapshot | null, Partial<KnownSnapshot> | null]>([
    ['it has begun', known(1, MINUTE, 'asked'), seen(1, MINUTE, 'pending'), { state: 'pending', snapshotId: 'snap-1' }],
    ['it is done', known(1, MINUTE, 'pending'), seen(1, MINUTE, 'completed'), { state: 'completed' }],
    ['nothing new', known(1, MINUTE, 'pending'), seen(1, MINUTE, 'pending'), null],
    ['it failed', known(1, HOUR, 'pending'), seen(1, HOUR, 'error'), { state: 'failed', reason: 'snapshot-error', toldAt: NOW }],
    ['it is slow', known(1, 12 * HOUR, 'pending'), seen(1, 12 * HOUR, 'pending'), { state: 'failed', reason: 'snapshot-slow' }],
    ['it was slow, and is done', known(1, DAY, 'failed', { reason: 'snapshot-slow', toldAt: NOW }), seen(1, DAY, 'completed'), { state: 'completed', reason: null, message: null }],
    ['nothing yet', known(1, 14 * MINUTE, 'asked'), null, null],
    ['nothing came of the call', known(1, 15 * MINUTE, 'asked'), null, { state: 'failed', reason: 'snapshot-unknown' }],
    ['somebody ended it', known(1, HOUR, 'pending'), null, { state: 'failed', reason: 'snapshot-gone' }],
    ['somebody deleted it', known(1, HOUR, 'completed'), null, { state: 'deleted', reason: 'snapshot-gone' }],
    ['it is back', known(1, HOUR, 'deleted', { reason: 'snapshot-gone' }), seen(1, HOUR, 'completed'), { state: 'completed', reason: null }],
    ['somebody fetched back what we deleted', known(1, HOUR, 'deleted', { reason: TOO_OLD }), seen(1, HOUR, 'completed'), null],
    ['one that a restored database forgot', null, seen(1, HOUR, 'completed'), { id: uuid(1), state: 'completed', askedAt: ago(HOUR) }],
    ['a failure that was forgotten long ago', null, seen(1, HOUR, 'error'), null],
    ['one that a person made', null, seen(1, HOUR, 'completed', { rowId: '' }), null],
  ])('%s', (_, row, snapshot, expected) => {
    const { changes } = plan({ known: row ? [row] : [], seen: snapshot ? [snapshot] : [] });
    expect(changes).toEqual(expected === null ? [] : [expect.objectContaining(expected)]);
  }); // prettier-ignore

  it('is nothing for too long: what is under way has its time', () => {
    const after = (ageMs: number, state: KnownSnapshot['state']) =>
      plan({ seen: null, known: [known(1, ageMs, state)] });
    expect(after(12 * HOUR, 'asked').changes).toMatchObject([
      { state: 'failed', reason: 'snapshot-slow', toldAt: NOW },
    ]);
    expect(after(12 * HOUR, 'pending')).toMatchObject({ changes: [{ state: 'failed' }], isDue: true });
    expect(after(11 * HOUR, 'pending')).toEqual({ changes: [], isDue: false, deletions: [] });
    expect(after(90 * DAY, 'completed').changes).toEqual([]);
  });

  it('is told of once a day when it is a failure', () => {
    const reportedAt = (...others: KnownSnapshot[]) => failed(known(9, 0, 'asked'), refused, others, NOW).toldAt;
    expect(reportedAt()).toEqual(NOW);
    expect(reportedAt(known(1, HOUR, 'failed', { toldAt: ago(DAY - 1) }))).toBeNull();
    expect(reportedAt(known(1, HOUR, 'failed', { toldAt: ago(DAY) }), known(2, HOUR, 'failed'))).toEqual(NOW);
    const both = plan({
      known: [1, 2].map((n) => known(n, HOUR, 'pending')),
      seen: [1, 2].map((n) => seen(n, HOUR, 'error')),
    });
    expect(both.changes.map(({ toldAt }) => toldAt)).toEqual([NOW, null]);
  });
});

describe('a snapshot is deleted', () => {
  const days = (...ages: number[]) => ({
    known: ages.map((age, n) => known(n, age * DAY, 'completed')),
    seen: ages.map((age, n) => seen(n, age * DAY, 'completed')),
  });

  it.each<[string, number[], Partial<SnapshotsInput>]>([
    ['when it is older than the retention', [1], days(13, 15)],
    ['not at it', [], days(0, 14)],
    ['not when it is the newest', [], days(15)],
    ['the oldest first, and three at a time', [4, 3, 2], days(0, 15, 16, 17, 18)],
    ['also of an earlier volume', [1], { ...days(0, 15), volumeId: 'vol-2' }],
    ['after a shorter retention', [1], { ...days(0, 3), retentionDays: 2 }],
    ['not while EC2 does not tell', [], { ...days(0, 15), seen: null }],
    ['not when EC2 does not show it', [], { ...days(0, 15), seen: days(0, 15).seen.slice(0, 1) }],
    ['not unless it is completed', [], { known: [known(0, 0, 'completed'), known(1, 15 * DAY, 'failed')], seen: [seen(0, 0, 'completed'), seen(1, 15 * DAY, 'error')] }],
    ['not when a person made it', [], { ...days(0), seen: [...days(0).seen, seen(1, 15 * DAY, 'completed', { rowId: '' })] }],
    ['when a restored database forgot it', [1], { ...days(0, 15), known: [] }],
  ])('%s', (_, expected, input) => {
    expect(plan(input).deletions.map(({ id }) => id)).toEqual(expected.map(uuid));
  }); // prettier-ignore
});
