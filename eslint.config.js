import { readFileSync } from 'node:fs';
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Names of files that decide, of values only; .dependency-cruiser.cjs says what they may import. */
const pure = JSON.parse(readFileSync(new URL('scripts/pure-files.json', import.meta.url), 'utf8')).map(
  (name) => `src/**/${name}.ts`,
);

/** What stands in one file of src, held by test/integration/one-place-each.spec.ts. */
const ONE_PLACE_EACH = JSON.parse(readFileSync(new URL('scripts/one-place-each.json', import.meta.url), 'utf8'));
const MOST_PARAMETERS = 5;
const COUNT_PARAMETERS = {
  selector: `:function[params.length>${MOST_PARAMETERS}]:not(MethodDefinition[kind="constructor"] > FunctionExpression)`,
  message: `Too many parameters, most are ${MOST_PARAMETERS}. Constructors may have more: Nest calls them, by type.`,
};
const NO_WAITERS = {
  group: ['@aws-sdk/*'],
  importNamePattern: '^waitUntil|^waitFor',
  message: 'A waiter calls without a budget, and fails on states that are none of its business. The sweep looks.',
};
/** What a class needs to be injected, to log, and to begin and end with the application. */
const PROVIDERS_ONLY = {
  name: '@nestjs/common',
  allowImportNames: [
    ...['Inject', 'Injectable', 'Logger', 'Optional'],
    ...['BeforeApplicationShutdown', 'OnApplicationBootstrap', 'OnApplicationShutdown'],
  ],
  message: 'Without a role suffix a file is usable with `new` in a test.',
};
const ONE_TERMINAL = 'Terminal of cli/terminal.ts is the one place that writes to standard output and error.';

export default defineConfig(
  { ignores: ['dist', 'coverage', '.local', 'node_modules', 'client/generated'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/consistent-type-definitions': ['error', 'type'],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      'max-lines': ['error', { max: 350, skipBlankLines: true, skipComments: true }],
      'max-params': 'off',
      '@typescript-eslint/max-params': ['error', { max: MOST_PARAMETERS }],
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only src/config reads the environment: add a setting there.' },
      ],
      'no-restricted-imports': ['error', { patterns: [NO_WAITERS] }],
    },
  },
  {
    files: ['src/config/**', 'cli/start.ts', 'local/**', 'test/**', 'bench/**', 'scripts/**', '**/*.spec.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    // What came from outside must not drive a terminal: cli/terminal.ts is the one place that writes to it.
    files: ['cli/**'],
    ignores: ['**/*.spec.ts', 'cli/terminal.ts', 'cli/safe-text.ts', 'cli/main.ts'],
    rules: {
      'no-console': 'error',
      'no-restricted-globals': ['error', { name: 'console', message: ONE_TERMINAL }],
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'stdout', message: ONE_TERMINAL },
        { object: 'process', property: 'stderr', message: ONE_TERMINAL },
        { object: 'JSON', property: 'stringify', message: 'Terminal.json() leaves out what a terminal obeys.' },
        { object: 'process', property: 'env', message: 'Take the environment of the session.' },
      ],
      'no-restricted-imports': [
        'error',
        ...['node:process', 'node:tty', 'node:console', 'node:readline', 'node:readline/promises'].map((name) => ({
          name,
          message: ONE_TERMINAL,
        })),
        { name: 'node:fs', importNames: ['writeSync', 'writeFileSync', 'createWriteStream'], message: ONE_TERMINAL },
      ],
    },
  },
  {
    // All of the process: its environment, and what becomes of a pipe nobody reads.
    files: ['cli/start.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['src/**/*.ts'],
    ignores: [
      '**/*.spec.ts',
      'src/schema/**',
      'src/database/wake.ts',
      'src/database/database.ts',
      'src/database/signals.ts',
      'src/events/event-sql.ts',
      // pg-boss brings its own.
      'src/webhooks/delivery-queue.ts',
    ],
    rules: {
      '@typescript-eslint/max-params': 'off',
      'no-restricted-syntax': ['error', COUNT_PARAMETERS, ...ONE_PLACE_EACH],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: [
      '**/*.{spec,module,controller,service,guard,filter,pipe,interceptor,decorator}.ts',
      'src/{main,configure-app,http/logger}.ts',
    ],
    rules: { 'no-restricted-imports': ['error', { paths: [PROVIDERS_ONLY], patterns: [NO_WAITERS] }] },
  },
  {
    // Decide in pure functions: `now` comes in as a value, nothing is drawn or read here.
    files: pure,
    ignores: ['**/*.spec.ts'],
    rules: {
      'no-restricted-globals': ['error', 'process', 'setTimeout', 'setInterval', 'fetch', 'performance', 'crypto'],
      'no-restricted-syntax': [
        'error',
        COUNT_PARAMETERS,
        ...ONE_PLACE_EACH,
        {
          selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']",
          message: 'Pure: take `now` as a value.',
        },
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'Pure: take `now` as a value.' },
        {
          selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']",
          message: 'Pure: no randomness.',
        },
      ],
    },
  },
  {
    files: ['**/*.spec.ts', 'test/**'],
    rules: { 'max-lines': 'off', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    // Node runs these as they are, and strips types only.
    files: [
      ...['local/**/*.ts', 'scripts/**/*.ts', 'bench/**/*.ts'],
      ...['test/chaos/**/*.ts', 'test/fuzz/**/*.ts', 'test/swaps/**/*.ts'],
    ],
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: 'TSParameterProperty', message: 'Node cannot strip it: declare a field and assign it.' },
        { selector: 'TSEnumDeclaration', message: 'Node cannot strip it: use a union of literals.' },
      ],
    },
  },
  {
    // A table: where it would be cut means nothing.
    files: ['scripts/*.list.ts'],
    rules: { 'max-lines': 'off' },
  },
  {
    files: ['**/*.js', '**/*.mjs', '**/*.cjs'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        setTimeout: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
      },
    },
  },
);
