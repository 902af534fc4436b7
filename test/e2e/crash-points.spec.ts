import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { runCrashTest, type StoryPoint } from '../chaos/crash-test.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'scheduler-api-crash-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

// `npm run crash-points` goes through all of them.
it('a process killed before or after anything that lasts: the deployment comes to the same end', async () => {
  const { points, lives, unreached } = await runCrashTest({
    directory,
    shards: 3,
    choose: sample,
    onLife: () => undefined,
  });
  expect(lives.flatMap(({ point, findings }) => findings.map((finding) => ({ point, finding })))).toEqual([]);
  // A few depend on what runs side by side; were it most of them, nothing would have been tested.
  expect(unreached.length).toBeLessThanOrEqual(2);
  expect(points).toBeGreaterThanOrEqual(100);
}, 600_000);

/** The first calls to EC2, both ways, a few of what is done to addresses, and a few of the rest from all over the life. */
function sample(points: readonly StoryPoint[]): StoryPoint[] {
  const calls = points.filter(({ name, occurrence }) => occurrence === 1 && /RunInstances|Terminate/.test(name));
  const switches = points.filter(({ name, story }) => story === 'replaced' && /led to, left|check stored/.test(name));
  const back = points.filter(({ name, story }) => story === 'handed-back' && /led to, left/.test(name));
  const rest = points.filter(({ name, story }) => story === 'replaced' && !name.startsWith('call'));
  return [
    ...[...calls, ...switches.slice(0, 4), ...back.slice(0, 2)],
    ...rest.filter((_, index) => index % Math.ceil(rest.length / 5) === 0),
  ];
}
