import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { type EndedExchange, exchangesBegun, exchangesEnded, isHeldOpen } from '../http/exchange.js';

/** @returns a function that unsubscribes */
export function registerHttpMetrics(registry: Registry): () => void {
  const registers = [registry];
  const labelNames = ['method', 'route', 'status'] as const;
  const total = new Counter({
    name: 'scheduler_http_requests_total',
    help: 'Requests that ended, by route pattern and class of status.',
    labelNames,
    registers,
  });
  const duration = new Histogram({
    name: 'scheduler_http_request_duration_seconds',
    help: 'How long responses took, except those meant to last: long polls, ?wait, calls that wait for their job, followed logs and events.',
    labelNames,
    buckets: [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const inFlight = new Gauge({
    name: 'scheduler_http_requests_in_flight',
    help: 'Requests that have not ended, including those meant to last.',
    registers,
  });
  const leave = [
    exchangesBegun.subscribe(() => inFlight.inc()),
    exchangesEnded.subscribe((ended) => {
      inFlight.dec();
      const labels = { method: methodOf(ended), route: ended.route, status: `${Math.floor(ended.status / 100)}xx` };
      total.inc(labels);
      if (!isHeldOpen(ended)) duration.observe(labels, ended.durationMs / 1000);
    }),
  ];
  return () => leave.forEach((each) => each());
}

const METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE']);

/** Clients may send any of the methods Node knows, and each would be a series. */
function methodOf({ request: { method } }: EndedExchange): string {
  return METHODS.has(method) ? method : 'other';
}
