// Jest runs this before each file of tests in an instrumented tree: processes that the test starts find its name here.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';

const { testPath } = expect.getState();
const folder = join(import.meta.dirname, '../../.mutants');
writeFileSync(
  join(folder, `test-${process.pid}`),
  testPath.replace(/^.*?\/(?=(src|local|client|cli|test)\/)/, '').replaceAll('/', '~'),
);
