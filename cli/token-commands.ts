import { type Command, Option } from 'commander';
import type { CreateToken } from '../client/index.js';
import { answerOf } from './answers.js';
import { allPages, printList } from './lists.js';
import { collect, type OpenSession, wholeNumber } from './options.js';
import { TOKEN_COLUMNS, tokenRow } from './views.js';

type CreateOptions = {
  readonly role: CreateToken['role'];
  readonly scope?: string[];
  readonly maxJobs?: number;
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
      new Option('--role <role>', 'what it may').choices(['viewer', 'deployer', 'admin']).makeOptionMandatory(),
    )
    .option('--scope <prefix>', 'only jobs whose name begins so; repeatable', collect)
    .option('--max-jobs <number>', 'living jobs of its scope', wholeNumber)
    .option('--requests-per-minute <number>', 'its own rate limit', wholeNumber)
    .option('--expires-in-days <number>', 'default: never', wholeNumber)
    .action(async (name: string, options: CreateOptions, self: Command) => {
      const { scheduler, terminal, isJson, isQuiet } = open(self);
      const { role, scope, maxJobs, requestsPerMinute, expiresInDays } = options;
      const limits = { maxJobs: maxJobs ?? null, requestsPerMinute: requestsPerMinute ?? null };
      const body = { name, role, scope: scope ?? null, ...limits, expiresInDays: expiresInDays ?? null };
      const made = await answerOf(scheduler.tokens.create({ body }));
      terminal.out(isJson ? JSON.stringify(made) : made.token);
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
      terminal.out(isJson ? JSON.stringify(revoked) : `${revoked.name} (${revoked.id}) is revoked`);
    });
}
