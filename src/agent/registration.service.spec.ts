import { createHash, createSecretKey, generateKeyPairSync, sign } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { AgentLimits } from './agent-limits.js';
import type { Agents } from './agents.js';
import { launchSecretOf } from './launch-secret.js';
import { RegistrationService, registrations } from './registration.service.js';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const NOW = new Date('2026-11-23T12:00:00Z');
const KEY = createSecretKey(Buffer.alloc(32, 7));
const LAUNCH = '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11';
const TOKEN = 'a'.repeat(64);
const SECRET = launchSecretOf(KEY, LAUNCH);

/** An instance that EC2’s answer to its launch named. */
const PENDING = {
  now: NOW,
  launchId: LAUNCH,
  imageId: 'ami-0123456789abcdef0',
  count: 1,
  isSettled: false,
  createdAt: new Date(NOW.getTime() - 60_000),
  registered: 0,
  instanceLaunchId: LAUNCH as string | null,
  tokenHash: null as Buffer | null,
  quarantined: null as boolean | null,
  launchTag: null as string | null,
  isAdopted: false,
  isRetired: false as boolean | null,
};
const LOST = {
  ...PENDING,
  launchId: null,
  imageId: null,
  count: null,
  isSettled: null,
  createdAt: null,
  quarantined: true,
};

/** What each look at the facts finds, the last of them again and again. */
let facts: object[];
/** Whether a registration is written; others were first as long as it is not. */
let isOvertaken: boolean;
let failure: Error | undefined;
let written: string[];
let events: string[];
let logged: [message: string, facts: object][];
let outcomes: string[];
let leave: () => void;
let service: RegistrationService;
beforeEach(() => {
  [facts, isOvertaken, failure] = [[PENDING], false, undefined];
  [written, events, logged, outcomes] = [[], [], [], []];
  const note = (message: string, what: object) => void logged.push([message, what]);
  Logger.overrideLogger({ log: note, error: note, warn: note });
  leave = registrations.subscribe(({ outcome }) => outcomes.push(outcome));
  service = open();
});
afterEach(() => {
  leave();
  Logger.overrideLogger(true);
});

