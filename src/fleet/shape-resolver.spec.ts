import { describe, expect, it } from '@jest/globals';
import { toAwsError } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import { ShapeResolver, type ShapeResolverOptions } from './shape-resolver.js';

const SPEC: ShapeSpec = {
  imageId: null,
  types: ['t3.small'],
  subnetIds: [],
  securityGroupIds: [],
  profile: null,
  diskGiB: 30,
  market: 'on-demand',
  publicIp: true,
};

/** The part of EC2 that the resolver calls; the test sets answers and failures. */
function world(options: Partial<ShapeResolverOptions> = {}) {
  const state = {
    now: 0,
    asked: [] as string[],
    image: 'ami-new' as string | null,
    rootGiB: 30,
    subnets: ['subnet-a', 'subnet-b'],
    failure: null as Error | null,
    /** What it fails to answer; null = anything. */
    failing: null as string | null,
  };
  const ask = <T>(what: string, answer: () => T): Promise<T> => {
    state.asked.push(what);
    if (!state.failure || (state.failing !== null && state.failing !== what)) return Promise.resolve(answer());
    if (state.failure instanceof TypeError) return Promise.reject(state.failure);
    return Promise.reject(toAwsError(what === 'subnets' ? 'DescribeSubnets' : 'DescribeImages', state.failure));
  };
  const amiOf = (architecture: string | null) =>
    state.image === null ? null : { id: state.image, rootDevice: '/dev/xvda', rootGiB: state.rootGiB, architecture };
  const ec2 = {
    findImage: ({ architecture }: { architecture: string }) => ask(`image ${architecture}`, () => amiOf(architecture)),
    describeImage: (id: string) => ask(id, () => amiOf(id === 'ami-untold' ? null : 'x86_64')),
    findDefaultSubnets: () => ask('subnets', () => state.subnets),
  } as unknown as Ec2;
  const budget = new CallBudget({ share: 1, now: () => state.now, start: { kind: 'full' } });
  const resolver = new ShapeResolver({
    ec2,
    budget,
    defaultAmi: 'ecs-al2023',
    allowedSubnets: [],
    allowedSecurityGroups: [],
    allowedProfiles: [],
    now: () => state.now,
    ...options,
  });
  const resolve = (spec: Partial<ShapeSpec> = {}) => resolver.resolve({ ...SPEC, ...spec });
  const amiIdOf = async (type = 't3.small'): Promise<string | undefined> => (await resolve()).amis.get(type)?.id;
  return { state, budget, resolve, amiIdOf };
}

