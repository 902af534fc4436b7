// In an instrumented tree: `node runner.js SPEC,… ID,… VERDICTS` wakes one mutant after the other and writes the verdicts.
import './sources.js';
import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { clearTimeout, setTimeout } from 'node:timers';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

const MOST_MS = 30_000;
/** Ends the process where a mutant never lets anything else have its turn. */
const WATCHDOG = `
  const { parentPort } = require('node:worker_threads');
  let timer;
  parentPort.on('message', () => {
    clearTimeout(timer);
    timer = setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${2 * MOST_MS});
  });`;
const [specs = '', ids = '', verdicts = ''] = process.argv.slice(2);
const { runUntilOneFails } = await import('./jest.js');
// A mutant may fail where no test waits for it.
process.on('uncaughtException', () => undefined);
process.on('unhandledRejection', () => undefined);
const watchdog = new Worker(WATCHDOG, { eval: true });
let runs = 0;
const run = async () => {
  runs += 1;
  return await runUntilOneFails(
    specs.split(','),
    async (spec) => await import(`${pathToFileURL(resolve(spec)).href}?run=${runs}`),
  );
};

globalThis.awakeMutant = 0;
// Twice, as what a run leaves behind must not fail the next.
const failure = (await run()) ?? (await run());
if (failure) {
  console.log(`fails with no mutant awake: ${failure.name}: ${String(failure.error?.message).slice(0, 500)}`);
  process.exit(1);
}
for (const id of ids.split(',').map(Number)) {
  // Without another line, the mutant has ended the process.
  appendFileSync(verdicts, `${id} it ends the process\n`);
  watchdog.postMessage('another');
  globalThis.awakeMutant = id;
  let timer;
  const late = new Promise((done) => (timer = setTimeout(() => done('late'), MOST_MS)));
  const result = await Promise.race([run(), late]);
  clearTimeout(timer);
  appendFileSync(verdicts, `${id} ${result ? (result.name ?? 'late') : 'survived'}\n`);
  // What it is still at would disturb the next one.
  if (result === 'late') break;
}
process.exit();
