import { Counter, type Registry } from 'prom-client';
import { SNAPSHOT_OUTCOMES, snapshotOutcomes } from '../snapshots/snapshot-keeper.js';

/** @returns a function that unsubscribes */
export function registerSnapshotMetrics(registry: Registry): () => void {
  const total = new Counter({
    name: 'scheduler_snapshots_total',
    help: 'Snapshots of the data volume: completed, failed, deleted because they are too old, or not deleted although they are.',
    labelNames: ['outcome'],
    registers: [registry],
  });
  for (const outcome of SNAPSHOT_OUTCOMES) total.inc({ outcome }, 0);
  return snapshotOutcomes.subscribe(({ outcome }) => total.inc({ outcome }));
}
