import type { FleetInput } from '../../src/fleet/plan/plan-fleet.ts';

export const NOW = new Date('2026-03-01T12:00:00.000Z');
export const ago = (seconds: number): Date => new Date(NOW.getTime() - seconds * 1000);

/** A shape that nobody waits for, and that nothing keeps from launching. */
export const fleetInput = (overrides: Partial<FleetInput> = {}): FleetInput => ({
  spec: { types: ['t3.small', 't3.medium'], market: 'on-demand' },
  subnetIds: ['subnet-a', 'subnet-b'],
  obstacle: null,
  demand: { count: 0, doomed: 0, newestAt: null, first: [] },
  supply: [],
  launches: [],
  recent: [],
  warm: 0,
  capacity: {},
  verdict: null,
  room: Infinity,
  burst: 1000,
  launchesSpentUntil: null,
  listeningSince: ago(3600),
  nextLaunchId: 'next-launch',
  now: NOW,
  ...overrides,
});
