// What the tests use of Jest, so that they can be run again and again in one process. `it.skip` and mocks are not there.
import { expect } from 'expect';

export { expect };
export const jest = { setTimeout: () => undefined };

let levels = [levelOf('')];
let tests = [];
/** Names of tests that failed, the last one first: each may notice the next mutant as well. */
let failed = [];

function levelOf(name) {
  return { name, beforeAll: [], beforeEach: [], afterEach: [], afterAll: [] };
}

export function describe(name, body) {
  levels.push(levelOf(name));
  body();
  levels.pop();
}

export function it(name, run) {
  tests.push({ name: [...levels.map((level) => level.name), name].join(' ').trim(), run, levels: [...levels] });
}

for (const declare of [describe, it]) {
  declare.each = (rows) => (name, body) => {
    for (const row of rows) declare(name, () => body(...(rows.every(Array.isArray) ? row : [row])));
  };
}
it.concurrent = it;

export const beforeAll = (hook) => levels.at(-1).beforeAll.push(hook);
export const beforeEach = (hook) => levels.at(-1).beforeEach.push(hook);
export const afterEach = (hook) => levels.at(-1).afterEach.push(hook);
export const afterAll = (hook) => levels.at(-1).afterAll.push(hook);

/** Runs the tests of files until one fails. `load` imports a file anew: what it keeps in variables is of one run. */
export async function runUntilOneFails(files, load) {
  tests = [];
  for (const file of files) {
    levels = [levelOf('')];
    await load(file);
  }
  const place = ({ name }) => (failed.includes(name) ? failed.indexOf(name) : failed.length);
  const result = await run(tests.toSorted((a, b) => place(a) - place(b)));
  if (result) failed = [result.name, ...failed.filter((name) => name !== result.name)];
  return result;
}

async function run(inOrder) {
  const entered = new Set();
  try {
    for (const test of inOrder) {
      for (const level of test.levels) {
        if (entered.has(level)) continue;
        entered.add(level);
        for (const hook of level.beforeAll) await hook();
      }
      const error = await errorOf(test);
      if (error !== undefined) return { name: test.name, error };
    }
    return undefined;
  } catch (error) {
    return { name: 'what tests need', error };
  } finally {
    for (const level of [...entered].reverse())
      for (const hook of level.afterAll) await Promise.resolve(hook()).catch(() => undefined);
  }
}

async function errorOf({ run, levels }) {
  try {
    for (const level of levels) for (const hook of level.beforeEach) await hook();
    await run();
    return undefined;
  } catch (error) {
    return error;
  } finally {
    for (const level of levels.toReversed()) for (const hook of level.afterEach) await hook();
  }
}
