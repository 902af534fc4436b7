import { describe, expect, it } from '@jest/globals';
import {
  type InstanceFacts,
  checkRegistration,
  type LaunchFacts,
  type RegistrationFacts,
} from './registration-rules.js';

const NOW = new Date('2026-11-23T12:00:00Z');
/** In minutes. */
const MILLISECOND = 1 / 60_000;
const TOKEN = Buffer.alloc(32, 1);
const OTHER_TOKEN = Buffer.alloc(32, 2);

const launch: LaunchFacts = {
  id: 'launch',
  imageId: 'ami-1',
  count: 3,
  isSettled: false,
  createdAt: minutesAgo(2),
  registered: 0,
};
const pending: InstanceFacts = { launchId: 'launch', tokenHash: null, isRetired: false, quarantine: null };
const registered: InstanceFacts = { ...pending, tokenHash: TOKEN };

describe('checkRegistration', () => {
  it.each<[string, Partial<RegistrationFacts>]>([
    ['an instance of its launch', {}],
    [
      'one of the account that nobody told of yet',
      { instance: null, settings: { region: 'us-west-2', accountId: '123456789012' } },
    ],
    ['the last of its launch', { launch: { ...launch, registered: 2 } }],
    ['a known one of a settled launch', { launch: { ...launch, isSettled: true } }],
    ['one of the account', { settings: { region: 'us-west-2', accountId: '123456789012' } }],
    ['one that took fifteen minutes', { identity: identity(15), launch: { ...launch, createdAt: minutesAgo(16) } }],
    ['one whose clock is ahead of ours', { identity: identity(-4) }],
    ['one that EC2’s clock puts five minutes before its launch', { identity: identity(7) }],
  ])('admits %s', (_what, facts) => {
    expect(check(facts)).toEqual({ kind: 'admit', launchId: 'launch' });
  });

  it('lets one ask again whose account only EC2’s answer to the launch can show', () => {
    expect(check({ instance: null })).toEqual({ kind: 'retry' });
  });

  it.each<[string, Partial<RegistrationFacts>]>([
    ['at once', {}],
    ['long after', { identity: identity(300), launch: { ...launch, createdAt: minutesAgo(300), isSettled: true } }],
    ['of a full launch', { launch: { ...launch, registered: 2, count: 2 } }],
  ])('takes the same registration again %s', (_what, facts) => {
    expect(check({ ...facts, instance: registered })).toEqual({ kind: 'registered' });
  });

  describe('of an instance in quarantine, whose launch nobody knows any more,', () => {
    const quarantine = { isAdopted: true, isSecretRight: true };
    const lost: InstanceFacts = { launchId: null, tokenHash: null, isRetired: false, quarantine };
    it.each<[string, Partial<InstanceFacts>, object]>([
      ['admits one that an operator adopts, however old', {}, { kind: 'adopt' }],
      [
        'waits for an operator',
        { quarantine: { ...quarantine, isAdopted: false } },
        { kind: 'refuse', reason: 'quarantined', isAlarm: false },
      ],
      [
        'refuses one that does not know its secret',
        { quarantine: { ...quarantine, isSecretRight: false } },
        { kind: 'refuse', reason: 'unknown-secret', isAlarm: true },
      ],
      ['takes the same registration again', { tokenHash: TOKEN }, { kind: 'registered' }],
      ['refuses another token', { tokenHash: OTHER_TOKEN }, { kind: 'refuse', reason: 'other-token', isAlarm: true }],
      [
        'refuses one that is to end',
        { isRetired: true },
        { kind: 'refuse', reason: 'instance-retired', isAlarm: false },
      ],
    ])('%s', (_what, overrides, verdict) => {
      expect(check({ launch: null, identity: identity(10_000), instance: { ...lost, ...overrides } })).toEqual(verdict);
    });
  });

  it.each<[string, boolean, Partial<RegistrationFacts>]>([
    ['other-region', true, { settings: { region: 'eu-west-1' } }],
    ['other-account', true, { settings: { region: 'us-west-2', accountId: '210987654321' } }],
    ['unknown-secret', true, { launch: null }],
    ['other-launch', true, { instance: { ...pending, launchId: 'another' } }],
    ['other-launch', true, { instance: { ...pending, launchId: null } }],
    ['other-launch', true, { instance: { ...registered, launchId: 'another' } }],
    ['other-token', true, { instance: { ...registered, tokenHash: OTHER_TOKEN } }],
    ['other-token', true, { instance: { ...registered, tokenHash: OTHER_TOKEN, isRetired: true } }],
    ['instance-retired', false, { instance: { ...pending, isRetired: true } }],
    ['instance-retired', false, { instance: { ...registered, isRetired: true } }],
    ['other-image', true, { launch: { ...launch, imageId: 'ami-2' } }],
    ['older-than-launch', true, { identity: identity(7 + MILLISECOND) }],
    [
      'secret-expired',
      false,
      { identity: identity(15 + MILLISECOND), launch: { ...launch, createdAt: minutesAgo(17) } },
    ],
    ['unknown-instance', true, { instance: null, launch: { ...launch, isSettled: true } }],
    ['launch-full', true, { launch: { ...launch, registered: 3 } }],
  ])('refuses: %s (alarm: %s)', (reason, isAlarm, facts) => {
    expect(check(facts)).toEqual({ kind: 'refuse', reason, isAlarm });
  });
});

function check(facts: Partial<RegistrationFacts>) {
  return checkRegistration({
    identity: identity(1),
    tokenHash: TOKEN,
    settings: { region: 'us-west-2' },
    launch,
    instance: pending,
    now: NOW,
    ...facts,
  });
}

function identity(ageMinutes: number): RegistrationFacts['identity'] {
  return {
    instanceId: 'i-1',
    accountId: '123456789012',
    region: 'us-west-2',
    imageId: 'ami-1',
    instanceType: 't3.small',
    availabilityZone: 'us-west-2a',
    privateIp: '10.0.0.7',
    pendingTime: minutesAgo(ageMinutes),
  };
}

function minutesAgo(minutes: number): Date {
  return new Date(NOW.getTime() - minutes * 60_000);
}
