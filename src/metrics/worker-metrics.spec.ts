import { describe, expect, it } from '@jest/globals';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Gathered, Snapshot } from './process-counts.js';
import { WorkerEnd, WorkerMetrics } from './worker-metrics.js';

/** A worker with metrics of its own, joined to the first process by calls instead of a pipe. */
function startWorker(first: WorkerMetrics) {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({ name: 'requests', help: 'x', labelNames: ['status'], registers });
  const seconds = new Histogram({ name: 'seconds', help: 'x', buckets: [1, 2], registers });
  const open = new Gauge({ name: 'open', help: 'x', registers });
  let isStuck = false;
  const link = first.add((message) => {
    if (!isStuck) void end.receive(structuredClone(message));
  });
  const end = new WorkerEnd(
    (message) => link.receive(JSON.parse(JSON.stringify(message))),
    () => registry.getMetricsAsJSON(),
  );
  return { requests, seconds, open, gather: () => end.gather(), end: () => link.end(), stick: () => (isStuck = true) };
}

function sum({ snapshots }: Gathered, name: string, part = name, labels: object = {}): number | undefined {
  const values = (snapshots as Snapshot[]).flat().filter((metric) => metric.name === name);
  const fitting = values
    .flatMap((metric) => metric.values as { value: number; metricName?: string; labels: object }[])
    .filter((value) => (value.metricName ?? name) === part)
    .filter((value) => Object.entries(labels).every(([key, is]) => Reflect.get(value.labels, key) === is));
  return fitting.length === 0 ? undefined : fitting.reduce((total, { value }) => total + value, 0);
}

describe('metrics of several workers', () => {
  it('tells whoever asks what all of them have counted', async () => {
    const first = new WorkerMetrics();
    const [a, b] = [startWorker(first), startWorker(first)];
    a.requests.inc({ status: '2xx' }, 3);
    b.requests.inc({ status: '2xx' }, 4);
    a.open.set(1);
    b.open.set(2);
    const gathered = await a.gather();
    expect(gathered.silent).toBe(0);
    expect(sum(gathered, 'requests', 'requests', { status: '2xx' })).toBe(7);
    expect(sum(gathered, 'open')).toBe(3);
  });

  it('answers scrapes that overlap, of one worker and of several', async () => {
    const first = new WorkerMetrics();
    const [a, b] = [startWorker(first), startWorker(first)];
    a.requests.inc({ status: '2xx' });
    const all = await Promise.all([a.gather(), a.gather(), b.gather()]);
    expect(all.map((gathered) => sum(gathered, 'requests'))).toEqual([1, 1, 1]);
  });

  it('keeps the counters of workers that ended, and not their gauges', async () => {
    const first = new WorkerMetrics();
    const [a, b, c] = [startWorker(first), startWorker(first), startWorker(first)];
    for (const worker of [b, c]) {
      worker.requests.inc({ status: '2xx' }, 4);
      worker.requests.inc({ status: '5xx' }, 1);
      worker.seconds.observe(1.5);
      worker.open.set(2);
    }
    await a.gather();
    b.end();
    c.end();
    const gathered = await a.gather();
    expect(sum(gathered, 'requests', 'requests', { status: '2xx' })).toBe(8);
    expect(sum(gathered, 'requests', 'requests', { status: '5xx' })).toBe(2);
    expect(sum(gathered, 'seconds', 'seconds_count')).toBe(2);
    expect(sum(gathered, 'seconds', 'seconds_sum')).toBe(3);
    expect(sum(gathered, 'seconds', 'seconds_bucket', { le: 1 })).toBe(0);
    expect(sum(gathered, 'seconds', 'seconds_bucket', { le: 2 })).toBe(2);
    expect(sum(gathered, 'open')).toBe(0);
  });

  it('goes on without one that does not tell: its counters are as they last were, its gauges missing', async () => {
    const first = new WorkerMetrics(20);
    const [a, b] = [startWorker(first), startWorker(first)];
    b.requests.inc({ status: '2xx' }, 5);
    b.open.set(2);
    await a.gather();
    b.requests.inc({ status: '2xx' }, 5);
    b.stick();
    const gathered = await a.gather();
    expect(gathered.silent).toBe(1);
    expect(sum(gathered, 'requests')).toBe(5);
    expect(sum(gathered, 'open')).toBe(0);
  });

  it('does not wait for one that ended while it was asked', async () => {
    const first = new WorkerMetrics(60_000);
    const [a, b] = [startWorker(first), startWorker(first)];
    b.stick();
    const gathering = a.gather();
    // By now `a` has reported.
    await new Promise((done) => setImmediate(done));
    b.end();
    expect((await gathering).silent).toBe(0);
  });
});
