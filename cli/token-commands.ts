import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CreateToken } from '../client/index.js';
import { answerOf } from './answers.js';
import { allPages, printList } from './lists.js';
import { collect, type OpenSession, wholeNumber } from './options.js';
import { TOKEN_COLUMNS, tokenRow } from './views.js';

type Allowed = ReadonlyMap<string, number | readonly string[]>;
type CreateOptions = {
  readonly role: CreateToken['role'];
  readonly scope?: string[];
  readonly maxJobs?: number;
  readonly maxInstances?: number;
  readonly maxWebhooks?: number;
  readonly allow?: Allowed;
  readonly requestsPerMinute?: number;
  readonly expiresInDays?: number;
};

export function addTokenCommands(program: Command, open: OpenSession): void {
  const tokens = program.command('tokens').summary('make, list and revoke tokens (admin)');

  tokens
    .command('list')
    .summary('list tokens, newest first')
    .action(async (_options: object, self: Command) => {
      const session = open(self);
      const found = allPages((query) => session.scheduler.tokens.list({ query }));
      await printList(session, found, { columns: TOKEN_COLUMNS, rowOf: tokenRow });
    });

  tokens
    .command('create')
    .summary('make a token; standard output is the token and nothing else, this once')
    .argument('<name>', 'what it is for')
    .addOption(
      new Option('--role <role>', 'what it may do').choices(['viewer', 'deployer', 'admin']).makeOptionMandatory(),
    )
    .option('--scope <prefix>', 'only jobs whose name begins so; repeatable', collect)
    .option('--max-jobs <number>', 'living jobs of its scope', wholeNumber)
    .option('--max-instances <number>', 'instances of its scope', wholeNumber)
    .option('--max-webhooks <number>', 'webhooks of its scope', wholeNumber)
    .option(
      '--allow <field=value>',
      'what its jobs may name and cost, like registries=docker.io or maxDiskGiB=50; repeatable, and profiles= allows none',
      collectAllowed,
    )
    .option('--requests-per-minute <number>', 'its own rate limit', wholeNumber)
    .option('--expires-in-days <number>', 'default: never', wholeNumber)
    .action(async (name: string, options: CreateOptions, self: Command) => {
      const { scheduler, terminal, isJson, isQuiet } = open(self);
      const { allow, ...fields } = options;
      const body = { name, ...fields, ...(allow && { allow: Object.fromEntries(allow) }) };
      const made = await answerOf(scheduler.tokens.create({ body }));
      if (isJson) terminal.json(made);
      else terminal.out(made.token);
      if (!isQuiet)
        terminal.note(`token ${made.id}, shown this once; revoke it with: scheduler tokens revoke ${made.id}`);
    });

  tokens
    .command('revoke')
    .summary('revoke a token')
    .argument('<id>', 'the part after sch_')
    .action(async (id: string, _options: object, self: Command) => {
      const { scheduler, terminal, isJson } = open(self);
      const revoked = await answerOf(scheduler.tokens.revoke({ path: { id } }));
      if (isJson) terminal.json(revoked);
      else terminal.out(`${revoked.name} (${revoked.id}) is revoked`);
    });
}

/** `FIELD=VALUE`, once for each name of a list. The API checks which fields there are. */
function collectAllowed(text: string, previous: Allowed = new Map()): Allowed {
  const [, field, value] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (field === undefined || value === undefined) throw new InvalidArgumentError('It must be FIELD=VALUE.');
  if (field.startsWith('max')) return new Map([...previous, [field, wholeNumber(value)]]);
  const before = previous.get(field);
  const names = typeof before === 'object' ? before : [];
  return new Map([...previous, [field, value === '' ? names : [...names, value]]]);
}
