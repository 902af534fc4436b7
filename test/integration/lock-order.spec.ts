import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { Ec2Instance } from '../../src/aws/ec2-types.ts';
import type { Queryable } from '../../src/database/database.ts';
import { upsertInstances } from '../../src/fleet/instance-writes.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const LAUNCH = { launchId: '00000000-0000-4000-8000-000000000001', shapeKey: 'shape' };
const IDS = ['i-1', 'i-2', 'i-3'];

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
  await test.database.query(`INSERT INTO shapes (key, spec) VALUES ($1, '{}')`, [LAUNCH.shapeKey]);
  await test.database.query(
    `INSERT INTO launches (id, shape_key, epoch, input, count, image_id, instance_type, market, subnet_id, secret_hash)
     VALUES ($1, $2, 1, '\\x', 3, 'ami-0', 't3.small', 'on-demand', 'subnet-0', '\\x')`,
    [LAUNCH.launchId, LAUNCH.shapeKey],
  );
  await test.database.query(`INSERT INTO instances (id, state) SELECT unnest($1::text[]), 'pending'`, [IDS]);
});
afterAll(() => test.close());

// A launch and a sweep may write the same instances at once: whoever has the first row gets all of them.
it.each([
  ['in their order', IDS],
  ['the other way round', IDS.toReversed()],
])('rows of instances are locked in the order of their ids where EC2 names them %s', async (_, ids) => {
  let writing: Promise<void> | undefined;
  const free = await test.database.transaction(async (transaction) => {
    await transaction.query(`SELECT 1 FROM instances WHERE id = 'i-1' FOR UPDATE`);
    writing = test.database.transaction((other: Queryable) => upsertInstances(other, LAUNCH, ids.map(instance)));
    await blockedOnLock(test.database);
    return await transaction.query<{ id: string }>('SELECT id FROM instances ORDER BY id FOR UPDATE SKIP LOCKED');
  });
  await writing;
  expect(free.map(({ id }) => id)).toEqual(IDS);
});

function instance(id: string): Ec2Instance {
  return {
    id,
    state: 'running',
    stateReason: null,
    launchedAt: new Date(0),
    availabilityZone: 'us-west-2a',
    type: 't3.small',
    imageId: 'ami-0',
    privateIp: '10.0.0.1',
    publicIp: null,
    tags: {},
  };
}
