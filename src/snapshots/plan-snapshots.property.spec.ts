import { expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { failed, type KnownSnapshot, MOST_TRIES, planSnapshots, type SeenSnapshot, TOO_OLD } from './plan-snapshots.js';

// The number of histories is a share of the environment's HISTORIES, so that they take as long as those of the jobs.
fc.configureGlobal({
  numRuns: Math.ceil(Number(process.env['HISTORIES'] ?? 2_000) / 40),
  ...(process.env['SEED'] !== undefined && { seed: Number(process.env['SEED']) }),
});
jest.setTimeout(600_000);

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LOOK = 10 * MINUTE;
const DAYS = 4;
const RETENTION = 2;

/** How EC2 answers the calls of a look, and the fate of the snapshot that was made. */
const weather = fc.record({
  call: fc.constantFrom('ok', 'ok', 'ok', 'refused', 'lost-before', 'lost-after', 'crash-before', 'crash-after'),
  end: fc.constantFrom('completed', 'completed', 'error', 'slow'),
  isBlind: fc.constantFrom(false, false, false, true),
  deletion: fc.constantFrom('ok', 'ok', 'refused', 'crash'),
  hand: fc.constantFrom(...Array.from({ length: 60 }, () => 'none' as const), 'delete', 'restore-database'),
});
type Weather = typeof weather extends fc.Arbitrary<infer T> ? T : never;

it('one a day, never more than the ceiling, and nothing is deleted that is young, the newest or somebody else’s', () => {
  fc.assert(
    fc.property(fc.array(weather, { minLength: 50, maxLength: 120 }), (drawn) => {
      const world = new World();
      for (let at = 0; at < DAYS * DAY; at += LOOK) world.look(at, drawn[(at / LOOK) % drawn.length]!);
    }),
  );
});

type Shown = { snapshot: SeenSnapshot; completesAt: number; end: Weather['end'] };

class World {
  readonly #start = Date.parse('2026-03-01T00:00:00.000Z');
  #rows = new Map<string, KnownSnapshot>();
  #backup = new Map<string, KnownSnapshot>();
  #shown: Shown[] = [];
  /** When CreateSnapshot was called, since the database was last restored. */
  #calls: number[] = [];
  #count = 0;
  #now = this.#start;

  constructor() {
    const foreign: SeenSnapshot = {
      id: 'foreign',
      volumeId: 'vol-1',
      state: 'completed',
      startedAt: new Date(0),
      rowId: 'x',
    };
    this.#shown.push({ snapshot: foreign, completesAt: 0, end: 'completed' });
  }

  look(at: number, weather: Weather): void {
    this.#now = this.#start + at;
    this.#meddle(weather);
    const now = new Date(this.#now);
    const known = [...this.#rows.values()];
    const seen = weather.isBlind ? null : this.#describe();
    const plan = planSnapshots({ volumeId: 'vol-1', retentionDays: RETENTION, seen, known, now });
    for (const row of plan.changes) this.#rows.set(row.id, row);
    if (plan.isDue) this.#try(weather);
    for (const row of plan.deletions) this.#delete(row, weather);
    this.#check();
  }

  #meddle({ hand }: Weather): void {
    if (hand === 'delete') this.#shown = this.#shown.filter(({ snapshot }) => snapshot.id === 'foreign');
    if (hand === 'restore-database') {
      this.#rows = new Map(this.#backup);
      // Later tries are not known any more: there may be one more.
      this.#calls = [];
    }
    if (this.#now % DAY === 0) this.#backup = new Map(this.#rows);
  }

  #describe(): SeenSnapshot[] {
    return this.#shown.map(({ snapshot, completesAt, end }) => ({
      ...snapshot,
      state: this.#now < completesAt ? 'pending' : end === 'error' ? 'error' : 'completed',
    }));
  }

  #try({ call, end, isBlind }: Weather): void {
    const known = [...this.#rows.values()];
    const id = `00000000-0000-4000-8000-${String((this.#count += 1)).padStart(12, '0')}`;
    const now = new Date(this.#now);
    const row: KnownSnapshot = {
      id,
      volumeId: 'vol-1',
      snapshotId: null,
      state: 'asked',
      askedAt: now,
      toldAt: null,
      reason: null,
      message: null,
    };
    const refusal = { reason: 'refused', message: '' };
    this.#rows.set(id, isBlind ? failed(row, refusal, known, now) : row);
    if (isBlind) return;
    const underWay = this.#describe().filter(({ state }) => state === 'pending');
    expect(underWay).toEqual([]);
    const good = this.#describe().filter(({ id: other, state }) => state === 'completed' && other !== 'foreign');
    expect(good.filter(({ startedAt }) => this.#now - startedAt.getTime() < DAY)).toEqual([]);
    if (call === 'crash-before') return;
    this.#calls.push(this.#now);
    if (call === 'refused') this.#rows.set(id, failed(row, refusal, known, now));
    if (call === 'refused' || call === 'lost-before') return;
    const takes = end === 'slow' ? 13 * HOUR : 20 * MINUTE;
    const snapshot: SeenSnapshot = {
      id: `snap-${id}`,
      volumeId: 'vol-1',
      state: 'pending',
      startedAt: now,
      rowId: id,
    };
    this.#shown.push({ snapshot, completesAt: this.#now + takes, end });
    if (call === 'ok') this.#rows.set(id, { ...row, snapshotId: snapshot.id, state: 'pending' });
  }

  #delete(row: KnownSnapshot, { deletion }: Weather): void {
    const completed = this.#describe().filter(({ id, state }) => state === 'completed' && id !== 'foreign');
    const target = completed.find(({ id }) => id === row.snapshotId);
    if (!target) throw new Error(`not one of ours that is completed: ${row.snapshotId}`);
    expect(this.#now - target.startedAt.getTime()).toBeGreaterThan(RETENTION * DAY);
    expect(completed.some(({ startedAt }) => startedAt > target.startedAt)).toBe(true);
    if (deletion === 'refused') return;
    this.#shown = this.#shown.filter(({ snapshot }) => snapshot.id !== target.id);
    if (deletion === 'ok') this.#rows.set(row.id, { ...row, state: 'deleted', reason: TOO_OLD });
  }

  /** Without `expect`, which needs more time than all the rest. */
  #check(): void {
    const reported = [...this.#rows.values()].flatMap(({ toldAt }) => toldAt?.getTime() ?? []).sort((a, b) => a - b);
    const broken = [
      !this.#shown.some(({ snapshot }) => snapshot.id === 'foreign') && 'a foreign snapshot was deleted',
      this.#calls.filter((at) => this.#now - at < DAY).length > MOST_TRIES && 'too many calls in a day',
      reported.some((at, n) => n > 0 && at - (reported[n - 1] ?? 0) < DAY) && 'reported twice in a day',
    ].filter(Boolean);
    if (broken.length > 0) throw new Error(broken.join());
  }
}