describe('ShapeResolver', () => {
  it('asks for the newest image and the default subnets, once an hour', async () => {
    const { state, resolve, amiIdOf } = world();
    expect(await resolve()).toEqual({
      obstacle: null,
      amis: new Map([['t3.small', { id: 'ami-new', rootDevice: '/dev/xvda', rootGiB: 30, architecture: 'x86_64' }]]),
      subnetIds: ['subnet-a', 'subnet-b'],
      securityGroupIds: [],
    });
    state.image = 'ami-newer';
    expect(await amiIdOf()).toBe('ami-new');
    expect(state.asked).toEqual(['image x86_64', 'subnets']);
    state.now = 3_600_000;
    expect(await amiIdOf()).toBe('ami-newer');
    state.image = 'ami-newest';
    state.now = 7_199_999;
    expect(await amiIdOf()).toBe('ami-newer');
    state.now = 7_200_000;
    expect(await amiIdOf()).toBe('ami-newest');
  });

  it('goes on with what it knows when EC2 does not answer', async () => {
    const { state, resolve } = world();
    await resolve();
    state.now = 3_600_000;
    state.failure = new Error('socket hang up');
    expect(await resolve()).toMatchObject({ obstacle: null, amis: new Map([['t3.small', { id: 'ami-new' }]]) });
  });

  it('does not ask again for every shape of a pass when EC2 does not answer', async () => {
    const { state, resolve } = world();
    state.failure = new Error('socket hang up');
    for (let shape = 0; shape < 100; shape += 1) {
      expect((await resolve()).obstacle).toMatchObject({ reason: 'ec2-unreachable', isFinal: false });
    }
    state.failure = null;
    state.now = 4_999;
    expect((await resolve()).obstacle).toMatchObject({ reason: 'ec2-unreachable' });
    expect(state.asked).toEqual(['image x86_64']);
    state.now = 5_000;
    expect((await resolve()).obstacle).toBeNull();
  });

  it('asks once a minute whether what it knows is still so', async () => {
    const { state, resolve, amiIdOf } = world();
    await resolve();
    state.asked = [];
    state.failure = new Error('socket hang up');
    for (state.now = 3_600_000; state.now < 3_720_000; state.now += 1_000) await resolve();
    expect(state.asked).toEqual(['image x86_64', 'subnets', 'image x86_64', 'subnets']);
    state.failure = null;
    state.image = 'ami-newer';
    expect(await amiIdOf()).toBe('ami-newer');
  });

  it('refuses a disk that is smaller than that of the AMI, and names the least', async () => {
    const { state, resolve } = world();
    expect((await resolve({ diskGiB: 29 })).obstacle).toEqual({
      reason: 'disk-too-small',
      message: 'instance.diskGiB is 29, and must be at least 30, the size of the root disk of ami-new',
      isFinal: true,
    });
    expect((await resolve({ diskGiB: 30 })).obstacle).toBeNull();
    // With a small AMI a small disk is enough.
    state.image = 'ami-1';
    state.rootGiB = 8;
    expect((await resolve({ imageId: 'ami-1', diskGiB: 8 })).obstacle).toBeNull();
  });

  it('asks of an AMI that is named what its root device is called, and nothing else', async () => {
    const { state, resolve } = world({ allowedSubnets: ['subnet-9'] });
    state.image = 'ami-1';
    expect(await resolve({ imageId: 'ami-1', subnetIds: ['subnet-9'] })).toMatchObject({
      amis: new Map([['t3.small', { id: 'ami-1', rootDevice: '/dev/xvda', rootGiB: 30 }]]),
      subnetIds: ['subnet-9'],
    });
    expect(state.asked).toEqual(['ami-1']);
    state.image = null;
    expect((await resolve({ imageId: 'ami-2', subnetIds: ['subnet-9'] })).obstacle).toEqual({
      reason: 'image-not-found',
      message: 'ami-2 does not exist here',
      isFinal: true,
    });
  });

  it.each<[operators: string[], jobs: string[], subnetIds: string[]]>([
    [['subnet-8', 'subnet-9'], [], ['subnet-8', 'subnet-9']],
    [['subnet-8'], [], ['subnet-8']],
    [['subnet-8', 'subnet-9'], ['subnet-9'], ['subnet-9']],
    [[], [], ['subnet-a', 'subnet-b']],
  ])(
    'takes the operator’s subnets where a job names none, and EC2’s where neither does: %j, %j',
    async (allowedSubnets, jobs, subnetIds) => {
      const { resolve } = world({ allowedSubnets });
      expect((await resolve({ subnetIds: jobs })).subnetIds).toEqual(subnetIds);
    },
  );

  it('refuses for good where the region has no default subnets, and asks again the next time', async () => {
    const { state, resolve } = world();
    state.subnets = [];
    expect(await resolve()).toMatchObject({ obstacle: { reason: 'no-subnet', isFinal: true }, subnetIds: [] });
    state.subnets = ['subnet-a'];
    expect(await resolve()).toMatchObject({ obstacle: null, subnetIds: ['subnet-a'] });
  });

  it('takes the operator’s security groups where a job names none, as many as EC2 takes', async () => {
    const groups = ['sg-1', 'sg-2', 'sg-3', 'sg-4', 'sg-5', 'sg-6'];
    const { resolve } = world({ allowedSecurityGroups: groups });
    expect(await resolve()).toMatchObject({ securityGroupIds: groups.slice(0, 5) });
    expect(await resolve({ securityGroupIds: ['sg-6'] })).toMatchObject({ securityGroupIds: ['sg-6'] });
  });

  it.each<[string, Partial<ShapeSpec>, string]>([
    ['subnet', { subnetIds: ['subnet-1'] }, 'subnet-not-allowed'],
    ['security group', { securityGroupIds: ['sg-1'] }, 'security-group-not-allowed'],
    ['profile', { profile: 'admin' }, 'profile-not-allowed'],
  ])('refuses a %s the operator does not allow, for good and without asking', async (_, spec, reason) => {
    const { state, resolve } = world();
    expect((await resolve(spec)).obstacle).toMatchObject({ reason, isFinal: true });
    expect(state.asked).toEqual([]);
  });

  it('says for good that there is no such image, and asks again the next time', async () => {
    const { state, resolve } = world();
    state.image = null;
    expect((await resolve()).obstacle).toEqual({
      reason: 'image-not-found',
      message: 'Amazon offers no image of that kind for x86_64 here',
      isFinal: true,
    });
    state.image = 'ami-new';
    expect((await resolve()).obstacle).toBeNull();
  });

  it('follows the architecture of each type', async () => {
    const { state, resolve } = world();
    const { amis } = await resolve({ types: ['t4g.small', 't3.small', 'a1.medium'] });
    expect([...amis].map(([type, { architecture }]) => [type, architecture])).toEqual([
      ['t4g.small', 'arm64'],
      ['a1.medium', 'arm64'],
      ['t3.small', 'x86_64'],
    ]);
    expect(state.asked).toEqual(['image arm64', 'image x86_64', 'subnets']);
    expect((await resolve({ imageId: 'ecs-al2023-arm64' })).amis.get('t3.small')).toMatchObject({
      architecture: 'arm64',
    });
  });

  it('takes what stood in place of a pinned AMI for types of another architecture', async () => {
    const { resolve } = world();
    const spec = { imageId: 'ami-1', types: ['t3.small', 't4g.small'] };
    const architectures = async (wishes: Partial<ShapeSpec>) =>
      [...(await resolve(wishes)).amis.values()].map(({ architecture }) => architecture);
    expect(await architectures({ ...spec, unpinnedImageId: null })).toEqual(['x86_64', 'arm64']);
    // An AMI that the job names is used for every type: EC2 refuses a wrong one.
    expect(await architectures(spec)).toEqual(['x86_64', 'x86_64']);
  });

  it('keeps to a pinned AMI whose architecture EC2 does not tell, and to one that is gone', async () => {
    const { state, resolve } = world();
    state.image = 'ami-untold';
    const untold = await resolve({ imageId: 'ami-untold', unpinnedImageId: null });
    expect([untold.obstacle, untold.amis.get('t3.small')?.architecture]).toEqual([null, null]);
    expect(state.asked).toEqual(['ami-untold', 'subnets']);
    state.image = null;
    const { obstacle } = await resolve({ imageId: 'ami-gone', unpinnedImageId: 'ecs-al2023' });
    expect(obstacle).toMatchObject({ message: 'ami-gone does not exist here' });
  });

  it.each<[string, types: string[], failing: string | null, failure: string, reason: string]>([
    [
      'may pass, where the other type is refused',
      ['t3.small', 't4g.small'],
      'image x86_64',
      'InternalError',
      'ec2-unavailable',
    ],
    ['may pass, whichever type it is', ['t3.small', 't4g.small'], 'image arm64', 'InternalError', 'ec2-unavailable'],
    [
      'is of the first type, where all are refused',
      ['t3.small', 't4g.small'],
      'image arm64',
      'UnauthorizedOperation',
      'image-not-found',
    ],
    [
      'is of the first type, where all are refused',
      ['t4g.small', 't3.small'],
      'image arm64',
      'UnauthorizedOperation',
      'permission-denied',
    ],
  ])('tells of an obstacle that %s', async (_, types, failing, failure, reason) => {
    const { state, resolve } = world();
    Object.assign(state, { image: null, failing, failure: Object.assign(new Error('no'), { name: failure }) });
    expect((await resolve({ types })).obstacle).toMatchObject({ reason });
  });

  it('tells of the first type’s obstacle where all may pass', async () => {
    const { state, resolve } = world();
    state.failure = Object.assign(new Error('no'), { name: 'InternalError' });
    state.failing = 'image x86_64';
    await resolve();
    state.failing = null;
    state.failure = Object.assign(new Error('no'), { name: 'OptInRequired' });
    // What failed is not asked for again at once.
    expect((await resolve({ types: ['t3.small', 't4g.small'] })).obstacle).toMatchObject({ reason: 'ec2-unavailable' });
    expect((await resolve({ types: ['t4g.small', 't3.small'] })).obstacle).toMatchObject({
      reason: 'account-not-enabled',
    });
  });

  it('leaves out the types there is no AMI for, as long as there is one for others', async () => {
    const failure = Object.assign(new Error('no'), { name: 'InternalError' });
    const { state, resolve } = world();
    await resolve();
    state.failure = failure;
    const types = ['t4g.small', 't3.small'];
    expect(await resolve({ types })).toMatchObject({
      obstacle: null,
      amis: new Map([['t3.small', { id: 'ami-new' }]]),
    });
    expect((await resolve({ types: ['t4g.small'] })).obstacle).toMatchObject({ reason: 'ec2-unavailable' });
  });

  it('asks once a second where EC2 refuses, however many shapes there are', async () => {
    const { state, resolve } = world();
    state.failure = Object.assign(new Error('no'), { name: 'UnauthorizedOperation' });
    for (let shape = 0; shape < 100; shape += 1) await resolve();
    expect(state.asked).toEqual(['image x86_64']);
    state.failure = null;
    state.now = 1_000;
    expect((await resolve()).obstacle).toBeNull();
  });

  it.each([
    ['UnauthorizedOperation', 'permission-denied', true],
    ['OptInRequired', 'account-not-enabled', false],
    ['RequestLimitExceeded', 'ec2-throttled', false],
    ['InternalError', 'ec2-unavailable', false],
  ])('tells %s as %s', async (code, reason, isFinal) => {
    const { state, resolve } = world();
    state.failure = Object.assign(new Error('no'), { name: code });
    expect((await resolve()).obstacle).toMatchObject({ reason, isFinal });
  });

  it.each([1, 500])('asks nothing while our share of EC2’s quota is spent for %d ms more', async (waitMs) => {
    const budget = { take: () => waitMs, recordFailure: () => undefined } as unknown as CallBudget;
    const { state, resolve } = world({ budget });
    expect((await resolve()).obstacle).toMatchObject({ reason: 'quota-share-spent', isFinal: false });
    expect(state.asked).toEqual([]);
  });

  it('calls EC2 less often after EC2 has throttled a look-up', async () => {
    const { state, budget, resolve } = world();
    state.failure = Object.assign(new Error('no'), { name: 'RequestLimitExceeded' });
    await resolve();
    expect(budget.take('DescribeImages')).toBeGreaterThan(0);
    expect(budget.take('DescribeSubnets')).toBe(0);
  });

  it('takes a fault of our own for none of EC2’s, and asks again the next time', async () => {
    const { state, resolve } = world();
    state.failure = new TypeError('a fault of ours');
    await expect(resolve()).rejects.toBe(state.failure);
    state.failure = null;
    expect((await resolve()).obstacle).toBeNull();
  });
});
