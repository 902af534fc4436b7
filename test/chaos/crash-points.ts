// npm run crash-points: the process is killed at every point of a deployment's life where something lasting happens,
// once at each, and each of these lives must come to the same end. See docs/evidence.md.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pointText, runCrashTest } from './crash-test.ts';

const { values } = parseArgs({
  options: {
    shards: { type: 'string', default: '2' },
    /** Only points whose text contains it. */
    only: { type: 'string', default: '' },
    directory: { type: 'string' },
  },
});

const ending = new AbortController();
const stop = (): void => {
  console.log('stopping after the lives under way …');
  ending.abort();
};
process.once('SIGINT', stop).once('SIGTERM', stop);

const startedAt = performance.now();
const directory = values.directory ?? (await mkdtemp(join(tmpdir(), 'scheduler-api-crash-')));
console.log(`logs in ${directory}`);
const { points, lives, unreached } = await runCrashTest({
  directory,
  shards: Number(values.shards),
  choose: (all) => all.filter((point) => pointText(point).includes(values.only)),
  signal: ending.signal,
  onLife: ({ point, story, findings, seconds, isReached }, done, total) => {
    const verdict = findings.length > 0 ? 'WRONG' : isReached ? 'right' : 'not reached';
    console.log(
      `${done}/${total}  ${seconds.toFixed(1).padStart(6)} s  ${verdict}  ${point ? pointText({ ...point, story }) : ''}`,
    );
    for (const { invariant, subject, detail } of findings) console.log(`    ${invariant}: ${subject}: ${detail}`);
  },
});
const wrong = lives.filter(({ findings }) => findings.length > 0);
const minutes = (performance.now() - startedAt) / 60_000;
console.log(
  `${points} points; crashed at ${lives.length - unreached.length}, ${unreached.length} not reached, ${wrong.length} wrong; ${minutes.toFixed(1)} minutes`,
);
if (wrong.length === 0 && values.directory === undefined) await rm(directory, { recursive: true, force: true });
process.exit(wrong.length === 0 && !ending.signal.aborted ? 0 : 1);
