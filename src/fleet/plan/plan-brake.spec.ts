import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ago, fleetInput, NOW } from '../../../test/support/fleet-input.js';
import {
  type BrakeInput,
  CEILING_SECONDS,
  ceilingOf,
  keptLaunches,
  LONGEST_PAUSE_SECONDS,
  planBrake,
  type RecentLaunch,
} from './plan-brake.js';
import type { CapacityState } from './plan-capacity.js';
import { type FleetInput, planFleet, type Supply } from './plan-fleet.js';

const offer = { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' } as const;

const launch = (seconds: number, overrides: Partial<RecentLaunch> = {}): RecentLaunch => ({
  at: ago(seconds),
  offer,
  failure: null,
  reason: null,
  message: null,
  rows: 1,
  registered: 0,
  lost: 1,
  stateReason: 'Client.InternalError',
  ...overrides,
});
const good = (seconds: number) => launch(seconds, { registered: 1, lost: 0 });
const booting = (seconds: number) => launch(seconds, { lost: 0 });
const refused = (seconds: number) =>
  launch(seconds, { rows: 0, lost: 0, failure: 'permission', reason: 'permission-denied', message: 'no' });
const notEnabled = (seconds: number) =>
  launch(seconds, { rows: 0, lost: 0, failure: 'account', reason: 'account-not-enabled', message: 'no' });
const short = (seconds: number) =>
  launch(seconds, { rows: 0, lost: 0, failure: 'quota', reason: 'vcpu-limit-exceeded' });
const brake = (recent: RecentLaunch[], overrides: Partial<BrakeInput> = {}) =>
  planBrake({ recent, wanted: 1, bootSeconds: 90, now: NOW, ...overrides });

describe('what is kept of the launches of a minute', () => {
  it.each<[string, { priority: number; createdAt: Date }[], number]>([
    ['is not for who has just come', [{ priority: 2, createdAt: ago(4) }], 15],
    ['is not for spares', [], 15],
    ['is for who has waited', [{ priority: 2, createdAt: ago(5) }], 0],
    ['is for who heals', [{ priority: 0, createdAt: NOW }], 0],
  ])('%s', (_, first, kept) => expect(keptLaunches(60, first, NOW)).toBe(kept));
});

describe('planBrake', () => {
  it.each<[string, RecentLaunch[], until: number | null]>([
    ['nothing was lost', [good(1), good(2), good(3)], null],
    ['a single loss is replaced at once', [launch(1)], null],
    ['after the second there are ten seconds', [launch(1), launch(2)], 9],
    ['and no more than ten', [launch(10), launch(11)], null],
    ['twenty after the third', [launch(1), launch(20), launch(21)], 19],
    ['each is twice as long, but the longest', [1, 320, 640, 960, 1280, 1600, 1920, 2240].map((s) => launch(s)), 299],
    ['what registered ends the series', [launch(1), good(2), launch(3), launch(4)], null],
    ['what still boots neither ends nor prolongs it', [launch(1), booting(2), launch(3)], 9],
    ['EC2 refused once', [refused(1)], null],
    ['EC2 refused twice', [refused(1), refused(3)], 9],
    ['the account lacks something for the fourth time', [1, 61, 121, 181].map((s) => notEnabled(s)), 39],
    ['quotas are spent of three types', [1, 2, 3].map((seconds) => short(seconds)), null],
    ['quotas are spent of four', [1, 2, 3, 4].map((seconds) => short(seconds)), 14],
    ['quotas are spent and the account refuses, for longer', [refused(1), ...[2, 3, 4, 5].map(short), refused(6)], 13],
    [
      'the account refuses and quotas are spent, for less long',
      [...[1, 2, 3, 4].map(short), ...[5, 6, 7, 8].map(refused)],
      35,
    ],
    ['EC2 refuses longer than losses hold it up', [refused(1), refused(2), launch(3), launch(4)], 9],
    ['losses hold it up longer than EC2’s refusals', [refused(1), refused(2), launch(3), launch(4), launch(5)], 17],
    ['quotas are spent longer than losses hold it up', [...[1, 2, 3, 4].map(short), launch(5), launch(6)], 14],
    [
      'losses hold it up longer than spent quotas',
      [...[1, 2, 3, 4].map(short), ...[5, 6, 7, 8].map((s) => launch(s))],
      35,
    ],
    ['EC2 refused, but took the one after', [good(1), refused(2), refused(3)], null],
  ])('%s', (_, recent, until) => {
    const hold = brake(recent, { wanted: 9 }).until;
    expect(hold && (hold.getTime() - NOW.getTime()) / 1000).toBe(until);
  });

  it('launches one after a whole launch was lost, however many wait', () => {
    const lost = launch(5, { rows: 20, lost: 20 });
    expect(brake([lost], { wanted: 20 }).most).toBe(1);
    expect(brake([lost, lost], { wanted: 20, now: ago(-60) }).most).toBe(1);
    const some = [launch(15, { rows: 4 }), launch(30, { rows: 4 })];
    expect(brake(some, { wanted: 20 })).toMatchObject({ most: 1, until: null });
  });

  it('replaces some of many at once, up to the ceiling', () => {
    const some = launch(5, { rows: 20, lost: 3 });
    expect(brake([some], { wanted: 20 }).most).toBe(ceilingOf(20) - 20);
    expect(brake([launch(5, { rows: 3 })]).most).toBe(ceilingOf(1) - 3);
    expect(brake([launch(300, { rows: 4 })])).toMatchObject({ most: 1, until: null });
  });

  it('does not wait for what was launched before the loss, nor for what is slow', () => {
    expect(brake([launch(5), booting(20)])).toMatchObject({ most: 1, until: null });
    expect(brake([booting(90), launch(100)])).toMatchObject({ most: 1, until: null });
    expect(brake([booting(89), launch(100)])).toMatchObject({ most: 0, until: null });
    expect(brake([short(5), launch(100)])).toMatchObject({ most: 1, until: null });
  });

  it('waits for the one that is tried', () => {
    expect(brake([booting(5), launch(10, { rows: 20, lost: 20 })], { wanted: 20 })).toMatchObject({
      most: 0,
      until: null,
    });
    expect(brake([booting(5), launch(70), launch(80)])).toMatchObject({ most: 0, until: null });
  });

  it('keeps the last that the ceiling allows for the longest pause', () => {
    const three = [launch(30), launch(200), launch(210)];
    expect(brake(three).until).toEqual(ago(30 - LONGEST_PAUSE_SECONDS));
    // What EC2 has refused since then is no try.
    expect(brake([short(5), ...three]).until).toEqual(ago(30 - LONGEST_PAUSE_SECONDS));
    expect(brake([launch(30), launch(200, { rows: 2, lost: 2 })]).until).toEqual(ago(30 - LONGEST_PAUSE_SECONDS));
    expect(brake(three, { wanted: 2 }).until).toBeNull();
    expect(brake([...three, launch(220)], { wanted: 2 }).until).toEqual(ago(30 - 40));
  });

  it('tries again when the oldest are longer ago than the ceiling looks back, or after the longest pause', () => {
    const four = [launch(100), launch(400), launch(590), launch(595)];
    expect(brake(four, { wanted: 1 }).until).toEqual(ago(590 - CEILING_SECONDS));
    expect(brake([launch(100), launch(590), launch(595), launch(600)]).until).toEqual(ago(595 - CEILING_SECONDS));
    const some = launch(595, { rows: 2, registered: 1 });
    expect(brake([launch(100, { rows: 3, lost: 3 }), launch(590, { rows: 2, lost: 2 }), some]).until).toEqual(
      ago(590 - CEILING_SECONDS),
    );
    const atOnce = [launch(10), launch(20), launch(30), launch(40)];
    expect(brake(atOnce, { wanted: 1 }).until).toEqual(ago(10 - LONGEST_PAUSE_SECONDS));
  });

  it('counts those that register in between, too: a half-broken account has the same ceiling', () => {
    const half = [1, 2, 3, 4].map((seconds) => launch(seconds, { rows: 12, registered: 1, lost: 11 }));
    expect(brake(half, { wanted: 11 })).toMatchObject({ most: 0, until: ago(1 - LONGEST_PAUSE_SECONDS) });
    expect(brake(half.slice(2), { wanted: 11 })).toMatchObject({ most: ceilingOf(13) - 22, until: null });
  });

  it.each<[string, RecentLaunch[], string]>([
    [
      'one loss',
      [launch(5)],
      'EC2 ended an instance before it registered, with Client.InternalError (often a KMS key of the disk or the AMI that may not be used); another one is on its way',
    ],
    [
      'several, for a reason nobody here knows',
      [launch(1, { stateReason: 'Server.New' }), launch(2)],
      'EC2 ended 2 instances before they registered, the last one with Server.New; the next try is at 2026-03-01T12:00:09.000Z',
    ],
    [
      'given up by us',
      [launch(700, { stateReason: null })],
      'an instance did not register in time; can they reach PUBLIC_URL? another one is on its way',
    ],
    ['refusals', [refused(1), refused(2)], 'no; the next try is at 2026-03-01T12:00:09.000Z'],
  ])('tells of %s', (_, recent, message) => {
    expect(brake(recent).trouble?.message).toBe(message);
  });

  it.each([
    [
      'EC2’s reason',
      refused(1),
      { reason: 'permission-denied', message: 'no; the next try is at 2026-03-01T12:00:09.000Z' },
    ],
    [
      'a refusal without one',
      launch(1, { rows: 0, lost: 0, failure: 'invalid' }),
      { reason: 'request-refused', message: 'EC2 refused; the next try is at 2026-03-01T12:00:09.000Z' },
    ],
  ])('gives those who wait %s', (_, last, trouble) => {
    expect(brake([last, refused(2)]).trouble).toEqual(trouble);
    expect(brake([last]).trouble).toBeNull();
  });

  it('counts losses by offer', () => {
    const other = { ...offer, subnetId: 'subnet-b' };
    const { lossesOf } = brake([launch(100), launch(200), launch(300, { offer: other })]);
    expect([offer, other, { ...offer, market: 'spot' as const }].map(lossesOf)).toEqual([2, 1, 0]);
  });
});

/** The fate of a launch. */
type Fate =
  | { readonly lifeSeconds: number }
  | { readonly bootSeconds: number }
  | { readonly refusedFor: NonNullable<RecentLaunch['failure']> };

/** A shape for an hour, second by second, with the real planner, in an account where instances live for `lifeSeconds`. */
class Storm {
  readonly launches: (RecentLaunch & { readonly atSecond: number })[] = [];
  private readonly instances: { readonly launch: number; readonly bornAt: number; state: 'booting' | 'up' | 'lost' }[] =
    [];
  private capacity: CapacityState = {};
  private verdict: FleetInput['verdict'] = null;
  private second = 0;
  running = 0;

  constructor(
    private readonly wanted: number,
    private readonly fate: (second: number) => Fate,
    private readonly wishes: { readonly types: readonly string[]; readonly subnetIds: readonly string[] },
  ) {}

  run(seconds: number): void {
    for (const end = this.second + seconds; this.second < end; this.second += 1) this.step();
  }

  private step(): void {
    for (const one of this.instances.filter(({ state }) => state === 'booting')) {
      const fate = this.fate(one.bornAt);
      if ('lifeSeconds' in fate && this.second >= one.bornAt + fate.lifeSeconds) one.state = 'lost';
      if ('bootSeconds' in fate && this.second >= one.bornAt + fate.bootSeconds) {
        one.state = 'up';
        this.running += 1;
      }
    }
    const now = this.now();
    const waiting = this.wanted - this.running;
    const plan = planFleet(
      fleetInput({
        spec: { types: this.wishes.types, market: 'on-demand' },
        subnetIds: this.wishes.subnetIds,
        demand: { count: waiting, doomed: 0, newestAt: this.at(0), first: [] },
        supply: this.supply(),
        launches: this.launches.slice(-1).map((last) => {
          const of = last.failure === null ? DONE : ({ status: 'failed', rows: 0 } as const);
          return { ...last, ...of, count: 1, tries: 1, id: `${this.launches.length - 1}` };
        }),
        recent: this.recent(),
        capacity: this.capacity,
        verdict: this.verdict,
        listeningSince: this.at(0),
        nextLaunchId: `${this.launches.length}`,
        now,
      }),
    );
    this.capacity = plan.capacity;
    this.verdict = plan.verdict;
    if (!plan.launch) return;
    const { offer } = plan.launch;
    const fate = this.fate(this.second);
    const failure = 'refusedFor' in fate ? fate.refusedFor : null;
    const count = failure === null ? plan.launch.count : 0;
    for (let made = 0; made < count; made += 1) {
      this.instances.push({ launch: this.launches.length, bornAt: this.second, state: 'booting' });
    }
    this.launches.push({ ...launch(0), at: now, atSecond: this.second, offer, failure, rows: count });
  }

  private recent(): RecentLaunch[] {
    return this.launches
      .map((one, index) => {
        const of = this.instances.filter((instance) => instance.launch === index);
        return {
          ...one,
          registered: of.filter(({ state }) => state === 'up').length,
          lost: of.filter(({ state }) => state === 'lost').length,
        };
      })
      .toReversed();
  }

  private supply(): Supply[] {
    return this.instances.flatMap(({ state, bornAt }, index) =>
      state === 'booting'
        ? [
            {
              id: `i-${index}`,
              state: 'pending' as const,
              launchedAt: this.at(bornAt),
              registeredAt: null,
              lastSeenAt: null,
              attempt: 'none' as const,
            },
          ]
        : [],
    );
  }

  /** At the most of ten minutes. */
  mostUnregistered(): number {
    const unregistered = this.instances.filter(({ state }) => state !== 'up');
    return Math.max(
      ...this.launches.map(
        ({ atSecond }) =>
          unregistered.filter(({ bornAt }) => bornAt <= atSecond && bornAt > atSecond - CEILING_SECONDS).length,
      ),
    );
  }

  private now(): Date {
    return this.at(this.second);
  }

  private at(second: number): Date {
    return new Date(NOW.getTime() + second * 1000);
  }
}

const DONE = { status: 'done', rows: 1 } as const;

describe('a shape whose types have no quota left', () => {
  it('is asked for at most eight times a minute, however many types it has, and comes up once there is some', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 1200 }), (count, recoversAt) => {
        const types = Array.from({ length: count }, (_, n) => `t${n}.small`);
        const fate = (second: number): Fate => (second < recoversAt ? { refusedFor: 'quota' } : { bootSeconds: 30 });
        const storm = new Storm(1, fate, { types, subnetIds: ['subnet-a', 'subnet-b'] });
        storm.run(recoversAt);
        const seconds = storm.launches.map(({ atSecond }) => atSecond);
        for (const second of seconds) {
          expect(seconds.filter((other) => other >= second && other < second + 60).length).toBeLessThanOrEqual(8);
        }
        storm.run(LONGEST_PAUSE_SECONDS + 31);
        expect(storm.running).toBe(1);
      }),
      { numRuns: 50 },
    );
  });
});

