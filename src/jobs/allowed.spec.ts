import { describe, expect, it } from '@jest/globals';
import type { Allow } from '../http/caller.js';
import { Problem } from '../http/problem.js';
import { checkAllowed } from './allowed.js';
import { JobDefinition } from './job-definition.js';

const LISTS = {
  defaultAmi: 'ami-0000000000000000d',
  allowedAmis: ['ecs-al2023', 'ami-0000000000000000a', 'ami-0000000000000000b'],
  allowedSubnets: ['subnet-0000000a', 'subnet-0000000b'],
  allowedSecurityGroups: ['sg-0000000a', 'sg-0000000b'],
  allowedProfiles: ['team-a', 'team-b'],
};

type Fields = { readonly image?: string } & Record<string, unknown>;

/** Pointers of the faults. */
function refused({ image, ...instance }: Fields, allow: Allow | null = null, lists = LISTS): string[] {
  try {
    checkAllowed({ image, definition: JobDefinition.parse({ instance }) }, lists, allow);
    return [];
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error).toMatchObject({ code: 'forbidden', status: 403 });
    return error.errors.map((fault) => ('pointer' in fault ? fault.pointer : ''));
  }
}

describe('what the operator allows everybody', () => {
  it.each<[string, Fields, string[]]>([
    ['nothing', {}, []],
    ['the default AMI, by its id', { ami: 'ami-0000000000000000d' }, []],
    ['an AMI of the list', { ami: 'ami-0000000000000000a' }, []],
    ['an alias of the list', { ami: 'ecs-al2023' }, []],
    ['an alias that the list has not', { ami: 'ecs-al2023-arm64' }, ['#/instance/ami']],
    ['anybody’s AMI', { ami: 'ami-0000000000000000e' }, ['#/instance/ami']],
    ['a profile', { profile: 'team-b' }, []],
    ['another profile', { profile: 'admin' }, ['#/instance/profile']],
    ['subnets', { subnetIds: ['subnet-0000000b', 'subnet-0000000c'] }, ['#/instance/subnetIds/1']],
    ['groups', { securityGroupIds: ['sg-0000000c', 'sg-0000000a'] }, ['#/instance/securityGroupIds/0']],
  ])('%s', (_what, fields, pointers) => {
    expect(refused(fields)).toEqual(pointers);
  });

  it('is said with the refusal', () => {
    const definition = JobDefinition.parse({ instance: { ami: 'ami-0000000000000000e', profile: 'x' } });
    const lists = { ...LISTS, allowedProfiles: [] };
    expect(() => checkAllowed({ definition }, lists, null)).toThrow(
      '#/instance/ami: must be one of ecs-al2023, ami-0000000000000000a, ami-0000000000000000b: ALLOWED_AMIS (and 1 more)',
    );
    const onlyProfile = JobDefinition.parse({ instance: { profile: 'x' } });
    expect(() => checkAllowed({ definition: onlyProfile }, lists, null)).toThrow(
      '#/instance/profile: must be left out: ALLOWED_PROFILES has none',
    );
  });
});

describe('what a token allows', () => {
  it.each<[string, Fields, Allow, string[]]>([
    ['no member: no limit of its own', { image: 'evil.example/x', profile: 'team-b', diskGiB: 16_384 }, {}, []],
    ['an image of the host', { image: 'r.example.com/a/b:1' }, { registries: ['r.example.com'] }, []],
    ['the host in capitals', { image: 'R.example.com/a/b:1' }, { registries: ['r.example.com'] }, []],
    ['below the path', { image: 'r.example.com/team-a/x' }, { registries: ['r.example.com/team-a'] }, []],
    [
      'a path that only begins alike',
      { image: 'r.example.com/team-ab/x' },
      { registries: ['r.example.com/team-a'] },
      ['#/image'],
    ],
    [
      'a host that only begins alike',
      { image: 'r.example.com.evil/x' },
      { registries: ['r.example.com'] },
      ['#/image'],
    ],
    [
      'the same host at another port',
      { image: 'r.example.com:5000/x' },
      { registries: ['r.example.com'] },
      ['#/image'],
    ],
    ['the Hub', { image: 'nginx' }, { registries: ['docker.io'] }, []],
    ['the Hub by its other name', { image: 'index.docker.io/nginx' }, { registries: ['docker.io'] }, []],
    ['official images', { image: 'nginx' }, { registries: ['docker.io/library'] }, []],
    ['others of the Hub', { image: 'evil/nginx' }, { registries: ['docker.io/library'] }, ['#/image']],
    ['a host behind the Hub’s', { image: 'docker.io/evil.example/x' }, { registries: ['docker.io'] }, ['#/image']],
    ['one repository', { image: 'r.example.com/a@sha256:' + 'a'.repeat(64) }, { registries: ['r.example.com/a'] }, []],
    ['no registry at all', { image: 'nginx' }, { registries: [] }, ['#/image']],
    ['what is not deployed yet', {}, { registries: [] }, []],
    ['its AMIs', { ami: 'ami-0000000000000000b' }, { amis: ['ami-0000000000000000a'] }, ['#/instance/ami']],
    ['the default AMI, unnamed', {}, { amis: [] }, []],
    ['its profiles', { profile: 'team-b' }, { profiles: ['team-a'] }, ['#/instance/profile']],
    ['no profile', { profile: 'team-a' }, { profiles: [] }, ['#/instance/profile']],
    ['its groups', { securityGroupIds: ['sg-0000000a'] }, { securityGroups: ['sg-0000000a'] }, []],
    ['the operator’s groups, by silence', {}, { securityGroups: ['sg-0000000a'] }, ['#/instance/securityGroupIds']],
    ['the operator’s groups, where it names none', {}, { securityGroups: [] }, []],
    [
      'others’ groups',
      { securityGroupIds: ['sg-0000000a', 'sg-0000000b'] },
      { securityGroups: ['sg-0000000a'] },
      ['#/instance/securityGroupIds/1'],
    ],
    ['the operator’s subnets, by silence', {}, { subnets: ['subnet-0000000a'] }, ['#/instance/subnetIds']],
    [
      'others’ subnets',
      { subnetIds: ['subnet-0000000b'] },
      { subnets: ['subnet-0000000a'] },
      ['#/instance/subnetIds/0'],
    ],
    ['types and families', { types: ['t3.nano', 'c7g.large'] }, { types: ['t3.*', 'c7g.large'] }, []],
    [
      'a family that only begins alike',
      { types: ['t3.nano', 't3a.nano'] },
      { types: ['t3.*'] },
      ['#/instance/types/1'],
    ],
    ['the default type', {}, { types: ['c7g.large'] }, ['#/instance/types/0']],
    ['the disk', { diskGiB: 51 }, { maxDiskGiB: 50 }, ['#/instance/diskGiB']],
    ['the last of the disk', { diskGiB: 50 }, { maxDiskGiB: 50 }, []],
  ])('%s', (_what, fields, allow, pointers) => {
    expect(refused(fields, allow)).toEqual(pointers);
  });

  it('is within what the operator allows', () => {
    expect(refused({ profile: 'admin' }, { profiles: ['admin'] })).toEqual(['#/instance/profile']);
  });
});
