import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Heartbeats } from '../process/heartbeats.js';
import { loopRuns, passes } from '../process/loop.js';

/** @returns a function that unsubscribes */
export function registerLoopMetrics(registry: Registry, heartbeats: Heartbeats): () => void {
  const registers = [registry];
  const runs = new Counter({
    name: 'scheduler_loop_runs_total',
    help: 'Runs of each loop, most of which find nothing to do.',
    labelNames: ['loop', 'outcome'],
    registers,
  });
  const runDuration = new Histogram({
    name: 'scheduler_loop_run_duration_seconds',
    help: 'How long the runs of each loop took, including those that found nothing to do.',
    labelNames: ['loop'],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30],
    registers,
  });
  const passDuration = new Histogram({
    name: 'scheduler_pass_duration_seconds',
    help: 'How long passes took that had something to do.',
    labelNames: ['pass'],
    buckets: [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const batchSize = new Histogram({
    name: 'scheduler_pass_batch_size',
    help: 'Rows a pass claimed: jobs or shapes.',
    labelNames: ['pass'],
    buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500],
    registers,
  });
  const lag = new Histogram({
    name: 'scheduler_wakeup_lag_seconds',
    help: 'Time from when a row was due until a pass claimed it.',
    labelNames: ['pass'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers,
  });
  new Gauge({
    name: 'scheduler_loop_alive',
    help: '1 while the loop gave its sign of life in time; 0 makes the process not ready.',
    labelNames: ['loop'],
    aggregator: 'min',
    registers,
    collect() {
      this.reset();
      for (const [loop, { isAlive }] of Object.entries(heartbeats.loops())) this.set({ loop }, isAlive ? 1 : 0);
    },
  });
  const leave = [
    loopRuns.onEnd(({ facts: { loop }, durationMs, error }) => {
      runs.inc({ loop, outcome: error === undefined ? 'ok' : 'failed' });
      runDuration.observe({ loop }, durationMs / 1000);
    }),
    passes.subscribe(({ pass, durationMs, lagsMs }) => {
      passDuration.observe({ pass }, durationMs / 1000);
      batchSize.observe({ pass }, lagsMs.length);
      for (const lagMs of lagsMs) lag.observe({ pass }, Math.max(0, lagMs) / 1000);
    }),
  ];
  return () => leave.forEach((each) => each());
}
