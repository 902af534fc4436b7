import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { PlannerWorld } from '../support/planner-world.js';
import { startFleetWorld, type FleetWorld } from '../support/fleet-world.js';

function active(definition: object = {}) {
  const w = new PlannerWorld();
  const d = w.deploy(definition);
  w.run(60);
  expect(d.status).toBe('active');
  return { w, d };
}
const show = (w: PlannerWorld) => w.deployments.flatMap((d) => d.attempts.map((a) => `${d.number}.${a.number} ${a.phase} ${a.reason}`));

describe('planner', () => {
  it('heals when capacity comes back after a long time', () => {
    const { w, d } = active();
    w.lose(w.live()[0]!);
    w.pass();
    const heal = w.live(d).at(-1)!;
    w.nowMs += 1_200_000; // 20 minutes without capacity
    w.assign(heal);
    w.pass();
    w.answer(w.openOrder(heal, 'dead-man')!);
    w.pass();
    console.log(show(w));
    expect(heal.phase).not.toBe('ended');
  });
  it('dead-man of a healing attempt outlives its deadline', () => {
    const { w, d } = active({ rollout: { deadlineSeconds: 7200 } });
    w.lose(w.live()[0]!);
    w.pass();
    const heal = w.live(d).at(-1)!;
    w.assign(heal); w.pass();
    const order = w.openOrder(heal, 'dead-man')!;
    console.log('heal', JSON.stringify(order.spec), 'first', JSON.stringify(d.attempts[0]!.orders[0]!.spec));
    expect((order.spec as { minutes: number }).minutes).toBeGreaterThanOrEqual(120);
  });
  it('a pass that is late does not blame the agent', () => {
    const w = new PlannerWorld();
    const d = w.deploy();
    w.pass();
    const a = w.live(d)[0]!;
    w.assign(a);
    w.nowMs += 20_000; // restart of the scheduler process
    w.pass();
    w.nowMs += 50;
    w.answer(w.openOrder(a, 'dead-man')!); // the agent took and answered the first order at once
    w.pass();
    console.log(show(w));
    expect(a.phase).not.toBe('ended');
  });
  it('an exit at the moment of activation is noticed', () => {
    const w = new PlannerWorld();
    const d = w.deploy();
    // cooperate up to activation without answering restart-policy
    for (let i = 0; i < 200 && d.status !== 'active'; i++) {
      w.settle();
      for (const a of w.live()) {
        if (!a.instance) { w.assign(a); continue; }
        for (const o of a.orders.filter((o) => !o.answeredAt && !['wait', 'restart-policy'].includes(o.purpose))) w.answer(o);
      }
      w.nowMs += 1000;
      w.settle();
    }
    expect(d.status).toBe('active');
    const a = w.live()[0]!;
    w.answer(w.openOrder(a, 'wait')!); // exited (code 1) before Docker heard of the restart policy
    w.settle();
    w.answer(w.openOrder(a, 'restart-policy')!); // Docker does not start what has exited already
    w.settle();
    w.run(3600); // the new wait 'next-exit' never answers
    console.log(w.status, show(w));
    expect(w.live().length + d.attempts.length).toBeGreaterThan(2);
  });
});

describe('fleet', () => {
  let world: FleetWorld;
  beforeAll(async () => { world = await startFleetWorld(); });
  afterAll(() => world.close());
  it('a healing attempt is tried for again after a final refusal', async () => {
    const [id] = await world.demand(1);
    await world.rows(`UPDATE attempts SET priority = 0 WHERE id = $1`, [id]);
    // what a permission error that lasted a second leaves behind
    await world.rows(`UPDATE shapes SET verdict_reason='permission-denied', verdict_message='x', verdict_is_final=true, verdict_at=clock_timestamp()`);
    world.fleet().start();
    const t = Date.now();
    let n = 0;
    while (Date.now() - t < 14_000 && n === 0) { await new Promise((d) => setTimeout(d, 500)); n = (await world.rows(`SELECT 1 FROM launches`)).length; }
    console.log('launches after', Date.now() - t, n, JSON.stringify(await world.rows('SELECT verdict_reason, verdict_at, next_pass_at FROM shapes')));
    expect(n).toBeGreaterThan(0);
  });
});
