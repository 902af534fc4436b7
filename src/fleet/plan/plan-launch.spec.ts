import { describe, expect, it } from '@jest/globals';
import {
  instancesToCharge,
  isTooLarge,
  type OpenLaunch,
  planNextStep,
  type Refusal,
  REPEAT_MS,
  settleLookUp,
  settleRefusal,
  settleUnreadable,
  settleWithdrawal,
  VISIBILITY_MS,
} from './plan-launch.js';

const planned: OpenLaunch = {
  status: 'planned',
  tries: 0,
  count: 3,
  ageMs: 100,
  calledMsAgo: null,
  refusedAs: null,
  reason: null,
  message: null,
  wanted: 3,
};
const unknown: OpenLaunch = { ...planned, status: 'unknown', tries: 1, ageMs: 1_100, calledMsAgo: 1_000 };
const invisible: OpenLaunch = { ...unknown, calledMsAgo: VISIBILITY_MS };
const refusal = (kind: Refusal['kind']): Refusal => ({ kind, reason: `reason-of-${kind}`, message: 'no' });
const refused: OpenLaunch = { ...unknown, refusedAs: 'token-spent', reason: 'token-spent', message: 'spent' };

describe('planNextStep', () => {
  it.each([
    ['calls what is planned, however old', { ...planned, ageMs: 10 * REPEAT_MS }, 'call'],
    ['repeats what is unknown: the token makes it safe', unknown, 'call'],
    ['withdraws what nobody wants and EC2 has not seen', { ...planned, wanted: 0 }, 'withdraw'],
    ['withdraws what is more than is wanted by now', { ...planned, wanted: 2 }, 'withdraw'],
    ['repeats what is more than is wanted: it may be there already', { ...unknown, wanted: 1 }, 'call'],
    ['only looks for what nobody wants and EC2 may have done', { ...unknown, wanted: 0 }, 'look-up'],
    ['does not repeat what was refused for certain', refused, 'look-up'],
    ['repeats it for five minutes', { ...unknown, ageMs: REPEAT_MS - 1 }, 'call'],
    ['gives up repeating: each repeat may take effect itself', { ...unknown, ageMs: REPEAT_MS }, 'look-up'],
  ])('%s', (_, launch, step) => {
    expect(planNextStep(launch)).toBe(step);
  });
});

describe('the quota', () => {
  it('is paid by the first call, not by its repeat', () => {
    expect(instancesToCharge(planned)).toBe(3);
    expect(instancesToCharge(unknown)).toBe(0);
  });

  it.each([
    ['it would wait for minutes', planned, { waitMs: 60_000, burst: 1 }, true],
    ['it is its turn in five seconds', planned, { waitMs: 5_000, burst: 1 }, false],
    ['it is its turn after five seconds', { ...planned, count: 2 }, { waitMs: 5_001, burst: 1 }, true],
    ['it waits for a call, not for instances', planned, { waitMs: 60_000, burst: 3 }, false],
    ['there is no smaller one', { ...planned, count: 1 }, { waitMs: 60_000, burst: 0 }, false],
    ['EC2 may have done it already', unknown, { waitMs: 60_000, burst: 0 }, false],
  ])('sends a launch back, or not, when %s', (_, launch, quota, expected) => {
    expect(isTooLarge(launch, quota)).toBe(expected);
  });
});