describe('a registration', () => {
  it('is written, the fleet is woken, and what was known of the token is forgotten', async () => {
    await service.register(form());
    expect(written).toEqual([`registration-admit i-0123456789abcdef0 ${LAUNCH}`]);
    expect(events.toSorted()).toEqual(['eventsWritten', `forget ${TOKEN}`, 'shapesDue']);
    expect(outcomes).toEqual(['registered']);
    expect(logged).toEqual([['registered', { instanceId: 'i-0123456789abcdef0', launchId: LAUNCH }]]);
  });

  it('that was written before is answered as well, and changes nothing', async () => {
    facts = [{ ...PENDING, tokenHash: sha256(TOKEN) }];
    await service.register(form());
    expect([written, events, outcomes]).toEqual([[], [], []]);
  });

  it('of an instance in quarantine is written when somebody adopts it, by the secret of the launch its tag names', async () => {
    facts = [{ ...LOST, launchTag: LAUNCH, isAdopted: true }];
    await service.register(form());
    expect([written, outcomes]).toEqual([['registration-adopt i-0123456789abcdef0'], ['registered']]);
    expect(logged).toEqual([['registered', { instanceId: 'i-0123456789abcdef0', adopted: true }]]);
    facts = [{ ...LOST, launchTag: LAUNCH.replace('6', '7'), isAdopted: true }];
    await expect(service.register(form())).rejects.toMatchObject({ code: 'forbidden' });
    facts = [{ ...LOST, launchTag: null, isAdopted: true }];
    await expect(service.register(form())).rejects.toMatchObject({ code: 'forbidden' });
    expect(outcomes.slice(1)).toEqual(['unknown-secret', 'unknown-secret']);
  });

  it('of one in quarantine that nobody adopted is refused without a line in the log', async () => {
    facts = [{ ...LOST, launchTag: LAUNCH }];
    await expect(service.register(form())).rejects.toMatchObject({
      code: 'forbidden',
      detail: 'This instance is in quarantine.',
    });
    expect([logged, outcomes]).toEqual([[], ['quarantined']]);
  });

  it('is tried again when the facts change meanwhile, three times at most', async () => {
    isOvertaken = true;
    facts = [PENDING, PENDING, { ...PENDING, tokenHash: sha256(TOKEN) }];
    await service.register(form());
    expect([written.length, outcomes]).toEqual([2, []]);
    facts = [PENDING];
    await expect(service.register(form())).rejects.toMatchObject({
      code: 'unavailable',
      headers: { 'retry-after': '1' },
    });
    expect([written.length, outcomes, events]).toEqual([5, ['unavailable'], []]);
  });

  it('is to be sent again while only EC2’s answer can show whose account it is, without another look', async () => {
    facts = [{ ...PENDING, isRetired: null }, PENDING];
    await expect(service.register(form())).rejects.toMatchObject({ code: 'unavailable' });
    expect([written, outcomes]).toEqual([[], ['unavailable']]);
    // An operator may name the account.
    service = open('123456789012');
    facts = [{ ...PENDING, isRetired: null }];
    await service.register(form());
    expect(outcomes).toEqual(['unavailable', 'registered']);
    service = open('210987654321');
    await expect(service.register(form())).rejects.toMatchObject({ code: 'forbidden' });
    expect(outcomes.at(-1)).toBe('other-account');
  });

  it.each<[string, string, object, string, boolean]>([
    ['that somebody else sends', 'already-registered', { tokenHash: sha256('b'.repeat(64)) }, 'other-token', true],
    ['of an instance that is to end', 'instance-retired', { isRetired: true }, 'instance-retired', false],
    ['too many of its launch', 'forbidden', { registered: 1 }, 'launch-full', true],
    ['of a secret that nobody knows', 'forbidden', { launchId: null }, 'unknown-secret', true],
  ])('%s is refused with no more than %s; the log says why', async (_what, code, found, reason, isAlarm) => {
    facts = [{ ...PENDING, ...found }];
    await expect(service.register(form())).rejects.toMatchObject({ code });
    const told = { reason, instanceId: 'i-0123456789abcdef0', accountId: '123456789012', region: 'us-west-2' };
    expect(logged).toEqual([['registration refused', { ...told, ...(isAlarm && { alarm: true }) }]]);
    expect([outcomes, written]).toEqual([[reason], []]);
  });

  it('with a token that another instance has is refused', async () => {
    failure = Object.assign(new Error('duplicate key'), { constraint: 'instances_token' });
    await expect(service.register(form())).rejects.toMatchObject({ code: 'already-registered' });
    facts = [{ ...LOST, launchTag: LAUNCH, isAdopted: true }];
    await expect(service.register(form())).rejects.toMatchObject({ code: 'already-registered' });
    expect(outcomes).toEqual(['token-in-use', 'token-in-use']);
    expect(logged[0]).toEqual([
      'registration refused',
      expect.objectContaining({ alarm: true, reason: 'token-in-use' }),
    ]);
  });

  it('fails where the database does', async () => {
    failure = Object.assign(new Error('deadlock detected'), { constraint: 'another' });
    await expect(service.register(form())).rejects.toThrow('deadlock detected');
    facts = [{ ...LOST, launchTag: LAUNCH, isAdopted: true }];
    await expect(service.register(form())).rejects.toThrow('deadlock detected');
  });

  it('without a document that AWS signed is refused before anything is looked up, and logged once a second', async () => {
    facts = [];
    for (let n = 0; n < 3; n += 1) {
      const forged = { ...form(), document: form().document.replace('t3.small', 't3.large') };
      await expect(service.register(forged)).rejects.toMatchObject({ code: 'forbidden' });
    }
    expect(outcomes).toEqual(Array(3).fill('forged-document'));
    // What a document that nobody signed says is not logged.
    expect(logged).toEqual([['registration refused', { reason: 'forged-document', alarm: true }]]);
  });

  it('counts with its size, and not as a log', async () => {
    const taken: [number, boolean][] = [];
    const enter = (_instanceId: string, isUpload: boolean) => ({
      isAllowed: true,
      leave: (bytes: number) => void taken.push([bytes, isUpload]),
    });
    service = open(undefined, { enter } as unknown as AgentLimits);
    const { document, signature, ...rest } = form();
    await service.register({ document, signature, ...rest });
    expect(taken).toEqual([[document.length + signature.length, false]]);
  });

  it('counts with all other requests of its instance', async () => {
    const limits = new AgentLimits(() => 0);
    service = open(undefined, limits);
    const others = Array.from({ length: 23 }, () => limits.enter('i-0123456789abcdef0', false));
    await service.register(form());
    const last = limits.enter('i-0123456789abcdef0', false);
    await expect(service.register(form())).rejects.toMatchObject({
      code: 'too-many-requests',
      headers: { 'retry-after': '1' },
    });
    expect(written).toHaveLength(1);
    for (const entry of [...others, last]) if (entry.isAllowed) entry.leave(0);
    // It left, too: also where it failed.
    failure = new Error('deadlock detected');
    for (let n = 0; n < 30; n += 1) await service.register(form()).catch(() => undefined);
    expect(limits.enter('i-0123456789abcdef0', false).isAllowed).toBe(true);
  });
});

function open(accountId?: string, limits = new AgentLimits(() => 0)): RegistrationService {
  const run = async ({ name }: { name: string }, values: readonly unknown[]): Promise<unknown[]> => {
    await Promise.resolve();
    if (name === 'registration-facts') return [facts.length > 1 ? facts.shift() : facts[0]];
    if (name === 'registration-lock') return [];
    if (failure) throw failure;
    written.push([name, ...values.slice(0, name === 'registration-admit' ? 2 : 1)].join(' '));
    return isOvertaken ? [] : [{}];
  };
  const transaction = (work: (transaction: object) => Promise<unknown>) => work({ run });
  const note = (event: string) => () => void events.push(event);
  return new RegistrationService(
    { run, transaction } as unknown as Database,
    { eventsWritten: note('eventsWritten'), shapesDue: note('shapesDue') } as unknown as Signals,
    { forget: (token: string) => note(`forget ${token}`)() } as unknown as Agents,
    limits,
    [publicKey],
    [KEY],
    { region: 'us-west-2', ...(accountId !== undefined && { accountId }) },
  );
}

function form() {
  const document = JSON.stringify({
    instanceId: 'i-0123456789abcdef0',
    accountId: '123456789012',
    region: 'us-west-2',
    imageId: PENDING.imageId,
    instanceType: 't3.small',
    availabilityZone: 'us-west-2a',
    privateIp: '10.0.0.7',
    pendingTime: new Date(NOW.getTime() - 30_000).toISOString(),
  });
  const signature = sign('RSA-SHA256', Buffer.from(document), privateKey).toString('base64');
  return { document, signature, secret: SECRET, token: TOKEN, after: 0, agent: '3' };
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