describe('a shape whose instances end before they register', () => {
  const storms = fc.record({
    wanted: fc.constantFrom(1, 1, 2, 5, 20, 200),
    lifeSeconds: fc.integer({ min: 1, max: 60 }),
    types: fc.constantFrom(['t3.small'], ['t3.small', 't3.medium']),
    subnetIds: fc.constantFrom(['subnet-a'], ['subnet-a', 'subnet-b', 'subnet-c']),
    recoversAt: fc.integer({ min: 60, max: 2400 }),
  });

  it('is launched for at most eight times a minute, below its ceiling, never given up, and comes up once they live', () => {
    fc.assert(
      fc.property(storms, ({ wanted, lifeSeconds, types, subnetIds, recoversAt }) => {
        const fate = (second: number) => (second < recoversAt ? { lifeSeconds } : { bootSeconds: 30 });
        const storm = new Storm(wanted, fate, { types, subnetIds });
        storm.run(recoversAt);
        const seconds = storm.launches.map(({ atSecond }) => atSecond);
        expect(seconds.filter((second) => second < 60).length).toBeLessThanOrEqual(8);
        for (const second of seconds) {
          expect(seconds.filter((other) => other >= second && other < second + 60).length).toBeLessThanOrEqual(8);
        }
        expect(storm.mostUnregistered()).toBeLessThanOrEqual(ceilingOf(wanted));
        const gaps = [...seconds.slice(1), recoversAt].map((second, index) => second - (seconds[index] ?? 0));
        expect(Math.max(...gaps)).toBeLessThanOrEqual(LONGEST_PAUSE_SECONDS + lifeSeconds);

        storm.run(LONGEST_PAUSE_SECONDS + lifeSeconds + 31);
        expect(storm.running).toBeGreaterThan(0);
        storm.run(4 * 31);
        expect(storm.running).toBe(wanted);
      }),
      { numRuns: 25 },
    );
  });
});
