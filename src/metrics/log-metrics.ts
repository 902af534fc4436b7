import { Counter, type Registry } from 'prom-client';
import { linesStored } from '../logs/line-writer.js';
import { sealings } from '../logs/sealer.js';

/** @returns a function that unsubscribes */
export function registerLogMetrics(registry: Registry): () => void {
  const registers = [registry];
  const lines = new Counter({
    name: 'scheduler_log_lines_total',
    help: 'Lines of containers that were stored.',
    registers,
  });
  const bytes = new Counter({ name: 'scheduler_log_bytes_total', help: 'Bytes of the lines in Postgres.', registers });
  const chunks = new Counter({
    name: 'scheduler_log_chunks_sealed_total',
    help: 'Chunks of lines that were moved from Postgres into the object store.',
    registers,
  });
  const failures = new Counter({
    name: 'scheduler_log_sealings_failed_total',
    help: 'Failed tries to move the lines of a job into the object store.',
    registers,
  });
  const leave = [
    linesStored.subscribe((stored) => {
      lines.inc(stored.lines);
      bytes.inc(stored.bytes);
    }),
    sealings.subscribe(({ sealed, failed }) => {
      chunks.inc(sealed);
      failures.inc(failed);
    }),
  ];
  return () => leave.forEach((each) => each());
}
