import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DescribeInstancesCommand, StopInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { createBuckets } from './buckets.ts';
import { startTestCloud, until, type TestCloud } from './test-support.ts';

let test: TestCloud;
beforeEach(async () => {
  test = await startTestCloud();
});
afterEach(async () => test.stop());

const stateOf = (id: string) => test.cloud.instance(id)?.state;
const control = async (path: string, body?: unknown) => {
  const headers = { authorization: `Bearer ${test.cloud.keys.controlToken}` };
  const post = { method: 'POST', headers, body: JSON.stringify(body) };
  const answer = await fetch(`${test.cloud.endpoint}/_local/${path}`, body === undefined ? { headers } : post);
  return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
};

describe('quotas', () => {
  it('refuse RunInstances beyond five at once and two a second, as EC2 does', async () => {
    // Twelve and not six: a busy machine may take the half second that gives one more token.
    const calls = await Promise.allSettled(Array.from({ length: 12 }, async () => test.run()));
    const refused = calls.filter((call) => call.status === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(1);
    for (const { reason } of refused) {
      const { name, $fault, $metadata } = reason as { name: string; $fault: string; $metadata: object };
      expect({ name, $fault, ...$metadata }).toMatchObject({
        name: 'RequestLimitExceeded',
        $fault: 'server',
        httpStatusCode: 503,
      });
    }
    expect(test.cloud.ledger.instances()).toHaveLength(12 - refused.length);
  });

  it('can be switched off', async () => {
    await test.stop();
    test = await startTestCloud({ quotas: 'none' });
    await Promise.all(Array.from({ length: 20 }, async () => test.run()));
    expect(test.cloud.ledger.instances()).toHaveLength(20);
  });

  it('count instances too: 1,000 at once, then two a second', () => {
    let now = 0;
    const buckets = createBuckets('ec2', () => now);
    const launch = (count: number) => () => buckets.takeResources('RunInstances', count);
    launch(999)();
    expect(launch(2)).toThrow('Request limit exceeded');
    launch(1)();
    now += 999;
    expect(launch(2)).toThrow('Request limit exceeded');
    now += 1;
    launch(2)();
  });

  it('refill per second and never beyond the bucket', () => {
    let now = 0;
    const buckets = createBuckets('ec2', () => now);
    const call = () => buckets.takeCall('RunInstances', false);
    for (let times = 0; times < 5; times += 1) call();
    expect(call).toThrow();
    now += 1000;
    call();
    call();
    expect(call).toThrow();
    now += 3_600_000;
    for (let times = 0; times < 5; times += 1) call();
    expect(call).toThrow();
  });

  it('give describes without filter and page a smaller bucket', () => {
    const buckets = createBuckets('ec2', () => 0);
    for (let times = 0; times < 50; times += 1) buckets.takeCall('DescribeInstances', false);
    expect(() => buckets.takeCall('DescribeInstances', false)).toThrow();
    for (let times = 0; times < 100; times += 1) buckets.takeCall('DescribeInstances', true);
    expect(() => buckets.takeCall('DescribeInstances', true)).toThrow();
  });
});

describe('capacity', () => {
  it('runs out by type, zone and market, and comes back with a termination', async () => {
    test.cloud.faults.setCapacity({ type: 't3.micro', subnet: 'us-west-2a', market: 'on-demand' }, 1);
    const inZone = { Placement: { AvailabilityZone: 'us-west-2a' } };
    const [id = ''] = await test.run(inZone);
    const error = await test.run(inZone).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ name: 'InsufficientInstanceCapacity', $metadata: { httpStatusCode: 500 } });
    expect((error as Error).message).toContain('us-west-2b, us-west-2c');
    await expect(test.run({ ...inZone, InstanceMarketOptions: { MarketType: 'spot' } })).resolves.toHaveLength(1);
    await expect(test.run({ Placement: { AvailabilityZone: 'us-west-2b' } })).resolves.toHaveLength(1);

    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await until(() => stateOf(id) === 'terminated', 'terminated');
    await expect(test.run(inZone)).resolves.toHaveLength(1);
  });

  it('is looked for in every zone when none is named', async () => {
    test.cloud.faults.setCapacity({ subnet: 'us-west-2a' }, 0);
    test.cloud.faults.setCapacity({ subnet: 'us-west-2c' }, 0);
    const [id = ''] = await test.run();
    expect(test.cloud.instance(id)?.spec.availabilityZone).toBe('us-west-2b');
  });

  it('does not make a call partial below MinCount', async () => {
    test.cloud.faults.setCapacity({}, 3);
    await expect(test.run({ MinCount: 4, MaxCount: 8 })).rejects.toMatchObject({
      name: 'InsufficientInstanceCapacity',
    });
    expect(test.cloud.ledger.instances()).toEqual([]);
  });

  it('ends with the addresses of a subnet', async () => {
    const [first = ''] = await test.run();
    const subnet = test.cloud.instance(first)?.spec.subnetId ?? '';
    test.cloud.faults.setFreeAddresses(subnet, 0);
    await expect(test.run({ SubnetId: subnet })).rejects.toMatchObject({ name: 'InsufficientFreeAddressesInSubnet' });
  });
});

