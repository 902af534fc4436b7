/** The import rules of ARCHITECTURE.md. Each rule's comment is its reason. */
const only = (name, comment, from, path) => ({ name, comment, severity: 'error', from, to: { path } });

module.exports = {
  forbidden: [
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
      'Only those who act on AWS may import it (fleet on EC2, registries on ECR), and those who measure that.',
      { path: '^src', pathNot: '^src/(aws|fleet|registries|logs|health|metrics|tracing|main|app\\.module)' },
      '^src/aws/(?!s3\\.ts)',
    ),
    only(
      's3-users',
      'Secrets at start, log segments later.',
      { path: '^src', pathNot: '^src/(aws|config|fleet|logs|health|app\\.module)' },
      '^src/aws/s3\\.ts',
    ),
    only('s3-imports-no-config', 'config loads .env through it.', { path: '^src/aws/s3\\.ts' }, '^src/'),
    only('config-is-a-leaf', 'Everyone imports config.', { path: '^src/config/' }, '^src/(?!config|aws/s3\\.ts)'),
    only(
      'http-knows-no-feature',
      'Features import http, never the reverse.',
      { path: '^src/http' },
      '^src/(jobs|deployments|scheduler|fleet|agent|aws|health)',
    ),
    only(
      'process-is-a-leaf',
      'Loops and signs of life know nothing of what they carry.',
      { path: '^src/process' },
      '^src/(?!process)',
    ),
    only(
      'jobs-first',
      'jobs ← deployments ← scheduler.',
      { path: '^src/jobs' },
      '^src/(deployments|scheduler|fleet|agent|aws|health)/',
    ),
    only(
      'deployments-second',
      'jobs ← deployments ← scheduler.',
      { path: '^src/deployments' },
      '^src/(scheduler|fleet|agent|aws|health)/',
    ),
    only(
      'scheduler-decides',
      'It talks to fleet and agent through rows.',
      { path: '^src/scheduler' },
      '^src/(fleet|aws|health)/',
    ),
    only(
      'fleet-supplies',
      'It talks to scheduler and agent through rows.',
      { path: '^src/fleet' },
      '^src/(scheduler|health)/',
    ),
    only(
      'agent-executes',
      'It talks to the others through rows.',
      { path: '^src/agent' },
      '^src/(scheduler|aws|health)/',
    ),
    only(
      'webhooks-listen',
      'They follow events; whoever makes events knows nothing of who is told.',
      { path: '^src/(jobs|deployments|scheduler|fleet|agent|aws|http|auth|events)/' },
      '^src/webhooks/',
    ),
    only(
      'metrics-last',
      'It reads what the others tell; nobody depends on being measured.',
      { path: '^src/(?!metrics|tracing|app\\.module|main|cluster)' },
      '^src/(metrics|tracing)/',
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
        path: '(/plan-[^/]*|-status|/shape-spec|/image-reference|/container-spec|/container-logs|/launch-input|/user-data)\\.ts$',
        pathNot: '\\.spec\\.ts$',
      },
      to: {
        dependencyTypesNot: ['type-only'],
        pathNot:
          '(/plan-[^/]*|-status|/shape-spec|/image-reference|/container-spec|/container-logs|/launch-input|/user-data)\\.ts$',
      },
    },
    {
      name: 'nest-by-role',
      comment: 'Without a role suffix a file is plain TypeScript, usable with `new` in a test.',
      severity: 'error',
      from: {
        path: '^src',
        pathNot:
          '(\\.(module|controller|service|guard|filter|pipe|interceptor|decorator|spec)\\.ts$|^src/(main|configure-app)\\.ts$)',
      },
      to: { path: 'node_modules/@nestjs/' },
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
