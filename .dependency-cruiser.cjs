/** The import rules of ARCHITECTURE.md. Each rule's comment is its reason. */
const only = (name, comment, from, path) => ({ name, comment, severity: 'error', from, to: { path } });

/** Files that decide, of values only: one list for ESLint as well. */
const PURE = `/(${require('./scripts/pure-files.json').join('|').replaceAll('*', '[^/]*')})\\.ts$`;

/**
 * Folders of src from the top: each imports what stands below it, and nothing beside or above it (a spec may). `.` is what
 * stands in src itself. Scheduler, agent and fleet meet in rows of the database.
 */
const LAYERS = [
  ['.'],
  ['health', 'metrics', 'tracing'],
  ['schema', 'retention', 'key-rotation', 'agent-keys'],
  ['fleet', 'logs'],
  ['snapshots', 'scheduler', 'agent', 'ingress'],
  ['deployments', 'docker', 'webhooks'],
  ['jobs', 'tokens', 'registries'],
  ['events'],
  ['api'],
  ['auth', 'secrets'],
  ['http', 'ownership'],
  ['config'],
  ['aws', 'database'],
  ['process'],
];
const within = (folders) => `^src/(?:${folders.map((folder) => (folder === '.' ? '[^/]+$' : `${folder}/`)).join('|')})`;
const layers = LAYERS.flatMap((folders, level) =>
  folders.map((folder) => ({
    name: `layers: ${folder === '.' ? 'src' : folder}`,
    comment: 'It imports only what stands below it in LAYERS of .dependency-cruiser.cjs.',
    severity: 'error',
    from: { path: within([folder]), pathNot: '\\.spec\\.ts$' },
    to: { path: within(LAYERS.slice(0, level + 1).flat()), pathNot: within([folder]) },
  })),
);
const everywhere = {
  name: 'layers: every folder has one',
  comment: 'A new folder of src gets its place in LAYERS of .dependency-cruiser.cjs.',
  severity: 'error',
  from: { path: '^src/', pathNot: within(LAYERS.flat()) },
  to: {},
};

module.exports = {
  forbidden: [
    ...layers,
    everywhere,
    {
      name: 'no-cycles',
      comment: 'A cycle makes the order of initialisation matter.',
      severity: 'error',
      // The generator's own runtime has one, of types only.
      from: { pathNot: '^client/generated/client/' },
      to: { circular: true },
    },
    only(
      'src-knows-no-test-double',
      'Production code must not know that a local cloud exists.',
      { path: '^src', pathNot: '\\.spec\\.ts$' },
      '^(local|test|bench)/',
    ),
    only(
      'aws-sdk-in-aws-only',
      'SDK types stop at the edge.',
      { path: '^src', pathNot: '^src/aws/' },
      'node_modules/@aws-sdk/',
    ),
    only(
      'aws-users',
      'Only those who act on AWS may import it (fleet and snapshots on EC2, their budgets in ownership, registries on ECR), and those who measure that.',
      {
        path: '^src',
        pathNot: '^src/(aws|fleet|ownership|snapshots|registries|logs|health|metrics|tracing|main|app\\.module)',
      },
      '^src/aws/(?!s3\\.ts)',
    ),
    only(
      's3-users',
      'Secrets at start, chunks of logs later.',
      { path: '^src', pathNot: '^src/(aws|config|fleet|logs|health|app\\.module)' },
      '^src/aws/s3\\.ts',
    ),
    only('s3-imports-no-config', 'config loads .env through it.', { path: '^src/aws/s3\\.ts' }, '^src/'),
    only(
      'fleet-supplies',
      'It talks to the scheduler through rows.',
      { path: '^src/fleet/', pathNot: '\\.spec\\.ts$' },
      '^src/scheduler/',
    ),
    only(
      'client-stands-alone',
      'Others take the folder into programs that have nothing else of this one.',
      { path: '^client/', pathNot: '\\.spec\\.ts$' },
      '^(?!client/)',
    ),
    only(
      'cli-is-a-client',
      'It knows of the API what the client knows, and starts without loading the service.',
      { path: '^cli/', pathNot: '\\.spec\\.ts$' },
      '^(src|local|test)/|node_modules/(?!commander/|eventsource-parser/)',
    ),
    {
      name: 'pure-files',
      comment: 'Planners and builders are functions of values: no Nest, no TypeORM, no SDK, no node:*.',
      severity: 'error',
      from: {
        path: PURE,
        pathNot: '\\.spec\\.ts$',
      },
      to: {
        dependencyTypesNot: ['type-only'],
        pathNot: PURE,
      },
    },
    {
      name: 'nest-by-role',
      comment:
        'Without a role suffix a file takes of Nest only what an injected class needs (PROVIDERS_ONLY of eslint.config.js).',
      severity: 'error',
      from: {
        path: '^src',
        pathNot:
          '(\\.(module|controller|service|guard|filter|pipe|interceptor|decorator|spec)\\.ts$|^src/(main|configure-app)\\.ts$)',
      },
      to: { path: 'node_modules/@nestjs/(?!common/)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.js'],
    },
  },
};
