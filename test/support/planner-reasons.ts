import { expect, it } from '@jest/globals';
import type { Reason } from '../../src/scheduler/plan/plan-reasons.ts';
import type { PlannerWorld } from './planner-world.ts';

/** Whose tests show the reason on a row. */
const SHOWN_BY = {
  'waiting-for-instance': 'plan-candidate',
  'waiting-for-capacity': 'plan-attempt',
  'capacity-unavailable': 'plan-attempt',
  'launch-refused': 'plan-attempt',
  'agent-unresponsive': 'plan-attempt',
  'instance-terminated': 'plan-attempt',
  'instance-stopped': 'plan-attempt',
  'instance-gone': 'plan-attempt',
  'instance-unreachable': 'plan-attempt',
  'spot-interrupted': 'plan-attempt',
  'docker-unavailable': 'plan-attempt',
  'image-not-found': 'plan-attempt',
  'image-unauthorized': 'plan-attempt',
  'image-pull-failed': 'plan-attempt',
  'registry-busy': 'plan-attempt',
  'registry-unreachable': 'plan-attempt',
  'pull-timed-out': 'plan-attempt',
  'address-draining': 'plan-route',
  'container-create-failed': 'plan-attempt',
  'container-start-failed': 'plan-attempt',
  'container-exited': 'plan-attempt',
  'out-of-memory': 'plan-attempt',
  'route-unreachable': 'plan-reach',
  'health-check-failed': 'plan-attempt',
  'crash-looping': 'plan-active',
  'exits-at-once': 'plan-healing',
  'deadline-exceeded': 'plan-attempt',
  'attempts-exhausted': 'plan-candidate',
  'superseded-by-newer': 'plan-candidate',
  'cancel-requested': 'plan-leaving',
  'stop-requested': 'plan-leaving',
  'delete-requested': 'plan-leaving',
  'successor-lost': 'plan-candidate',
  'predecessor-serves': 'plan-candidate',
  healing: 'plan-active',
  'not-needed': 'plan-healing',
} as const satisfies Readonly<Record<Reason, string>>;

/** Codes seen on rows by the tests of the spec that runs. */
const seen = new Set<string>();

export function note(world: PlannerWorld): void {
  for (const { reason, attempts } of world.deployments) {
    for (const code of [reason, ...attempts.map((attempt) => attempt.reason)]) if (code) seen.add(code);
  }
}

/** The last test of each spec of the planners; together they show that every reason is seen on a row. */
export function itShowsItsReasons(spec: (typeof SHOWN_BY)[Reason]): void {
  it('every reason that is its own is seen on a row by a test above', () => {
    const own = Object.entries(SHOWN_BY).flatMap(([reason, shownBy]) => (shownBy === spec ? [reason] : []));
    expect(own.filter((reason) => !seen.has(reason))).toEqual([]);
  });
}
