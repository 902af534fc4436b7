import { EventEmitter } from 'node:events';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HandClock } from '../../test/support/hand-clock.js';
import type { Config } from '../config/config.js';
import { ADMIN, type Caller, findCaller } from '../http/caller.js';
import { AccessService, type RoleAccess } from './access.service.js';
import type { RateLimiter, Standing } from './rate-limiter.js';
import type { Tokens } from './tokens.js';
import { MOST_BYTES_AT_ONCE, WriteBudget } from './write-budget.js';

const VIEW: RoleAccess = { who: 'viewer', scope: 'filtered' };
const DEPLOY: RoleAccess = { who: 'deployer', scope: 'job' };
const DEPLOYER: Caller = { ...ADMIN, id: '00000001', name: 'ci', role: 'deployer' };
const MIB = 1_048_576;

describe('the access of a request', () => {
  let clock: HandClock;
  let warnings: unknown[][];
  let known: Map<string, Caller | 'ended'>;
  let lookedUp: string[];
  let standing: Standing;
  let counted: string[];
  beforeEach(() => {
    clock = new HandClock();
    warnings = [];
    Logger.overrideLogger({
      log: () => undefined,
      error: () => undefined,
      warn: (...parts: unknown[]) => warnings.push(parts),
    });
    known = new Map<string, Caller | 'ended'>([
      ['deployer', DEPLOYER],
      ['ended', 'ended'],
    ]);
    lookedUp = [];
    standing = { isAllowed: true, limit: 600, remaining: 599, resetSeconds: 1, retrySeconds: 0 };
    counted = [];
  });
  afterEach(() => {
    clock.restore();
    Logger.overrideLogger(true);
  });

  function service(http: { auth?: 'none'; adminToken?: undefined; metrics?: 'public' } = {}): AccessService {
    const tokens = {
      identify: (token: string) => {
        lookedUp.push(token);
        return Promise.resolve(known.get(token));
      },
    };
    const limiter = {
      take: ({ id }: Caller) => {
        counted.push(id);
        return Promise.resolve(standing);
      },
    };
    const settings = { auth: 'token', adminToken: 'root', publicUrl: 'https://api.test', metrics: 'token', ...http };
    return new AccessService(
      tokens as unknown as Tokens,
      limiter as unknown as RateLimiter,
      new WriteBudget(clock.now),
      settings as Config['http'],
    );
  }

  type Sent = { token?: string; ip?: string; method?: string; name?: string; headers?: object; hostname?: string };

  function exchange({ token, ip = '192.0.2.1', method = 'GET', name, headers: others, hostname = 'api.test' }: Sent) {
    const headers = { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...others };
    const socket = { bytesRead: 100 * MIB };
    const request = { ip, method, headers, hostname, params: { name }, raw: { headers, socket } };
    const answered: Record<string, unknown> = {};
    const raw = Object.assign(new EventEmitter(), { statusCode: 200 });
    const reply = {
      raw,
      headers: (added: object) => Object.assign(answered, added),
      getHeader: (header: string) => answered[header],
    };
    return { request: request as unknown as FastifyRequest, reply: reply as unknown as FastifyReply, socket, answered };
  }

  /** The caller, or the problem. */
  async function admit(access: AccessService, sent: Sent, route: RoleAccess = VIEW): Promise<unknown> {
    const { request, reply } = exchange(sent);
    return await access.admit(request, reply, route).then(
      () => findCaller(request),
      (error: unknown) => error,
    );
  }

  describe('by its token', () => {
    it('is that of the token’s caller, or of the administrator', async () => {
      const access = service();
      expect(await admit(access, { token: 'deployer' })).toBe(DEPLOYER);
      expect(await admit(access, { token: 'root' })).toBe(ADMIN);
      // Without the setting there is no such administrator.
      expect(await admit(service({ adminToken: undefined }), { token: 'root' })).toMatchObject({
        code: 'unauthorized',
      });
    });

    it.each([
      ['none', {}, 'Bearer'],
      ['another scheme', { headers: { authorization: 'Basic x' } }, 'Bearer'],
      ['one that is not known', { token: 'guess' }, 'Bearer error="invalid_token"'],
      ['one that has ended', { token: 'ended' }, 'Bearer error="invalid_token"'],
    ])('is refused with %s', async (_what, sent, challenge) => {
      expect(await admit(service(), sent)).toMatchObject({
        code: 'unauthorized',
        headers: { 'www-authenticate': challenge },
      });
    });

    it('is none until it is looked up, and what failed there is told as it is', async () => {
      const access = service();
      known.get = () => {
        throw new Error('away');
      };
      expect(await admit(access, { token: 'deployer' })).toEqual(new Error('away'));
    });
  });

  describe('of who guesses', () => {
    const guess = (access: AccessService, n: number, ip = '192.0.2.1') => admit(access, { token: `guess-${n}`, ip });

    it('is slowed down after twenty wrong tokens of an address in a minute, for that address only', async () => {
      const access = service();
      for (let n = 1; n <= 20; n += 1) expect(await guess(access, n)).toMatchObject({ code: 'unauthorized' });
      await clock.pass(30_000);
      expect(await guess(access, 21)).toMatchObject({ code: 'too-many-requests', headers: { 'retry-after': '30' } });
      expect(await guess(access, 21, '192.0.2.2')).toMatchObject({ code: 'unauthorized' });
      // Others behind the same address go on.
      expect(await admit(access, { token: 'deployer' })).toBe(DEPLOYER);
      expect(await admit(access, { token: 'ended' })).toMatchObject({ code: 'unauthorized' });
      await clock.pass(29_500);
      expect(await guess(access, 21)).toMatchObject({ code: 'too-many-requests', headers: { 'retry-after': '1' } });
      await clock.pass(500);
      expect(await guess(access, 22)).toMatchObject({ code: 'unauthorized' });
    });

    it('is not looked up again for the same wrong token, and is no further guess', async () => {
      const access = service();
      for (let n = 0; n < 100; n += 1) expect(await guess(access, 1)).toMatchObject({ code: 'unauthorized' });
      expect(lookedUp).toEqual(['guess-1']);
    });

    it('is no guess with tokens that ended, however many there are', async () => {
      const access = service();
      for (let n = 0; n < 40; n += 1) {
        known.set(`ended-${n}`, 'ended');
        expect(await admit(access, { token: `ended-${n}` })).toMatchObject({ code: 'unauthorized' });
      }
      expect(warnings).toEqual([]);
    });

    it('is logged with its address, once a second and with how many others there were', async () => {
      const access = service();
      for (const ip of ['192.0.2.1', '192.0.2.2']) {
        for (let n = 0; n < 20; n += 1) await guess(access, n, ip);
      }
      expect(warnings).toEqual([['too many wrong tokens', { address: '192.0.2.1' }, 'Access']]);
      await clock.pass(1_000);
      for (let n = 0; n < 20; n += 1) await guess(access, n, '192.0.2.4');
      expect(warnings.slice(1)).toEqual([
        ['too many wrong tokens', { address: '192.0.2.4', othersBefore: 1 }, 'Access'],
      ]);
    });
  });

  describe('without tokens', () => {
    const open = { auth: 'none' } as const;

    it('is everything, without a rate limit, for programs that name this machine or the public URL', async () => {
      for (const host of ['localhost:3000', 'api.test']) {
        const hostname = host.replace(/:.*/, '');
        const caller = await admit(service(open), { headers: { host }, hostname, method: 'DELETE' }, DEPLOY);
        expect(caller).toMatchObject({ id: 'anonymous', role: 'admin' });
      }
      expect(counted).toEqual([]);
    });

    it('is refused to a page that had its name pointed here', async () => {
      const sent = { headers: { host: 'page.test' }, hostname: 'page.test' };
      expect(await admit(service(open), sent)).toMatchObject({ code: 'forbidden' });
    });
  });

  describe('to a route', () => {
    const scoped: Caller = { ...DEPLOYER, scope: ['team-a-'] };

    it.each<[string, Partial<Caller>, RoleAccess, string | undefined, object | undefined]>([
      ['of its role', {}, DEPLOY, 'web', undefined],
      ['of a lower role', {}, VIEW, undefined, undefined],
      [
        'of a higher role',
        {},
        { who: 'admin', scope: 'whole' },
        undefined,
        {
          code: 'forbidden',
          headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="admin"' },
          detail: 'This needs the role admin; this token’s is deployer.',
        },
      ],
      ['of a job in its scope', scoped, DEPLOY, 'team-a-web', undefined],
      // As of a job that is missing.
      ['of a job outside its scope', scoped, DEPLOY, 'team-b-web', { code: 'job-not-found' }],
      [
        'that shows more than its scope',
        scoped,
        { who: 'viewer', scope: 'whole' },
        undefined,
        { code: 'forbidden', headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="viewer"' } },
      ],
      [
        'of metrics with a scope',
        scoped,
        { who: 'metrics', scope: 'whole' },
        undefined,
        { code: 'forbidden', headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="viewer"' } },
      ],
      ['of metrics', {}, { who: 'metrics', scope: 'whole' }, undefined, undefined],
    ])('%s has its caller this answer', async (_what, caller, route, name, problem) => {
      const given = { ...DEPLOYER, ...caller };
      known.set('deployer', given);
      const answer = await admit(service(), { token: 'deployer', ...(name !== undefined && { name }) }, route);
      if (problem) expect(answer).toMatchObject(problem);
      else expect(answer).toBe(given);
    });

    it('needs no token for metrics where the operator opened them, and only for them', async () => {
      const access = service({ metrics: 'public' });
      expect(await admit(access, {}, { who: 'metrics', scope: 'whole' })).toBeUndefined();
      expect(await admit(access, {}, VIEW)).toMatchObject({ code: 'unauthorized' });
      expect(await admit(service(), {}, { who: 'metrics', scope: 'whole' })).toMatchObject({ code: 'unauthorized' });
    });

    it('that has no parameters is no job’s', async () => {
      known.set('deployer', scoped);
      const { request, reply } = exchange({ token: 'deployer' });
      Object.assign(request, { params: null });
      await expect(service().admit(request, reply, DEPLOY)).rejects.toMatchObject({ code: 'forbidden' });
    });
  });

  describe('within its limits', () => {
    it('says in its answer what is left, also where nothing is', async () => {
      const access = service();
      const first = exchange({ token: 'deployer' });
      await access.admit(first.request, first.reply, VIEW);
      expect(first.answered).toMatchObject({ ratelimit: '"default";r=599;t=1' });
      standing = { isAllowed: false, limit: 600, remaining: 0, resetSeconds: 60, retrySeconds: 7 };
      const second = exchange({ token: 'deployer' });
      await expect(access.admit(second.request, second.reply, VIEW)).rejects.toMatchObject({
        code: 'too-many-requests',
        detail: 'This token may send 600 requests a minute.',
        headers: { 'retry-after': '7' },
      });
      expect(second.answered).toMatchObject({ ratelimit: '"default";r=0;t=60' });
      expect(counted).toEqual(['00000001', '00000001']);
    });

    type Change = { token?: string; method?: string; status?: number; sent?: number; read?: number; answered?: number };

    /** One change, from its admission to the end of its answer. */
    async function change(access: AccessService, how: Change & { isKeyed?: boolean }): Promise<unknown> {
      const { token = 'deployer', method = 'POST', status = 200, sent, read = 0, answered, isKeyed } = how;
      const headers = {
        ...(sent !== undefined && { 'content-length': String(sent) }),
        ...(isKeyed === true && { 'idempotency-key': 'x' }),
      };
      const one = exchange({ token, method, name: 'web', headers });
      const refusal = await access.admit(one.request, one.reply, DEPLOY).catch((error: unknown) => error);
      one.socket.bytesRead += read;
      if (answered !== undefined) one.answered['content-length'] = answered;
      one.reply.raw.statusCode = status;
      one.reply.raw.emit('close');
      return refusal;
    }

    /** Bytes that a change of this kind counts, in MiB. */
    async function costOf(how: Parameters<typeof change>[1]): Promise<number> {
      const access = service();
      let changes = 0;
      while (changes < 100 && (await change(access, how)) === undefined) changes += 1;
      return Math.round(MOST_BYTES_AT_ONCE / MIB / changes);
    }

    it.each<[string, Parameters<typeof change>[1], number]>([
      ['what it sends', { sent: 8 * MIB }, 8],
      ['what was read of it where it does not say', { read: 8 * MIB }, 8],
      ['what it is answered', { answered: 8 * MIB }, 8],
      ['the larger of both', { sent: 4 * MIB, answered: 8 * MIB }, 8],
      ['the larger of both, again', { sent: 8 * MIB, answered: 4 * MIB }, 8],
      ['the answer twice where it is kept', { answered: 4 * MIB, isKeyed: true }, 8],
      ['the answer that is kept beside a larger body', { sent: 8 * MIB, answered: 8 * MIB, isKeyed: true }, 16],
      ['a length that is none as nothing', { sent: NaN, read: 8 * MIB }, 8],
    ])('counts of a change %s', async (_what, how, cost) => {
      expect(await costOf(how)).toBe(cost);
    });

    it.each<[string, Parameters<typeof change>[1]]>([
      ['nothing at all', {}],
      ['no length', { sent: NaN }],
      ['no length, and is kept', { isKeyed: true }],
    ])('counts of a change with %s what its rows take, to the byte', async (_what, how) => {
      const access = service();
      await change(access, { sent: MOST_BYTES_AT_ONCE - 2 * 1_024 - 1 });
      expect(await change(access, how)).toBeUndefined();
      expect(await change(access, how)).toBeUndefined();
      expect(await change(access, how)).toMatchObject({ code: 'too-many-requests' });
    });

    it.each<[string, Parameters<typeof change>[1]]>([
      ['that are refused', { status: 300, sent: 8 * MIB }],
      ['of an administrator', { token: 'root', sent: 8 * MIB }],
      ['that only read', { method: 'GET', answered: 8 * MIB }],
    ])('has no bound in bytes for requests %s', async (_what, how) => {
      const access = service();
      for (let n = 0; n < 20; n += 1) expect(await change(access, how)).toBeUndefined();
    });

    it('is refused to a token that has stored too much until there is room again, but not to others', async () => {
      const access = service();
      for (let n = 0; n < 8; n += 1) await change(access, { sent: 8 * MIB, status: n % 2 === 0 ? 201 : 299 });
      expect(await change(access, {})).toMatchObject({ code: 'too-many-requests', headers: { 'retry-after': '1' } });
      known.set('other', { ...DEPLOYER, id: '00000002' });
      expect(await change(access, { token: 'other' })).toBeUndefined();
      expect(await admit(access, { token: 'deployer' })).toBe(DEPLOYER);
      await clock.pass(1_000);
      expect(await change(access, {})).toBeUndefined();
    });
  });
});
