import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Registry } from 'prom-client';
import { reachChecks } from '../ingress/reach-checks.service.js';
import { routeHolds, routeLookups } from '../ingress/route-lookup.js';
import { registerRouteMetrics } from './route-metrics.js';

describe('the metrics of jobs’ addresses', () => {
  const routes = { heldCount: 0 };
  let registry: Registry;
  let leave: () => void;
  beforeEach(() => {
    registry = new Registry();
    leave = registerRouteMetrics(registry, routes);
  });
  afterEach(() => leave());

  const read = async (name: string): Promise<Record<string, number>> => {
    const text = await registry.getSingleMetricAsString(name);
    const lines = text.split('\n').filter((line) => line.startsWith(name));
    return Object.fromEntries(lines.map((line) => [line.slice(name.length, line.lastIndexOf(' ')), valueOf(line)]));
  };

  it('begin at 0 for every outcome: the first failure is a rise', async () => {
    const counts = await Promise.all(
      ['scheduler_route_lookups_total', 'scheduler_route_holds_total', 'scheduler_reach_checks_total'].map(read),
    );
    expect(counts.map((values) => [Object.keys(values).length, Math.max(...Object.values(values))])).toEqual([
      ...[
        [24, 0],
        [8, 0],
        [4, 0],
      ],
    ]);
  });

  it('count what lookups, waits and checks came to, until they are given up', async () => {
    routeLookups.publish({ kind: 'route', outcome: 'target' });
    routeLookups.publish({ kind: 'hold', outcome: 'failed' });
    routeHolds.publish({ outcome: 'served', waitedMs: 300 });
    routeHolds.publish({ outcome: 'no-place', waitedMs: 0 });
    reachChecks.publish({ found: 'nothing' });
    routes.heldCount = 3;
    leave();
    routeLookups.publish({ kind: 'route', outcome: 'target' });
    routeHolds.publish({ outcome: 'served', waitedMs: 300 });
    reachChecks.publish({ found: 'nothing' });
    expect(await read('scheduler_route_lookups_total')).toMatchObject({
      '{kind="route",outcome="target"}': 1,
      '{kind="hold",outcome="failed"}': 1,
      '{kind="caller",outcome="failed"}': 0,
    });
    expect(await read('scheduler_route_holds_total')).toMatchObject({
      '{outcome="served"}': 1,
      '{outcome="no-place"}': 1,
    });
    const waited = await read('scheduler_route_hold_duration_seconds');
    expect(waited).toMatchObject({
      '_bucket{le="0.25",outcome="served"}': 0,
      '_bucket{le="0.5",outcome="served"}': 1,
      '_sum{outcome="served"}': 0.3,
      '_count{outcome="served"}': 1,
    });
    // It did not wait.
    expect(waited).not.toHaveProperty('_count{outcome="no-place"}');
    expect(await read('scheduler_reach_checks_total')).toMatchObject({ '{found="nothing"}': 1, '{found="http"}': 0 });
    expect(await read('scheduler_route_requests_held')).toEqual({ '': 3 });
  });
});

function valueOf(line: string): number {
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
