import { expect, it } from '@jest/globals';
import { chunkKey, jobPrefix, parseChunkKey } from './chunk-objects.js';

const JOB = '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11';

it.each([
  [1, 1],
  [999, 1_000],
  [1, 999_999_999_999],
  [1_000_000_000_000, 2_000_000_000_000],
])('the name of a chunk of lines %d to %d says so again, and begins with its job', (firstLine, lastLine) => {
  const range = { jobId: JOB, firstLine, lastLine };
  expect(parseChunkKey(chunkKey(range))).toEqual(range);
  expect(chunkKey(range).startsWith(jobPrefix(JOB))).toBe(true);
});

it('the same lines have the same name as ever', () => {
  const key = chunkKey({ jobId: JOB, firstLine: 501, lastLine: 1_000 });
  expect(key).toBe(`${JOB}/000000000501-000000001000.log.gz`);
});

it('names are in the order of the lines', () => {
  const keys = [1, 9, 10, 99_999, 100_000].map((firstLine) => chunkKey({ jobId: JOB, firstLine, lastLine: firstLine }));
  expect(keys.toSorted()).toEqual(keys);
});

it.each([
  '',
  JOB,
  `${JOB}/`,
  `${JOB}/readme.txt`,
  `${JOB}/1-2.log.gz`,
  `other/${JOB}/000000000001-000000000002.log.gz`,
])('another object of the folder is no chunk: %j', (key) => {
  expect(parseChunkKey(key)).toBeUndefined();
});
