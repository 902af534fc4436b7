import { describe, expect, it } from '@jest/globals';
import { isInScope, checkAccess, type ScopeRule, type Verdict } from './access-rules.js';
import type { Role } from '../http/caller.js';

describe('checkAccess', () => {
  it.each<[Role, Role, Verdict]>([
    ['viewer', 'viewer', 'granted'],
    ['viewer', 'deployer', 'needs-role'],
    ['viewer', 'admin', 'needs-role'],
    ['deployer', 'viewer', 'granted'],
    ['deployer', 'deployer', 'granted'],
    ['deployer', 'admin', 'needs-role'],
    ['admin', 'deployer', 'granted'],
    ['admin', 'admin', 'granted'],
  ])('a %s on a route for %ss: %s', (role, who, verdict) => {
    expect(checkAccess({ role, scope: null }, { who, scope: 'whole' }, undefined)).toBe(verdict);
  });

  it.each<[ScopeRule, string | undefined, Verdict]>([
    ['job', 'team-a-web', 'granted'],
    ['job', 'team-b-web', 'outside-scope'],
    // A route that forgot its parameter is closed, not open.
    ['job', undefined, 'needs-whole-scope'],
    ['filtered', 'team-b-web', 'granted'],
    ['whole', 'team-a-web', 'needs-whole-scope'],
  ])('with a scope on a route of rule %s for %s: %s', (scope, name, verdict) => {
    expect(checkAccess({ role: 'viewer', scope: ['team-a-'] }, { who: 'viewer', scope }, name)).toBe(verdict);
  });

  it('looks at the role before the scope', () => {
    const viewer = { role: 'viewer', scope: ['a'] } as const;
    expect(checkAccess(viewer, { who: 'deployer', scope: 'job' }, 'b')).toBe('needs-role');
  });
});

describe('a scope', () => {
  it('is the beginning of a name', () => {
    expect(isInScope(['web', 'team-a-'], 'web')).toBe(true);
    expect(isInScope(['web', 'team-a-'], 'website')).toBe(true);
    expect(isInScope(['web', 'team-a-'], 'team-a')).toBe(false);
    expect(isInScope(null, 'anything')).toBe(true);
  });
});
