import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type AwsErrorKind, KNOWN_CODES, toAwsError } from '../../src/aws/aws-error.ts';
import { type FleetWorld, SPEC, startFleetWorld } from '../support/fleet-world.ts';

/** Made by the SDK or on our side of the wire: no server answers them. */
const NOT_FROM_EC2 = ['AbortError', 'TimeoutError', 'CredentialsProviderError'];
/** Known by their beginning, or not at all: a client's fault is refused for good. */
const OTHERS = ['InvalidAMIID.NotFound', 'InvalidAMIID.Unavailable', 'AuthFailure.SomethingNew', 'SomethingNew'];
const CODES = [...KNOWN_CODES.filter((code) => !NOT_FROM_EC2.includes(code)), ...OTHERS];

/** As many as Jest plays tests at once: `maxConcurrency` in jest.config.js. */
const WORLDS = 3;

// Each error code EC2 has for RunInstances, and what becomes of one waiting attempt. Most of it is waiting: several at once,
// each in a world that it has for itself meanwhile.
describe('RunInstances refused with', () => {
  const idle: FleetWorld[] = [];
  let diskGiB = 30;
  beforeAll(async () => {
    idle.push(...(await Promise.all(Array.from({ length: WORLDS }, () => startFleetWorld({ quotas: 'none' })))));
    // Not about budgets: a hundred launches would take a minute of them.
    for (const world of idle) world.fleet({ aws: { quotaShare: 1_000 } }).start();
  });
  afterAll(() => Promise.all(idle.map((world) => world.close())));

  it.concurrent.each(CODES.map((code) => [code, toAwsError('RunInstances', sdkError(code)).kind] as const))(
    '%s (%s)',
    async (code, kind) => {
      const world = idle.pop();
      if (!world) throw new Error('more tests are played at once than there are worlds');
      // A shape of its own, so that nothing is remembered from another code.
      diskGiB += 1;
      try {
        await refuse(world, code, kind, diskGiB);
      } finally {
        idle.push(world);
      }
    },
  );
});

async function refuse(world: FleetWorld, code: string, kind: AwsErrorKind, diskGiB: number): Promise<void> {
  const calls = () => world.cloud.ledger.calls('RunInstances');
  const verdict = (key: string) =>
    world.rows<{ reason: string; isFinal: boolean }>(
      'SELECT verdict_reason AS reason, verdict_is_final AS "isFinal" FROM shapes WHERE key = $1',
      [key],
    );
  const { reason } = toAwsError('RunInstances', sdkError(code));
  const earlier = { calls: calls().length, instances: world.cloud.ledger.instances().length };
  world.cloud.faults.failNext('RunInstances', { code });
  const key = await demandOne(world, { ...SPEC, types: ['t3.small', 't3.medium'], diskGiB });
  const launchesOf = () =>
    world.rows<Launch>(
      `SELECT id, status, failure, reason, instance_type AS type, subnet_id AS "subnetId" FROM launches
       WHERE shape_key = $1 ORDER BY created_at`,
      [key],
    );
  // An instance may register, and be assigned, before EC2's answer to its launch is written down.
  const served = () =>
    world.until(
      'it is served',
      async () => (await assignedOf(world, key)) === 1 && (await launchesOf()).at(-1)?.status === 'done',
    );
  const newCalls = () => calls().slice(earlier.calls);
  const end = FINAL.includes(reason) ? 'final' : ENDS[kind];
  if (end === 'repeated') {
    await served();
    const launches = await launchesOf();
    expect(launches).toMatchObject([{ status: 'done', failure: null }]);
    expect(newCalls().map(({ clientToken }) => clientToken)).toEqual([launches[0]!.id, launches[0]!.id]);
  } else if (end === 'elsewhere') {
    await served();
    const [refused, next] = await launchesOf();
    expect(refused).toMatchObject({ status: 'failed', failure: kind, reason });
    expect(next).toMatchObject({ status: 'done' });
    expect([next!.type, next!.subnetId]).not.toEqual([refused!.type, refused!.subnetId]);
  } else if (end === 'looked-up') {
    await world.until('it is unknown', async () => (await launchesOf())[0]?.failure === kind);
    await world.rows(
      `UPDATE launches SET called_at = called_at - interval '2 minutes', next_try_at = NULL WHERE status = 'unknown'`,
    );
    await served();
    expect(await launchesOf()).toMatchObject([{ status: 'failed', failure: kind, reason }, { status: 'done' }]);
    expect(new Set(newCalls().map(({ clientToken }) => clientToken)).size).toBe(2);
  } else if (end === 'waited-for') {
    await world.until('those who wait are told', async () => (await verdict(key))[0]?.reason === reason);
    expect(await verdict(key)).toEqual([{ reason, isFinal: false }]);
    expect(newCalls()).toHaveLength(1);
    await world.rows(
      `UPDATE shapes SET capacity = jsonb_set(capacity, '{failedOffers,0,until}', to_jsonb(clock_timestamp())),
         next_pass_at = clock_timestamp() WHERE key = $1`,
      [key],
    );
    await served();
    expect(await launchesOf()).toMatchObject([{ status: 'failed', failure: kind, reason }, { status: 'done' }]);
  } else {
    await world.until('the verdict has fallen', async () => (await verdict(key))[0]?.isFinal === true);
    expect(await verdict(key)).toEqual([{ reason, isFinal: true }]);
    expect(await launchesOf()).toMatchObject([{ status: 'failed', failure: kind, reason }]);
    expect(await assignedOf(world, key)).toBe(0);
    expect(newCalls()).toHaveLength(1);
  }
  const cost = world.cloud.ledger.instances().length - earlier.instances;
  expect(cost).toBe(end === 'final' ? 0 : 1);
}

async function demandOne(world: FleetWorld, spec: typeof SPEC): Promise<string> {
  const [attemptId = ''] = await world.demand(1, spec);
  const [attempt] = await world.rows<{ key: string }>('SELECT shape_key AS key FROM attempts WHERE id = $1', [
    attemptId,
  ]);
  return attempt!.key;
}

async function assignedOf(world: FleetWorld, key: string): Promise<number> {
  const rows = await world.rows(
    'SELECT 1 FROM assignments x JOIN attempts a ON a.id = x.attempt_id WHERE a.shape_key = $1',
    [key],
  );
  return rows.length;
}

function sdkError(name: string): Error {
  // The fault decides of codes we do not know; of those we know, the code alone.
  return Object.assign(new Error(), { name, $fault: 'client' });
}

type Launch = { id: string; status: string; failure: string | null; reason: string; type: string; subnetId: string };

/**
 * `repeated` with its own token; `elsewhere`: closed, and another offer asked with another token; `looked-up` until the
 * visibility window is over, then closed and replaced; `waited-for`: asked for again after a while; `final`: those who wait are told that it is in vain.
 */
const ENDS: Readonly<Record<AwsErrorKind, 'repeated' | 'elsewhere' | 'looked-up' | 'waited-for' | 'final'>> = {
  throttled: 'repeated',
  'unknown-outcome': 'repeated',
  capacity: 'elsewhere',
  quota: 'elsewhere',
  address: 'elsewhere',
  'token-mismatch': 'looked-up',
  'token-spent': 'looked-up',
  account: 'waited-for',
  // The next type, subnet or market may do.
  permission: 'elsewhere',
  invalid: 'elsewhere',
  'not-found': 'elsewhere',
};
/** Whatever is asked for. */
const FINAL = ['credentials-refused', 'no-subnet', 'security-group-not-found', 'user-data-invalid'];
