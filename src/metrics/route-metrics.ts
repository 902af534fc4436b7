import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { reachChecks } from '../ingress/reach-checks.service.js';
import {
  HOLD_OUTCOMES,
  LOOKUP_KINDS,
  LOOKUP_OUTCOMES,
  type RouteLookup,
  routeHolds,
  routeLookups,
} from '../ingress/route-lookup.js';
import { REACHED_AS } from '../jobs/route-rules.js';

/** Never by host: callers choose it. @returns a function that unsubscribes */
export function registerRouteMetrics(registry: Registry, routes: Pick<RouteLookup, 'heldCount'>): () => void {
  const registers = [registry];
  const lookups = new Counter({
    name: 'scheduler_route_lookups_total',
    help: 'Where a host leads, as nginx asked: for all callers (route), for one (caller), for a request that may wait (hold).',
    labelNames: ['kind', 'outcome'],
    registers,
  });
  const holds = new Counter({
    name: 'scheduler_route_holds_total',
    help: 'Requests to jobs that waited until something served, by how that ended.',
    labelNames: ['outcome'],
    registers,
  });
  const waited = new Histogram({
    name: 'scheduler_route_hold_duration_seconds',
    help: 'How long requests to jobs waited, by how that ended.',
    labelNames: ['outcome'],
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60],
    registers,
  });
  new Gauge({
    name: 'scheduler_route_requests_held',
    help: 'Requests to jobs that wait now until something serves.',
    aggregator: 'sum',
    registers,
    collect() {
      this.set(routes.heldCount);
    },
  });
  const checks = new Counter({
    name: 'scheduler_reach_checks_total',
    help: 'Checks from beside nginx of ports that callers are to be led to, by what was found: http, silent, other, nothing.',
    labelNames: ['found'],
    registers,
  });
  for (const kind of LOOKUP_KINDS) for (const outcome of LOOKUP_OUTCOMES) lookups.inc({ kind, outcome }, 0);
  for (const outcome of HOLD_OUTCOMES) {
    holds.inc({ outcome }, 0);
    if (outcome !== 'no-place') waited.zero({ outcome });
  }
  for (const found of REACHED_AS) checks.inc({ found }, 0);
  const leave = [
    routeLookups.subscribe(({ kind, outcome }) => lookups.inc({ kind, outcome })),
    routeHolds.subscribe(({ outcome, waitedMs }) => {
      holds.inc({ outcome });
      if (outcome !== 'no-place') waited.observe({ outcome }, waitedMs / 1000);
    }),
    reachChecks.subscribe(({ found }) => checks.inc({ found })),
  ];
  return () => leave.forEach((each) => each());
}
