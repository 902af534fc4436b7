// npm run fuzz -- --requests 50000 --seed 1: random requests, by docs/openapi.json and mutation. See docs/evidence.md.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { reportOf } from './report.ts';
import { type FuzzOptions, runFuzz } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    requests: { type: 'string', default: '50000' },
    senders: { type: 'string', default: '12' },
    'limit-seconds': { type: 'string', default: '1800' },
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
const options: FuzzOptions = {
  seed: numberOf('seed'),
  requests: numberOf('requests'),
  senders: numberOf('senders'),
  limitSeconds: numberOf('limit-seconds'),
  directory: values.directory ?? (await mkdtemp(join(tmpdir(), 'scheduler-api-fuzz-'))),
  signal: ending.signal,
  say: (line) => console.log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(5)} s  ${line}`),
};
options.say(`seed ${options.seed}; logs in ${options.directory}`);
const result = await runFuzz(options);
console.log(reportOf(options, result));
const isRight = result.findings.length === 0 && result.requests >= options.requests;
if (isRight && values.directory === undefined) await rm(options.directory, { recursive: true, force: true });
process.exit(isRight ? 0 : 1);

function numberOf(name: Exclude<keyof typeof values, 'directory'>): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number > 0) return number;
  console.error(`--${name} must be a whole number above 0`);
  process.exit(1);
}
