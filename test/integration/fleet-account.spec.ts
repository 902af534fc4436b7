import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import { type FleetWorld, SPEC, startFleetWorld } from '../support/fleet-world.ts';

// What an operator mends once in an account; until then EC2 refuses each launch, or each of one market.
describe('an account without the role for spot instances', () => {
  const SPOT: ShapeSpec = { ...SPEC, types: ['t3.small', 't3.medium'], market: 'spot' };
  let world: FleetWorld;
  beforeEach(async () => {
    world = await startFleetWorld({ quotas: 'none' });
    world.fleet().start();
  });
  afterEach(() => world.close());

  /** As EC2 says it of the first spot instance of an account, to a role that may not make that role. */
  const refuseSpot = (times: number) =>
    world.cloud.faults.failNext(
      'RunInstances',
      {
        code: 'AuthFailure.ServiceLinkedRoleCreationNotPermitted',
        status: 403,
        message:
          'The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.',
      },
      times,
    );
  const calls = () => world.cloud.ledger.calls('RunInstances');
  const verdict = async () => {
    const [row] = await world.rows<{ reason: string | null; message: string; isFinal: boolean }>(
      'SELECT verdict_reason AS reason, verdict_message AS message, verdict_is_final AS "isFinal" FROM shapes',
    );
    return row;
  };
  /** Rows are moved back, as if so much time had passed. */
  const pass = (seconds: number) =>
    world.rows(
      `WITH earlier AS (
         UPDATE launches SET created_at = created_at - make_interval(secs => $1), called_at = called_at - make_interval(secs => $1)
       )
       UPDATE shapes SET next_pass_at = clock_timestamp(), capacity = CASE WHEN capacity ? 'failedOffers'
         THEN jsonb_set(capacity, '{failedOffers,0,until}',
           to_jsonb((capacity#>>'{failedOffers,0,until}')::timestamptz - make_interval(secs => $1)))
         ELSE capacity END`,
      [seconds],
    );

  it('has them launched on demand where the job allows it, after one call', async () => {
    refuseSpot(1);
    await world.demand(1, { ...SPOT, fallbackMarket: 'on-demand' });
    await world.until('it is served', async () => (await world.assigned()).length === 1);
    const markets = await world.rows<{ market: string; reason: string | null }>(
      'SELECT market, reason FROM launches ORDER BY created_at',
    );
    expect(markets).toEqual([
      { market: 'spot', reason: 'spot-role-missing' },
      { market: 'on-demand', reason: null },
    ]);
  });

  it('is told of in words where it does not, is asked again with growing pauses, and serves once the role exists', async () => {
    refuseSpot(4);
    await world.demand(1, SPOT);
    await world.until('it is told', async () => (await verdict())?.reason === 'spot-role-missing');
    expect(await verdict()).toMatchObject({
      isFinal: false,
      message: expect.stringMatching(
        /^The provided credentials .* An operator makes it once: aws iam create-service-linked-role --aws-service-name spot\.amazonaws\.com; the next try is at 20\S+Z$/,
      ),
    });
    // No other type of that market is tried.
    expect(calls()).toHaveLength(1);

    for (const [seconds, times] of [
      [60, 2],
      [60, 3],
      [60, 4],
    ] as const) {
      await pass(seconds);
      await world.until(`it is asked ${times} times`, () => calls().length === times);
      await world.until('it is refused again', async () => {
        const rows = await world.rows(`SELECT 1 FROM launches WHERE status = 'failed'`);
        return rows.length === times && (await verdict())?.reason === 'spot-role-missing';
      });
    }
    // After the fourth there are forty seconds, which the minute covers; and then the role was made.
    await pass(60);
    await world.until('it is served', async () => (await world.assigned()).length === 1);
    expect(await verdict()).toMatchObject({ reason: null });
    expect(calls()).toHaveLength(5);
  });
});
