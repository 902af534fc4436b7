import { describe, expect, it } from '@jest/globals';
import type { Caller } from '../http/caller.js';
import { Problem } from '../http/problem.js';
import { checkHosts, placeOf } from './allowed-hosts.js';
import { JobDefinition } from './job-definition.js';

const HOST_RULES = { domains: ['own.test', 'shop.example'], reserved: ['api.own.test'] };
const PLACE = { domain: 'jobs.test', hostRules: HOST_RULES };
const ADMIN = { scope: null, allow: null };
const SCOPED = { scope: ['web'], allow: null };

const definitionOf = (...hosts: string[]) => JobDefinition.parse({ route: { hosts } });

type Checked = { caller?: Pick<Caller, 'scope' | 'allow'>; place?: typeof PLACE; stored?: string[] };

/** Pointer and detail of each fault. */
function faultsOf(hosts: string[], { caller = ADMIN, place = PLACE, stored }: Checked = {}): string[] {
  try {
    const wanted = { name: 'web', definition: definitionOf(...hosts) };
    checkHosts(wanted, place, caller, stored === undefined ? null : definitionOf(...stored));
    return [];
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error).toMatchObject({ code: 'forbidden', status: 403 });
    return error.errors.map((fault) => ('pointer' in fault ? `${fault.pointer} ${fault.detail}` : ''));
  }
}

describe('a host of its own that a job is to have', () => {
  it.each(['own.test', 'a.own.test', 'a.b.shop.example', 'web.jobs.test'])('may be %s', (host) => {
    expect(faultsOf([host])).toEqual([]);
  });

  it.each([
    ['example', 'must be one of own.test, shop.example, or below one: JOBS_HOSTS'],
    ['notown.test', 'must be one of own.test, shop.example, or below one: JOBS_HOSTS'],
    ['own.test.evil.example', 'must be one of own.test, shop.example, or below one: JOBS_HOSTS'],
    ['jobs.test', 'must not be in jobs.test: names there are those of jobs (JOBS_URL)'],
    ['other.jobs.test', 'must not be in jobs.test: names there are those of jobs (JOBS_URL)'],
    ['a.web.jobs.test', 'must not be in jobs.test: names there are those of jobs (JOBS_URL)'],
    ['api.own.test', 'must not be the API’s own host'],
  ])('may not be %s', (host, detail) => {
    expect(faultsOf(['own.test', host])).toEqual([`#/route/hosts/1 ${detail}`]);
  });

  it('is none where the operator allows none', () => {
    const place = { ...PLACE, hostRules: { domains: [], reserved: [] } };
    expect(faultsOf(['own.test'], { place })).toEqual(['#/route/hosts/0 must be left out: JOBS_HOSTS has none']);
    const nowhere = placeOf(undefined);
    expect(() => checkHosts({ name: 'web', definition: definitionOf('own.test') }, nowhere, ADMIN, null)).toThrow(
      '#/route/hosts/0: must be left out: JOBS_URL is not set',
    );
  });

  it('is taken by a token for some jobs only where it says so; what the job has it may go on deploying', () => {
    const detail = '#/route/hosts/0 must be left out: a token with a scope needs allow.hosts for it';
    expect(faultsOf(['a.own.test'], { caller: SCOPED })).toEqual([detail]);
    expect(faultsOf(['a.own.test'], { caller: { ...SCOPED, allow: { types: ['t3.*'] } } })).toEqual([detail]);
    expect(faultsOf(['a.own.test'], { caller: SCOPED, stored: [] })).toEqual([detail]);
    expect(faultsOf(['a.own.test'], { caller: SCOPED, stored: ['a.own.test'] })).toEqual([]);
    expect(faultsOf(['a.own.test'], { caller: { scope: null, allow: {} } })).toEqual([]);
  });

  it.each([
    [['a.own.test'], ['x.a.own.test', 'a.own.test'], []],
    [
      ['a.own.test'],
      ['b.own.test'],
      ['#/route/hosts/0 must be one of a.own.test, or below one: this token allows no more'],
    ],
    [[], ['b.own.test'], ['#/route/hosts/0 must be left out: this token allows none']],
    // Within the operator's lists only.
    [
      ['other.test'],
      ['other.test'],
      ['#/route/hosts/0 must be one of own.test, shop.example, or below one: JOBS_HOSTS'],
    ],
  ])('with a token that allows %j is checked for %j, whatever the job has', (hosts, wanted, faults) => {
    for (const scope of [null, ['web']]) {
      expect(faultsOf(wanted, { caller: { scope, allow: { hosts } }, stored: wanted })).toEqual(faults);
    }
  });
});
