import { availableParallelism } from 'node:os';

// ESM under Jest: the npm scripts set --experimental-vm-modules. TypeScript is transformed by swc with decorator metadata.
export const swc = {
  swcrc: false,
  jsc: {
    target: 'es2024',
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
    keepClassNames: true,
  },
  module: { type: 'es6' },
  sourceMaps: 'inline',
};

const common = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', swc] },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
};

const withPostgres = {
  globalSetup: '<rootDir>/test/support/postgres-setup.ts',
  globalTeardown: '<rootDir>/test/support/postgres-teardown.ts',
};

/** One project a level; `npm run test:<level>` selects it, `npm test` runs unit, integration and e2e once each. */
export default {
  // Most of a test is waiting, for timers and for other processes: more than there are cores, up to what fits into 16 GB.
  maxWorkers: Math.min(availableParallelism() + 2, 8),
  // Tests of one file that run at once, each mostly waiting: with four workers twelve stacks may be starting on two cores,
  // for which test/support/stack.ts has the patience.
  maxConcurrency: 3,
  // A worker that has ended takes a second or two to give its memory back, and half a second is what Jest has for it: it
  // said of each run that tests leak. One that a test keeps open is still told of.
  workerGracefulExitTimeout: 20_000,
  // A bound, no measure: machines of CI may be several times slower than this one.
  testTimeout: 60_000,
  testSequencer: '<rootDir>/test/support/longest-first.js',
  reporters: ['default', '<rootDir>/test/support/skip-reporter.js'],
  projects: [
    { ...common, displayName: 'unit', testMatch: ['<rootDir>/{src,local,client,cli,test/histories}/**/*.spec.ts'] },
    { ...common, ...withPostgres, displayName: 'integration', testMatch: ['<rootDir>/test/integration/**/*.spec.ts'] },
    { ...common, ...withPostgres, displayName: 'e2e', testMatch: ['<rootDir>/test/e2e/**/*.spec.ts'] },
    { ...common, ...withPostgres, displayName: 'aws', testMatch: ['<rootDir>/test/aws/**/*.spec.ts'] },
    { ...common, displayName: 'rehearsal', testMatch: ['<rootDir>/test/rehearsal/**/*.spec.ts'] },
    {
      ...common,
      ...withPostgres,
      globalSetup: '<rootDir>/test/support/docker-setup.ts',
      displayName: 'docker',
      testMatch: ['<rootDir>/test/docker/**/*.spec.ts'],
    },
  ],
};
