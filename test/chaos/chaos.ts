// npm run chaos -- --seed 1 --jobs 300 --replicas 3 --minutes 10: everything that can go wrong, all at once; then
// checks that what was requested is there, and nothing else. See docs/evidence.md.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { reportOf } from './report.ts';
import { runChaos, type ChaosOptions } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    jobs: { type: 'string', default: '30' },
    replicas: { type: 'string', default: '3' },
    workers: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '2' },
    'faults-per-minute': { type: 'string', default: '60' },
    'rest-seconds': { type: 'string', default: '600' },
    directory: { type: 'string' },
  },
});

const ending = new AbortController();
const stop = (): void => {
  console.log('stopping …');
  ending.abort();
};
process.once('SIGINT', stop).once('SIGTERM', stop);

const startedAt = performance.now();
const options: ChaosOptions = {
  seed: numberOf('seed'),
  jobs: numberOf('jobs'),
  replicas: numberOf('replicas'),
  workers: numberOf('workers'),
  minutes: numberOf('minutes'),
  faultsPerMinute: numberOf('faults-per-minute'),
  restLimitSeconds: numberOf('rest-seconds'),
  directory: values.directory ?? (await mkdtemp(join(tmpdir(), 'scheduler-api-chaos-'))),
  signal: ending.signal,
  say: (line) => console.log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(5)} s  ${line}`),
};
options.say(`seed ${options.seed}; logs in ${options.directory}`);
const result = await runChaos(options);
console.log(reportOf(options, result));
const isRight = result.isRight && !ending.signal.aborted;
if (isRight && values.directory === undefined) await rm(options.directory, { recursive: true, force: true });
process.exit(isRight ? 0 : 1);

function numberOf(name: Exclude<keyof typeof values, 'directory'>): number {
  const number = Number(values[name]);
  if (Number.isFinite(number) && number > 0) return number;
  console.error(`--${name} must be a number above 0`);
  process.exit(1);
}