describe('offerings', () => {
  const inZone = (AvailabilityZone: string) => ({ Placement: { AvailabilityZone } });

  it('of a zone are by type or family, and refused elsewhere in EC2’s words', async () => {
    test.cloud.faults.setOfferings('us-west-2a', ['t3.*']);
    test.cloud.faults.setOfferings('us-west-2c', ['t3.small', 'm5.*']);
    await expect(test.run(inZone('us-west-2a'))).resolves.toHaveLength(1);
    await expect(test.run({ ...inZone('us-west-2c'), InstanceType: 't3.small' })).resolves.toHaveLength(1);
    const error = await test.run(inZone('us-west-2c')).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      name: 'Unsupported',
      message:
        'Your requested instance type (t3.micro) is not supported in your requested Availability Zone (us-west-2c). Please retry your request by not specifying an Availability Zone or choosing us-west-2a, us-west-2b.',
      $metadata: { httpStatusCode: 400 },
    });
  });

  it('decide where a launch without a zone goes, and what a full zone recommends', async () => {
    await test.stop();
    test = await startTestCloud({ quotas: 'none' });
    test.cloud.faults.setOfferings('us-west-2a', []);
    test.cloud.faults.setOfferings('us-west-2b', ['t3.small']);
    for (let times = 0; times < 3; times += 1) {
      const [id = ''] = await test.run();
      expect(test.cloud.instance(id)?.spec.availabilityZone).toBe('us-west-2c');
    }
    test.cloud.faults.setCapacity({ subnet: 'us-west-2c' }, 0);
    await expect(test.run(inZone('us-west-2c'))).rejects.toThrow(/additional capacity\.$/);
    test.cloud.faults.setOfferings('us-west-2c', []);
    await expect(test.run()).rejects.toMatchObject({
      name: 'Unsupported',
      message: expect.stringMatching(/^The requested/),
    });
    test.cloud.faults.setOfferings('us-west-2a');
    await expect(test.run()).resolves.toHaveLength(1);
  });
});

describe('faults', () => {
  it('fail the next calls before they take effect', async () => {
    test.cloud.faults.failNext('RunInstances', { code: 'InternalError' }, 2);
    await expect(test.run()).rejects.toMatchObject({ name: 'InternalError', $metadata: { httpStatusCode: 500 } });
    await expect(test.run()).rejects.toMatchObject({ name: 'InternalError' });
    expect(test.cloud.ledger.instances()).toEqual([]);
    await expect(test.run()).resolves.toHaveLength(1);
    expect(test.cloud.ledger.calls('RunInstances').map(({ outcome }) => outcome)).toEqual([
      'InternalError',
      'InternalError',
      'ok',
    ]);
  });

  it('lose an answer after the call took effect; the token finds what it made', async () => {
    test.cloud.faults.loseAnswer('RunInstances');
    const lost = await test.run({ ClientToken: 'lost' }).catch((error: unknown) => error);
    expect(lost).toBeInstanceOf(Error);
    expect(lost).not.toHaveProperty('$fault', 'client');
    const [id] = await test.run({ ClientToken: 'lost' });
    expect(test.cloud.ledger.instances().map((instance) => instance.id)).toEqual([id]);
    expect(test.cloud.ledger.calls('RunInstances')).toMatchObject([
      { outcome: 'answer-lost', clientToken: 'lost', instanceIds: [id] },
      { outcome: 'ok', clientToken: 'lost', instanceIds: [id] },
    ]);
  });

  it('throttle an action for a while and no other', async () => {
    test.cloud.faults.throttle('DescribeInstances', 60_000);
    const describeAll = async () => test.ec2.send(new DescribeInstancesCommand({}));
    await expect(describeAll()).rejects.toMatchObject({ name: 'RequestLimitExceeded' });
    await expect(test.run()).resolves.toHaveLength(1);
    test.cloud.faults.clear();
    await expect(describeAll()).resolves.toHaveProperty('Reservations');
  });

  it('answer late what took effect at once', async () => {
    test.cloud.faults.delayAnswer('RunInstances', 500);
    let isAnswered = false;
    const running = test.run().finally(() => {
      isAnswered = true;
    });
    await until(() => test.cloud.ledger.instances().length === 1, 'launched');
    expect(isAnswered).toBe(false);
    await running;
  });

  it.each([
    ['host', 'Server.InternalError'],
    ['hand', 'Client.UserInitiatedShutdown'],
  ] as const)('kill an instance by %s', async (by, reason) => {
    const [id = ''] = await test.run();
    await test.runtime.booted(id);
    test.cloud.faults.kill(id, by);
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.cloud.instance(id)?.stateReason?.code).toBe(reason);
    expect(test.runtime.halts).toEqual([{ id, how: 'kill' }]);
  });

  it('stop and reboot an instance by hand', async () => {
    const [id = ''] = await test.run();
    await test.runtime.booted(id);
    test.cloud.faults.reboot(id);
    await until(() => test.cloud.instance(id)?.bootCount === 2, 'rebooted');
    expect(stateOf(id)).toBe('running');
    test.cloud.faults.stop(id);
    await until(() => stateOf(id) === 'stopped', 'stopped');
    expect(test.cloud.instance(id)?.stateReason?.code).toBe('Client.UserInitiatedShutdown');
    expect(test.runtime.halts.map(({ how }) => how)).toEqual(['reboot', 'stop']);
  });

  it('interrupt a spot instance after its notice', async () => {
    const [id = ''] = await test.run({ InstanceMarketOptions: { MarketType: 'spot' } });
    await test.runtime.booted(id);
    await expect(test.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))).rejects.toMatchObject({
      name: 'UnsupportedOperation',
    });
    test.cloud.faults.spotNotice(id, 0.1);
    expect(stateOf(id)).toBe('running');
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.cloud.instance(id)?.stateReason?.code).toBe('Server.SpotInstanceTermination');
  });

  it('end what was launched before it runs, for as many calls as asked for', async () => {
    test.cloud.faults.endAtLaunch('Client.InternalError', 1);
    const [id = ''] = await test.run();
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.cloud.instance(id)?.stateReason).toEqual({
      code: 'Client.InternalError',
      message: 'Client.InternalError: Client error on launch',
    });
    expect(test.cloud.instance(id)?.history.map(({ state }) => state)).toEqual(['pending', 'terminated']);
    const [next = ''] = await test.run();
    await test.runtime.booted(next);
    expect(test.runtime.boots.map((boot) => boot.id)).toEqual([next]);
  });

  it('refuse an action that the caller may not do, in EC2’s words', async () => {
    test.cloud.faults.denyAction('RunInstances');
    await expect(test.run()).rejects.toMatchObject({
      name: 'UnauthorizedOperation',
      $metadata: { httpStatusCode: 403 },
      message: expect.stringMatching(
        /^You are not authorized .* arn:aws:sts::.* Encoded authorization failure message: /,
      ),
    });
    expect(test.cloud.ledger.instances()).toEqual([]);
    test.cloud.faults.clear();
    await expect(test.run()).resolves.toHaveLength(1);
  });
});

