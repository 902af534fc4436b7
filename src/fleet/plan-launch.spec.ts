import { describe, expect, it } from '@jest/globals';
import {
  type OpenLaunch,
  planNextStep,
  type Refusal,
  settleLookUp,
  settleRefusal,
  VISIBILITY_MS,
} from './plan-launch.js';

const planned: OpenLaunch = { status: 'planned', tries: 0, count: 3, calledMsAgo: null, isWanted: true };
const unknown: OpenLaunch = { status: 'unknown', tries: 1, count: 3, calledMsAgo: 1_000, isWanted: true };
const old: OpenLaunch = { ...unknown, calledMsAgo: VISIBILITY_MS };
const refusal = (kind: Refusal['kind']): Refusal => ({ kind, reason: `reason-of-${kind}`, message: 'no' });

describe('planNextStep', () => {
  it.each([
    ['calls what is planned', planned, 'call'],
    ['repeats what is unknown: the token makes it safe', unknown, 'call'],
    ['withdraws what nobody wants and EC2 has not seen', { ...planned, isWanted: false }, 'withdraw'],
    ['only looks for what nobody wants and EC2 may have done', { ...unknown, isWanted: false }, 'look-up'],
  ])('%s', (_, launch, step) => {
    expect(planNextStep(launch)).toBe(step);
  });
});

describe('settleRefusal', () => {
  it.each(['capacity', 'quota', 'address', 'permission', 'invalid', 'not-found'] as const)(
    'takes a first refusal (%s) at its word, and a repeat’s not: the first call may have gone through',
    (kind) => {
      expect(settleRefusal(planned, refusal(kind), 0)).toEqual({
        to: 'failed',
        failure: kind,
        reason: `reason-of-${kind}`,
        message: 'no',
      });
      expect(settleRefusal(unknown, refusal(kind), 0)).toBe('look-up');
    },
  );

  it('keeps what was unknown unknown when the repeat is throttled', () => {
    expect(settleRefusal(planned, refusal('throttled'), 0)).toMatchObject({ to: 'planned' });
    expect(settleRefusal(unknown, refusal('throttled'), 0)).toMatchObject({ to: 'unknown' });
  });

  it('knows nothing after an unknown outcome', () => {
    expect(settleRefusal(planned, refusal('unknown-outcome'), 0)).toMatchObject({ to: 'unknown' });
    expect(settleRefusal(unknown, refusal('unknown-outcome'), 0)).toMatchObject({ to: 'unknown' });
  });

  it.each(['token-mismatch', 'token-spent'] as const)('looks what is behind a token (%s)', (kind) => {
    expect(settleRefusal(planned, refusal(kind), 0)).toBe('look-up');
    expect(settleRefusal(unknown, refusal(kind), 0)).toBe('look-up');
  });

  it('waits longer with every try, up to half a minute, and never in step with others', () => {
    const pause = (tries: number, dice: number) => {
      const settlement = settleRefusal({ ...unknown, tries }, refusal('throttled'), dice);
      return settlement !== 'look-up' && 'againMs' in settlement ? settlement.againMs : -1;
    };
    expect([0, 1, 2, 3].map((tries) => pause(tries, 1))).toEqual([750, 1250, 2250, 4250]);
    expect(pause(50, 1)).toBe(30_250);
    expect(pause(3, 0)).toBe(250);
  });
});

describe('settleLookUp', () => {
  it('is done when everything asked for is there', () => {
    expect(settleLookUp(unknown, 3, null)).toEqual({ to: 'done' });
  });

  it.each([
    ['nothing is visible yet', unknown, 0, { to: 'unknown' }],
    ['a part is visible yet', unknown, 2, { to: 'unknown' }],
    ['never more became visible', old, 2, { to: 'done' }],
    ['nothing became visible', old, 0, { to: 'failed', failure: null, reason: 'not-needed' }],
  ])('%s', (_, launch, found, expected) => {
    expect(settleLookUp(launch, found, null)).toMatchObject(expected);
  });

  it('fails for the reason it was looked up for', () => {
    expect(settleLookUp(old, 0, refusal('token-spent'))).toMatchObject({
      to: 'failed',
      failure: 'token-spent',
      reason: 'reason-of-token-spent',
    });
  });

  it('knows nothing when the look-up fails', () => {
    expect(settleLookUp(old, refusal('unknown-outcome'), refusal('token-spent'))).toMatchObject({
      to: 'unknown',
      reason: 'reason-of-unknown-outcome',
    });
  });
});
