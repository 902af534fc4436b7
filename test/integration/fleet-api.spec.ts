import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import { CLUSTER_TAG } from '../../src/aws/ec2-types.ts';
import { type Api, startApi } from '../support/api.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';

type Fleet = {
  instances: Record<string, number>;
  demand: number;
  launches: object;
  budgets: object;
  owner: object | null;
};
type Page = { items: { id: string; state: string; job: string | null }[]; nextCursor: string | null };

describe('the fleet over HTTP', () => {
  let world: FleetWorld;
  let api: Api;
  beforeAll(async () => {
    world = await startFleetWorld({ quotas: 'none' });
    api = await startApi({ databaseUrl: world.test.url, env: { ROLE: 'api', CLUSTER: 'test' } });
  });
  afterAll(async () => {
    await api.close();
    await world.close();
  });
  const fleet = async () => (await api.request('GET', '/v1/fleet')).body as Fleet;
  const page = async (query: string) => (await api.request('GET', `/v1/instances${query}`)).body as Page;

  it('is empty at first, and has no owner', async () => {
    expect(await fleet()).toEqual({
      instances: { pending: 0, registered: 0, assigned: 0, retiring: 0, quarantined: 0, orphaned: 0 },
      lost: 0,
      demand: 0,
      launches: { planned: 0, unknown: 0 },
      budgets: {},
      owner: null,
    });
    expect(await page('')).toEqual({ items: [], nextCursor: null });
  });

  it('tells what is there, page by page', async () => {
    world.fleet().start();
    await world.demand(3);
    await world.until('all are assigned', async () => (await fleet()).instances['assigned'] === 3);
    const now = await fleet();
    expect(now).toMatchObject({ demand: 0, owner: { epoch: 1 } });
    expect(now.instances).toEqual({ pending: 0, registered: 0, assigned: 3, retiring: 0, quarantined: 0, orphaned: 0 });

    const first = await page('?limit=2');
    expect(first.items).toHaveLength(2);
    const second = await page(`?limit=2&cursor=${first.nextCursor}`);
    expect(second.items).toHaveLength(1);
    expect(second.nextCursor).toBeNull();
    const ids = [...first.items, ...second.items].map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
    expect(first.items[0]?.job).toMatch(/^job-/);
    expect((await page('?state=terminated')).items).toEqual([]);
    expect((await page('?state=pending')).items.length + (await page('?state=running')).items.length).toBe(3);
  });

  it('counts what waits, what ends, what is unknown, and what is left over', async () => {
    await world.rows(`INSERT INTO instances (id, state, quarantined) VALUES ('i-0quarantined', 'running', true)`);
    await world.rows(
      `INSERT INTO instances (id, shape_key, state, retire_reason, retired_at)
       SELECT 'i-0retiring', key, 'shutting-down', 'idle-surplus', clock_timestamp() FROM shapes LIMIT 1`,
    );
    await world.rows(
      `INSERT INTO instances (id, state, retire_reason, retired_at)
       VALUES ('i-0orphaned', 'shutting-down', 'idle-surplus', clock_timestamp() - interval '1 hour')`,
    );
    expect((await fleet()).instances).toMatchObject({ quarantined: 1, retiring: 2, orphaned: 1, assigned: 3 });
  });

  describe('retiring what is in quarantine', () => {
    const retire = (id: string) => api.request('POST', `/v1/instances/${id}/retire`);

    it('terminates it at EC2, and it is no orphan; asking again changes nothing', async () => {
      const [imageId] = await world.rows<{ image_id: string }>('SELECT image_id FROM launches LIMIT 1');
      const operator = new EC2Client({ region: 'us-west-2' });
      const { Instances = [] } = await operator.send(
        new RunInstancesCommand({
          ImageId: imageId?.image_id,
          InstanceType: 't3.small',
          MinCount: 1,
          MaxCount: 1,
          TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: CLUSTER_TAG, Value: 'test' }] }],
        }),
      );
      operator.destroy();
      const id = Instances[0]?.InstanceId ?? '';
      await world.until('it is in quarantine', async () => {
        const rows = await world.rows('SELECT 1 FROM instances WHERE id = $1 AND quarantined', [id]);
        return rows.length === 1;
      });
      const answer = await retire(id);
      expect(answer).toMatchObject({ status: 202, body: { id, retireReason: 'retired-by-operator' } });
      await world.until('it is terminated', () => !world.alive().includes(id));
      await world.until('that is seen', async () => {
        const rows = await world.rows('SELECT 1 FROM instances WHERE id = $1 AND terminated_at IS NOT NULL', [id]);
        return rows.length === 1;
      });
      expect(await retire(id)).toMatchObject({ status: 202, body: { id, retireReason: 'retired-by-operator' } });
    }, 60_000);

    it('refuses what serves, what there is not, and what is no id', async () => {
      const [serving] = (await world.assigned()).map(({ instanceId }) => instanceId);
      const before = world.alive();
      expect((await retire(serving ?? '')).body).toMatchObject({ status: 409, type: '/problems/not-quarantined' });
      expect((await retire('i-0123456789abcdef0')).body).toMatchObject({ type: '/problems/instance-not-found' });
      expect((await retire('web')).status).toBe(400);
      expect(world.alive()).toEqual(before);
    });
  });

  it('refuses a state there is not', async () => {
    const answer = await api.request('GET', '/v1/instances?state=sleeping');
    expect(answer.status).toBe(400);
  });
});