describe('the control port', () => {
  it('takes faults and gives the ledger back', async () => {
    const fault = { fault: 'failNext', action: 'RunInstances', code: 'Unsupported', message: 'not here' };
    await expect(control('faults', fault)).resolves.toMatchObject({ status: 200 });
    await expect(test.run()).rejects.toMatchObject({ name: 'Unsupported', message: 'not here' });
    const zone = 'us-west-2a';
    await expect(control('faults', { fault: 'setOfferings', zone, types: ['m5.*'] })).resolves.toHaveProperty(
      'status',
      200,
    );
    await expect(test.run({ Placement: { AvailabilityZone: zone } })).rejects.toMatchObject({ name: 'Unsupported' });
    await expect(control('faults', { fault: 'setOfferings', zone })).resolves.toHaveProperty('status', 200);
    const [id] = await test.run({ UserData: Buffer.from('a secret').toString('base64') });
    const { json } = await control('ledger?action=RunInstances');
    expect(json).toMatchObject({
      instances: [{ id, hasUserData: true }],
      calls: [
        { action: 'RunInstances', outcome: 'Unsupported', status: 400 },
        { action: 'RunInstances', outcome: 'Unsupported', status: 400 },
        { outcome: 'ok', instanceIds: [id] },
      ],
    });
    const { json: instances } = await control('instances');
    expect(instances).toMatchObject([{ id }]);
    expect(JSON.stringify([json, instances])).not.toContain(Buffer.from('a secret').toString('base64'));
  });

  it.each([
    [{ fault: 'explode' }, "there is no 'explode'"],
    [{ fault: 'throttle', action: 'RunInstances' }, 'ms: must be a number'],
    [{ fault: 'setCapacity', market: 'black' }, 'market: must be'],
    [{ fault: 'endAtLaunch' }, 'reason: must be a string'],
    [{ fault: 'denyAction' }, 'action: must be a string'],
    [{ fault: 'setOfferings', zone: 'us-west-2a', types: 't3.*' }, 'types: must be a list of strings'],
    [{ fault: 'setOfferings', types: ['t3.*'] }, 'zone: must be a string'],
    [{ fault: 'kill', id: 'i-0' }, 'no instance i-0'],
    [{ fault: 'reboot', id: 'i-0' }, 'no instance i-0'],
    [{ fault: 'killAgent', id: 'i-0' }, 'no instance i-0'],
  ])('refuses %j', async (body, message) => {
    const { status, json } = await control('faults', body);
    expect(status).toBe(400);
    expect(json.error).toContain(message);
  });
});
