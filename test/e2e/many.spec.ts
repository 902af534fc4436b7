import { afterEach, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, settled } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

const DEFINITION = { kind: 'service', image: 'hello-web:1', rollout: { stableSeconds: 0, deadlineSeconds: 300 } };

describe('many deployments at once', () => {
  let stack: Stack;
  afterEach(() => stack.stop(), 60_000);

  it('100 jobs under EC2’s own quotas: all active, in few RunInstances calls', async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), cloud: { quotas: 'ec2' } });
    const names = Array.from({ length: 100 }, (_, n) => `job-${n}`);
    const begun = performance.now();
    await Promise.all(names.map((name) => stack.call('POST', '/v1/jobs', { name, ...DEFINITION })));
    const postingSeconds = (performance.now() - begun) / 1000;
    const deployments = await Promise.all(names.map((name) => settled(stack, name, 1)));
    expect(deployments.filter(({ status }) => status === 'active')).toHaveLength(100);
    // One at once, one a second while jobs still came in, and one for the rest.
    expect(stack.cloud.ledger.calls('RunInstances').length).toBeLessThanOrEqual(2 + Math.floor(postingSeconds));
    expect(stack.cloud.ledger.instances()).toHaveLength(100);
  }, 240_000);

  it('50 deployments shared by two processes, one killed and started again: all active, one instance each', async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), replicas: 2, cloud: { quotas: 'none' } });
    const names = Array.from({ length: 50 }, (_, n) => `job-${n}`);
    await Promise.all(names.map((name) => stack.call('POST', '/v1/jobs', { name, ...DEFINITION })));
    await until(() => stack.cloud.ledger.instances().length > 0);
    await stack.kill(0);
    await stack.restart(0);
    const deployments = await Promise.all(names.map((name) => settled(stack, name, 1)));
    expect(deployments.filter(({ status }) => status === 'active')).toHaveLength(50);
    expect(new Set(deployments.map(({ instance }) => instance?.id)).size).toBe(50);
    await until(() => alive(stack).length === 50, 90_000);
  }, 240_000);
});
