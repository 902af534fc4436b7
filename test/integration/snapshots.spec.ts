import { CreateSnapshotCommand, DeleteSnapshotCommand, DescribeSnapshotsCommand, EC2Client } from '@aws-sdk/client-ec2';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Registry } from 'prom-client';
import { CallBudget } from '../../src/aws/call-budget.ts';
import { Ec2 } from '../../src/aws/ec2.ts';
import { SNAPSHOT_TAG, STACK_TAG } from '../../src/aws/ec2-types.ts';
import { OwnerLease } from '../../src/ownership/owner-lease.ts';
import { registerSnapshotMetrics } from '../../src/metrics/snapshot-metrics.ts';
import { registerStatusGauges } from '../../src/metrics/status-gauges.ts';
import { SnapshotKeeper } from '../../src/snapshots/snapshot-keeper.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';

const VOLUME = 'vol-0123456789abcdef0';
const snapshots = { volumeId: VOLUME, retentionDays: 14 };

describe('snapshots of the data volume', () => {
  let world: FleetWorld;
  let ec2: Ec2;
  let person: EC2Client;
  let registry: Registry;
  let leaveMetrics: () => void;
  beforeEach(async () => {
    world = await startFleetWorld({ volumes: { [VOLUME]: 40 }, snapshotMs: 0 });
    ec2 = new Ec2({ region: 'us-west-2', timeoutMs: 5_000 });
    person = new EC2Client({ region: 'us-west-2' });
    registry = new Registry();
    leaveMetrics = registerSnapshotMetrics(registry);
  });
  afterEach(async () => {
    leaveMetrics();
    person.destroy();
    ec2.close();
    await world.close();
  });

  /** Takes over, as a process that was started, and looks so often. */
  const look = async (times = 1, more: Partial<typeof snapshots> = {}) => {
    const lease = new OwnerLease(world.test.database, 'test', 'one');
    expect(await lease.acquire()).not.toBeNull();
    const log =
      (level: 'info' | 'warn' | 'error') =>
      (message: string, fields: object = {}) =>
        void world.log.push({ level, message, fields });
    const keeper = new SnapshotKeeper({
      signals: world.test.signals,
      ec2,
      lease,
      budget: new CallBudget({ share: 1, now: () => performance.now(), start: { kind: 'full' } }),
      log: { info: log('info'), warn: log('warn'), error: log('error') },
      ...snapshots,
      ...more,
    });
    for (let n = 0; n < times; n += 1) await keeper.run();
    await lease.release({});
  };
  const pass = (interval: string) =>
    world.rows(
      `UPDATE snapshots SET asked_at = asked_at - $1::interval, told_at = told_at - $1::interval, changed_at = changed_at - $1::interval`,
      [interval],
    );
  const shown = async () => (await person.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots ?? [];
  const calls = (action = 'CreateSnapshot') => world.cloud.ledger.calls(action).map(({ outcome }) => outcome);
  const events = async () =>
    (
      await world.rows<{ type: string; reason: string | null }>(
        `SELECT type, cause ->> 'reason' AS reason FROM events WHERE type LIKE 'snapshot.%' ORDER BY id`,
      )
    ).map(({ type, reason }) => (reason === null ? type : `${type} ${reason}`));
  const age = async () => {
    const gauges = new Registry();
    registerStatusGauges(gauges, world.test.database, VOLUME);
    const text = await gauges.getSingleMetricAsString('scheduler_snapshot_age_seconds');
    return Number(/^scheduler_snapshot_age_seconds (.*)$/m.exec(text)?.[1]);
  };
  const count = async (outcome: string) =>
    (await registry.getSingleMetric('scheduler_snapshots_total')?.get())?.values.find(
      ({ labels }) => labels['outcome'] === outcome,
    )?.value;

  it('one is made and tagged, and the next a day later', async () => {
    await look(3);
    const [made, ...others] = await shown();
    expect(others).toEqual([]);
    const [row] = await world.rows<{ id: string; state: string; snapshot_id: string }>('SELECT * FROM snapshots');
    expect(row).toMatchObject({ state: 'completed', snapshot_id: made?.SnapshotId });
    expect(made?.Tags).toEqual([
      { Key: 'Name', Value: 'test-data' },
      { Key: STACK_TAG, Value: 'test' },
      { Key: SNAPSHOT_TAG, Value: row?.id },
    ]);
    expect(await events()).toEqual(['snapshot.completed']);
    expect(await count('completed')).toBe(1);
    expect(await count('failed')).toBe(0);
    await pass('23 hours 59 minutes');
    await look();
    expect(await shown()).toHaveLength(1);
    expect(await age()).toBeGreaterThan(86_000);
    await pass('1 minute');
    await look(2);
    expect(await shown()).toHaveLength(2);
    expect(await age()).toBeLessThan(60);
  });

  it('those of fourteen days are deleted, and nothing that others made', async () => {
    const Tags = [{ Key: STACK_TAG, Value: 'test' }, { Key: 'Name', Value: 'before the upgrade' }]; // prettier-ignore
    const TagSpecifications = [{ ResourceType: 'snapshot' as const, Tags }];
    const { SnapshotId: theirs } = await person.send(
      new CreateSnapshotCommand({ VolumeId: VOLUME, TagSpecifications }),
    );
    for (let day = 0; day < 16; day += 1) {
      await look(2);
      await pass('1 day 1 minute');
    }
    const ids = (await shown()).map(({ SnapshotId }) => SnapshotId);
    expect(ids).toHaveLength(15);
    expect(ids).toContain(theirs);
    expect(calls('DeleteSnapshot')).toEqual(['ok', 'ok']);
    expect((await events()).filter((event) => event.startsWith('snapshot.deleted'))).toEqual(
      Array(2).fill('snapshot.deleted older-than-retention'),
    );
    // Also once none is made any more: the newest stays.
    world.cloud.faults.denyAction('CreateSnapshot');
    await pass('90 days');
    await look(8);
    expect(await shown()).toHaveLength(2);
  });

  it('a refusal is one event and one alarm a day, is repeated with growing pauses six times at most, and mended by itself', async () => {
    world.cloud.faults.denyAction('CreateSnapshot');
    await look(3);
    expect(calls()).toEqual(['UnauthorizedOperation']);
    const [event] = await world.rows<{ cause: object; data: { message: string } }>(`SELECT * FROM events`);
    expect(event).toMatchObject({ type: 'snapshot.failed', actor: 'fleet', cause: { reason: 'permission-denied' } });
    expect(event?.data.message).toContain('ec2:CreateSnapshot');
    expect(event?.data.message).not.toMatch(/Encoded|arn:aws|\d{12}/);
    for (let n = 0; n < 100; n += 1) {
      await pass('10 minutes');
      await look();
    }
    expect(calls()).toHaveLength(6);
    expect(await events()).toEqual(['snapshot.failed permission-denied']);
    expect(
      world.log.filter(({ message }) => message === 'snapshot failed').map(({ fields }) => 'alarm' in fields),
    ).toEqual([true, false, false, false, false, false]);
    expect(await count('failed')).toBe(6);
    expect(await age()).toBeGreaterThan(16 * 3_600);
    world.cloud.faults.permitAction('CreateSnapshot');
    await pass('8 hours');
    await look(2);
    expect(await events()).toEqual(['snapshot.failed permission-denied', 'snapshot.completed']);
    expect(await age()).toBeLessThan(60);
  }, 60_000);

  it('one that EC2 says failed, that hangs, or that somebody deletes is told of', async () => {
    world.cloud.faults.endSnapshots('error');
    await look(2);
    world.cloud.faults.endSnapshots('pending');
    await pass('1 day');
    await look(2);
    await pass('13 hours');
    await look(2);
    expect(await events()).toEqual(['snapshot.failed snapshot-error', 'snapshot.failed snapshot-slow']);
    // It is still under way.
    expect(calls()).toHaveLength(2);
    for (const { SnapshotId } of await shown()) await person.send(new DeleteSnapshotCommand({ SnapshotId }));
    world.cloud.faults.endSnapshots('completed');
    await look(2);
    const [last] = await shown();
    await person.send(new DeleteSnapshotCommand({ SnapshotId: last?.SnapshotId }));
    await pass('1 hour');
    await look(2);
    expect((await events()).slice(2)).toEqual([
      'snapshot.completed',
      'snapshot.deleted snapshot-gone',
      'snapshot.completed',
    ]);
  });

  it('an answer that is lost makes no second one, and a call that was lost makes one after a while', async () => {
    world.cloud.faults.loseAnswer('CreateSnapshot');
    await look(3);
    expect(await shown()).toHaveLength(1);
    expect(await events()).toEqual(['snapshot.completed']);
    await pass('1 day');
    world.cloud.faults.failNext('CreateSnapshot', { code: 'InternalError' });
    await look(3);
    expect(calls()).toEqual(['answer-lost', 'InternalError']);
    await pass('15 minutes');
    await look(2);
    expect(calls()).toEqual(['answer-lost', 'InternalError', 'ok']);
    expect((await events()).slice(1)).toEqual(['snapshot.failed snapshot-unknown', 'snapshot.completed']);
  });

  it('nothing is made blindly: while EC2 does not tell what there is, that is the failure', async () => {
    world.cloud.faults.denyAction('DescribeSnapshots');
    await look(2);
    expect(calls()).toEqual([]);
    expect(await events()).toEqual(['snapshot.failed permission-denied']);
    expect(await count('failed')).toBe(1);
    world.cloud.faults.permitAction('DescribeSnapshots');
    await pass('10 minutes');
    await look(2);
    expect(await events()).toEqual(['snapshot.failed permission-denied', 'snapshot.completed']);
  });

  it('a restored database knows them again, and makes no other', async () => {
    await look(2);
    await world.rows('DELETE FROM snapshots');
    await look(2);
    expect(await shown()).toHaveLength(1);
    expect(await world.rows('SELECT state FROM snapshots')).toEqual([{ state: 'completed' }]);
  });

  it('those that EC2 does not delete are tried again, and counted', async () => {
    await look(2);
    await pass('15 days');
    world.cloud.faults.denyAction('DeleteSnapshot');
    await look(3);
    expect(await shown()).toHaveLength(2);
    expect(await count('not-deleted')).toBe(2);
    world.cloud.faults.permitAction('DeleteSnapshot');
    await look();
    expect(await shown()).toHaveLength(1);
    expect(await events()).toEqual([
      'snapshot.completed',
      'snapshot.completed',
      'snapshot.deleted older-than-retention',
    ]);
  });

  it('two replicas make one, also when the first of them is gone', async () => {
    const first = world.fleet({ snapshots });
    const second = world.fleet({ snapshots });
    first.start();
    await world.until('one is asked for', () => calls().length === 1);
    second.start();
    await first.stop();
    await world.until('the second has looked', async () => (await events()).length === 1);
    expect(calls()).toEqual(['ok']);
    expect(await events()).toEqual(['snapshot.completed']);
  });

  it('none are made where no volume is named', async () => {
    const fleet = world.fleet();
    fleet.start();
    await world.until('the fleet is swept', () => world.cloud.ledger.calls('DescribeInstances').length > 0);
    expect(world.cloud.ledger.calls('DescribeSnapshots')).toEqual([]);
  });
});
