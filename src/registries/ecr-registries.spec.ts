import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import type { EcrToken } from '../aws/ecr.js';
import { EcrRegistries } from './ecr-registries.js';

const HOUR_MS = 3_600_000;
const hostOf = (account: string, region = 'us-west-2') => `${account}.dkr.ecr.${region}.amazonaws.com`;
const OWN = hostOf('123456789012');
const OTHER = hostOf('999999999999');

beforeAll(() => {
  Logger.overrideLogger(false);
});
afterAll(() => {
  Logger.overrideLogger(true);
});

/** ECR's answers in a row: a text is a password that is good for twelve hours, a kind an error. The last one stays. */
function setUp(answers: (string | { kind: AwsErrorKind })[], allowed: string[] = ['own']) {
  const requested: string[] = [];
  let now = 0;
  const ecr = {
    getToken: (region: string): Promise<EcrToken> => {
      requested.push(region);
      const answer = (answers.length > 1 ? answers.shift() : answers[0]) ?? '';
      if (typeof answer !== 'string') {
        const facts = { action: 'x', code: 'x', reason: 'x', message: 'x' };
        return Promise.reject(new AwsError({ ...facts, kind: answer.kind }));
      }
      const expiresAt = new Date(now + 12 * HOUR_MS);
      return Promise.resolve({ username: 'AWS', password: answer, host: hostOf('123456789012', region), expiresAt });
    },
  };
  const registries = new EcrRegistries({ region: 'us-west-2', ecrRegistries: allowed }, ecr, () => now);
  const passwordOf = async (host: string): Promise<unknown> => {
    const auth = await registries.authOf(host);
    if (auth === undefined) return undefined;
    return (JSON.parse(Buffer.from(auth, 'base64url').toString()) as { password: string }).password;
  };
  return { registries, passwordOf, requested, wait: (ms: number) => (now += ms) };
}

describe('a registry of ECR', () => {
  it('is logged in to with a token for its host, as Docker wants it', async () => {
    const { registries } = setUp(['p']);
    const auth = JSON.parse(Buffer.from((await registries.authOf(OWN)) ?? '', 'base64url').toString()) as unknown;
    expect(auth).toEqual({ username: 'AWS', password: 'p', serveraddress: OWN });
  });

  it.each<[string, string, string[], string | undefined, string[]]>([
    ['our own account', OWN, ['own'], 'p', ['us-west-2']],
    ['another account', OTHER, ['own'], undefined, ['us-west-2']],
    ['another account that is listed', OTHER, ['own', OTHER], 'p', ['us-west-2']],
    ['our own account in another region', hostOf('123456789012', 'eu-west-1'), ['own'], undefined, []],
    [
      'another region that is listed',
      hostOf('1'.repeat(12), 'eu-west-1'),
      [hostOf('1'.repeat(12), 'eu-west-1')],
      'p',
      ['eu-west-1'],
    ],
    ...(
      [
        ['cn-north-1', '1'.repeat(12) + '.dkr.ecr.cn-north-1.amazonaws.com.cn'],
        ['us-gov-west-1', '1'.repeat(12) + '.dkr.ecr-fips.us-gov-west-1.amazonaws.com'],
        ['eusc-de-east-1', '1'.repeat(12) + '.dkr.ecr.eusc-de-east-1.amazonaws.eu'],
        ['eu-west-1', '1'.repeat(12) + '.dkr-ecr.eu-west-1.on.aws'],
      ] as const
    ).map(([region, host]): [string, string, string[], string, string[]] => [region, host, [host], 'p', [region]]),
    ['our own account, by IPv6', '123456789012.dkr-ecr.us-west-2.on.aws', ['own'], 'p', ['us-west-2']],
    ['a host that nearly looks like one', '123456789012.dkr-ecr.us-west-2.on.aws.example', ['own'], undefined, []],
    ['our own account where none is wanted', OWN, ['none'], undefined, []],
    ['no registry of ECR', 'registry.example.com', ['own'], undefined, []],
    ['a host that only looks like one', `${OWN}.example.com`, ['own'], undefined, []],
    ['a host that ends like one', `x${OWN}`, ['own'], undefined, []],
  ])('of %s (%s)', async (_what, host, allowed, password, regions) => {
    const { passwordOf, requested } = setUp(['p'], allowed);
    expect(await passwordOf(host)).toBe(password);
    expect(requested).toEqual(regions);
  });

  it('is one question for all who pull at once, and until an hour before the token ends', async () => {
    const { passwordOf, requested, wait } = setUp(['one', 'two']);
    expect(await Promise.all([OWN, OWN, OWN].map(passwordOf))).toEqual(['one', 'one', 'one']);
    wait(10.9 * HOUR_MS);
    expect(await passwordOf(OWN)).toBe('one');
    expect(requested).toHaveLength(1);
    wait(0.2 * HOUR_MS);
    expect(await passwordOf(OWN)).toBe('two');
    expect(requested).toHaveLength(2);
  });

  it.each<AwsErrorKind>(['throttled', 'unknown-outcome'])('is tried again later when AWS fails (%s)', async (kind) => {
    const { passwordOf, requested, wait } = setUp([{ kind }, 'one']);
    await expect(passwordOf(OWN)).rejects.toMatchObject({ kind });
    await expect(passwordOf(OWN)).rejects.toMatchObject({ kind });
    expect(requested).toHaveLength(1);
    wait(10_001);
    expect(await passwordOf(OWN)).toBe('one');
  });

  it('is pulled from without a login where our role may have none: Docker says what is wrong', async () => {
    const { passwordOf, requested, wait } = setUp([{ kind: 'permission' }, 'one']);
    expect(await passwordOf(OWN)).toBeUndefined();
    expect(await passwordOf(OWN)).toBeUndefined();
    expect(requested).toHaveLength(1);
    wait(10_001);
    expect(await passwordOf(OWN)).toBe('one');
  });

  it('is pulled from with the older token as long as it is good, when there is no newer one to be had', async () => {
    const { passwordOf, wait } = setUp(['one', { kind: 'unknown-outcome' }]);
    expect(await passwordOf(OWN)).toBe('one');
    wait(11.5 * HOUR_MS);
    expect(await passwordOf(OWN)).toBe('one');
    wait(10_001);
    expect(await passwordOf(OWN)).toBe('one');
    wait(0.5 * HOUR_MS);
    await expect(passwordOf(OWN)).rejects.toMatchObject({ kind: 'unknown-outcome' });
  });
});