describe('settleRefusal', () => {
  it.each(['capacity', 'quota', 'address', 'account', 'permission', 'invalid', 'not-found'] as const)(
    'takes a first refusal (%s) at its word, and a repeat’s not: the first call may have gone through',
    (kind) => {
      expect(settleRefusal(planned, refusal(kind), 0)).toEqual({
        to: 'failed',
        failure: kind,
        reason: `reason-of-${kind}`,
        message: 'no',
      });
      expect(settleRefusal(unknown, refusal(kind), 0)).toMatchObject({ to: 'unknown', againMs: 0, failure: kind });
    },
  );

  it('keeps what was unknown unknown when the repeat is throttled', () => {
    expect(settleRefusal(planned, refusal('throttled'), 0)).toMatchObject({ to: 'planned', failure: null });
    expect(settleRefusal(unknown, refusal('throttled'), 0)).toMatchObject({ to: 'unknown', failure: null });
  });

  it('knows nothing after an unknown outcome', () => {
    expect(settleRefusal(planned, refusal('unknown-outcome'), 0)).toMatchObject({ to: 'unknown', failure: null });
    expect(settleRefusal(unknown, refusal('unknown-outcome'), 0)).toMatchObject({ to: 'unknown', failure: null });
  });

  it.each(['token-mismatch', 'token-spent'] as const)('looks what is behind a token (%s)', (kind) => {
    expect(settleRefusal(planned, refusal(kind), 0)).toMatchObject({ to: 'unknown', againMs: 0, failure: kind });
    expect(settleRefusal(unknown, refusal(kind), 0)).toMatchObject({ to: 'unknown', againMs: 0, failure: kind });
  });

  it('counts the visibility window from the last call that may have done something', () => {
    const isVoid = (kind: Refusal['kind']) => {
      const settlement = settleRefusal(unknown, refusal(kind), 0);
      return 'isVoid' in settlement && settlement.isVoid;
    };
    expect(isVoid('unknown-outcome')).toBe(false);
    expect((['throttled', 'token-mismatch', 'token-spent', 'capacity'] as const).map(isVoid)).not.toContain(false);
  });

  it('waits longer with every try, up to half a minute, and never in step with others', () => {
    const pause = (tries: number, dice: number) => {
      const settlement = settleRefusal({ ...unknown, tries }, refusal('throttled'), dice);
      return 'againMs' in settlement ? settlement.againMs : -1;
    };
    expect([0, 1, 2, 3].map((tries) => pause(tries, 1))).toEqual([750, 1250, 2250, 4250]);
    expect(pause(50, 1)).toBe(30_250);
    expect(pause(3, 0)).toBe(250);
  });
});

describe('settleLookUp', () => {
  it('is done when everything asked for is there', () => {
    expect(settleLookUp(unknown, 3)).toEqual({ to: 'done' });
    expect(settleLookUp(refused, 3)).toEqual({ to: 'done' });
  });

  const unwanted = { ...invisible, wanted: 0 };
  it.each([
    ['nothing is visible yet', unknown, 0, { to: 'unknown' }],
    ['a part is visible yet', unknown, 2, { to: 'unknown' }],
    ['two minutes are not over', { ...unknown, calledMsAgo: VISIBILITY_MS - 1 }, 0, { to: 'unknown', failure: null }],
    ['never more than one became visible', invisible, 1, { to: 'done' }],
    [
      'nothing became visible',
      { ...invisible, wanted: 1 },
      0,
      { to: 'failed', failure: 'unknown-outcome', reason: 'outcome-unknown' },
    ],
    ['nothing became visible of what nobody wants', unwanted, 0, { to: 'failed', failure: null, reason: 'not-needed' }],
  ])('%s', (_, launch, found, expected) => {
    expect(settleLookUp(launch, found)).toMatchObject(expected);
  });

  it('fails for the reason it was looked up for, which it keeps while it looks', () => {
    expect(settleLookUp(refused, 0)).toMatchObject({ to: 'unknown', failure: 'token-spent', reason: 'token-spent' });
    expect(settleLookUp({ ...refused, calledMsAgo: VISIBILITY_MS }, 0)).toEqual({
      to: 'failed',
      failure: 'token-spent',
      reason: 'token-spent',
      message: 'spent',
    });
  });

  it('knows nothing when the look-up fails, however long ago the call was', () => {
    expect(settleLookUp(invisible, refusal('unknown-outcome'))).toMatchObject({
      to: 'unknown',
      failure: null,
      reason: 'reason-of-unknown-outcome',
    });
    expect(settleLookUp({ ...refused, calledMsAgo: VISIBILITY_MS }, refusal('throttled'))).toMatchObject({
      to: 'unknown',
      failure: 'token-spent',
      reason: 'token-spent',
    });
  });
});

describe('a launch that is never called again', () => {
  const lost = { reason: 'launch-unreadable', message: 'the launch was written with another ENCRYPTION_KEY' };
  it('is closed where it cannot be read any more and was not called, and looked for where it may have been', () => {
    expect(settleUnreadable(planned)).toEqual({ to: 'failed', failure: 'token-mismatch', ...lost });
    expect(settleUnreadable(unknown)).toMatchObject({ to: 'unknown', againMs: 0, failure: 'token-mismatch', ...lost });
  });

  it.each([
    ['fewer wait than it would launch', 'not-needed', null, 'not-needed'],
    ['EC2’s quota gives fewer now', 'too-large', 'throttled', 'ec2-throttled'],
  ] as const)('tells operators that it was withdrawn as %s', (_, because, failure, reason) => {
    expect(settleWithdrawal(because)).toMatchObject({ to: 'failed', failure, reason });
  });
});
