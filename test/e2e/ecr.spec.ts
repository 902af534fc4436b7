import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { type Deployment, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

const ACCOUNT = '000000000000';
const OWN = `${ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com`;
/** A region of its own has a token of its own. */
const ELSEWHERE = `${ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com`;
const ACTION = 'GetAuthorizationToken';

describe('images of ECR', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      cloud: { accountId: ACCOUNT },
      env: { ECR_REGISTRIES: `own,${ELSEWHERE}` },
    });
  }, 120_000);
  afterAll(() => stack.stop(), 60_000);

  /** A job with this image, once its deployment is settled. */
  async function settled(name: string, image: string): Promise<Deployment> {
    await stack.call('POST', '/v1/jobs', { name, image, ...WEB });
    let deployment: Deployment | undefined;
    await until(async () => {
      deployment = await stack.call<Deployment>('GET', `/v1/jobs/${name}/deployments/1?wait=30`);
      return !['queued', 'deploying'].includes(deployment.status);
    }, 90_000);
    return deployment!;
  }
  const calls = () => stack.cloud.ledger.calls(ACTION).map(({ outcome }) => outcome);

  it('wait for a token while AWS has none to give, and are pulled then, with one call for all', async () => {
    // Both of the SDK's own tries.
    stack.cloud.faults.failNext(ACTION, { code: 'ServerException', status: 500 }, 2);
    const [first, second] = await Promise.all([settled('web', `${OWN}/web:1`), settled('other', `${OWN}/other:1`)]);
    expect([first.status, second.status]).toEqual(['active', 'active']);
    expect(calls()).toEqual(['ServerException', 'ServerException', 'ok']);
  }, 180_000);

  it('of another account get no token of ours', async () => {
    const foreign = await settled('foreign', '999999999999.dkr.ecr.us-west-2.amazonaws.com/app:1');
    expect(foreign).toMatchObject({ status: 'failed', reason: 'image-unauthorized' });
  }, 120_000);

  it('are pulled with what an admin has set, where there is such a thing', async () => {
    await stack.call('PUT', `/v1/registries/${OWN}`, { username: 'robot', password: 'wrong' });
    expect(await settled('by-hand', `${OWN}/web:2`)).toMatchObject({ reason: 'image-unauthorized' });
    await stack.call('DELETE', `/v1/registries/${OWN}`);
    expect(await settled('by-role', `${OWN}/web:2`)).toMatchObject({ status: 'active' });
    expect(calls().filter((outcome) => outcome === 'ok')).toHaveLength(1);
  }, 120_000);

  it('fail at once, with the registry’s own words, where our role may have no token', async () => {
    stack.cloud.faults.failNext(ACTION, { code: 'AccessDeniedException' });
    const refused = await settled('refused', `${ELSEWHERE}/team/app:1`);
    expect(refused).toMatchObject({ status: 'failed', reason: 'image-unauthorized' });
    expect(refused.message).toContain('no basic auth credentials');
    expect(stack.logs()).toContain('no token of ECR');
  }, 120_000);
});
