import { describe, expect, it } from '@jest/globals';
import { PlannerWorld } from '../../../test/support/planner-world.js';
import { ATTEMPT_PHASES, type AttemptPhase } from '../../deployments/attempt-status.js';
import { DEPLOYMENT_STATUSES, mayBecome } from '../../deployments/deployment-status.js';
import { Draft } from './plan-draft.js';

const NOW = new Date('2026-01-01T00:05:00Z');

/** Of a job with one deployment and its attempt, as they are changed. */
function draftOf(change: (world: PlannerWorld) => void = () => undefined) {
  const world = new PlannerWorld();
  world.deploy();
  world.settle();
  change(world);
  const draft = new Draft(world.facts(), NOW, new Date(0));
  const [deployment] = draft.all();
  return { draft, deployment: deployment!, attempt: deployment!.attempts[0]! };
}

/** From one phase to another, with nothing else happening. */
function moved(from: AttemptPhase, to: AttemptPhase) {
  const { draft, deployment, attempt } = draftOf();
  draft.move(deployment, { ...attempt, phase: from }, to);
  return draft.finish('idle', false, { added: [], removed: [] }).attempts;
}

const PAIRS = ATTEMPT_PHASES.flatMap((from) => ATTEMPT_PHASES.map((to) => [from, to] as const));
const LIVE: readonly AttemptPhase[] = ['waiting', 'assigned', 'pulling', 'starting', 'healthy'];

describe('an attempt that a plan moves', () => {
  const isOnItsWay = ([from, to]: readonly [AttemptPhase, AttemptPhase]) =>
    LIVE.indexOf(from) >= 0 && LIVE.indexOf(from) < LIVE.indexOf(to);
  it.each(PAIRS.filter(isOnItsWay))(
    'from %s to %s has the time of each phase on its way, and of no other',
    (from, to) => {
      const steps = LIVE.slice(LIVE.indexOf(from) + 1, LIVE.indexOf(to) + 1);
      const [row] = moved(from, to);
      expect(row).toMatchObject({ phase: to });
      const times = Object.entries(row!).filter(([name, value]) => name.endsWith('At') && value === NOW);
      expect(times.map(([name]) => name).toSorted()).toEqual(steps.map((step) => `${step}At`).toSorted());
    },
  );

  const isBack = ([from, to]: readonly [AttemptPhase, AttemptPhase]) =>
    ATTEMPT_PHASES.indexOf(from) > ATTEMPT_PHASES.indexOf(to);
  it.each(PAIRS.filter(isBack))('never goes back from %s to %s', (from, to) => {
    expect(() => moved(from, to)).toThrow(/^attempt: \w+ may not become \w+$/);
  });

  it.each(LIVE.slice(1))('from %s to its stop or its end has no times between', (from) => {
    expect(moved(from, 'ended')).toMatchObject([{ phase: 'ended', endedAt: NOW, stoppingAt: null, healthyAt: null }]);
    expect(moved(from, 'stopping')).toMatchObject([{ phase: 'stopping', stoppingAt: NOW, healthyAt: null }]);
  });

  it('is no row of the plan where nothing changes', () => {
    expect(moved('pulling', 'pulling')).toEqual([]);
  });
});

describe('a deployment that a plan changes', () => {
  const pairs = DEPLOYMENT_STATUSES.flatMap((from) => DEPLOYMENT_STATUSES.map((to) => [from, to] as const));
  it.each(pairs.filter(([from, to]) => from !== to))('from %s to %s', (from, to) => {
    const { draft, deployment } = draftOf((world) => (world.deployments[0]!.status = from));
    const change = () => draft.change(deployment, { status: to });
    if (!mayBecome(from, to)) expect(change).toThrow(`deployment 1: ${from} may not become ${to}`);
    else {
      change();
      expect(draft.finish('idle', false, { added: [], removed: [] }).deployments).toMatchObject([
        { id: 'd1', status: to },
      ]);
    }
  });

  it('is no row of the plan where nothing changes', () => {
    const { draft, deployment } = draftOf();
    draft.change(deployment, { status: deployment.status, reason: deployment.reason });
    expect(draft.finish('idle', false, { added: [], removed: [] }).deployments).toEqual([]);
  });
});
