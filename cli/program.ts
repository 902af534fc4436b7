import { Command, CommanderError } from 'commander';
import { addDeploy } from './deploy-command.js';
import { addDeploymentCommands } from './deployment-commands.js';
import { addEvents } from './event-commands.js';
import { type Exit, EXITS } from './exit-codes.js';
import { Failure } from './failure.js';
import { addFleetCommands } from './fleet-commands.js';
import { addJobCommands } from './job-commands.js';
import { addLogs } from './log-commands.js';
import { type Environment, type GlobalOptions, openSession, parseSeconds } from './session.js';
import type { Terminal } from './terminal.js';
import { addTokenCommands } from './token-commands.js';

export type Invocation = {
  readonly args: readonly string[];
  readonly environment: Environment;
  readonly terminal: Terminal;
  /** Aborted with the exit it means: `interrupted` or `terminated`. */
  readonly signal: AbortSignal;
};

/** Carries out a command line. @returns the exit code */
export async function run(invocation: Invocation): Promise<number> {
  const program = createProgram(invocation);
  try {
    await program.parseAsync(invocation.args, { from: 'user' });
    return EXITS.ok.code;
  } catch (error) {
    return EXITS[exitOf(error, invocation, program.opts<GlobalOptions>().json ?? false)].code;
  }
}

export function createProgram({ environment, terminal, signal }: Invocation): Command {
  const program = new Command('scheduler')
    .description('Deploys Docker images to jobs, each on an EC2 instance of its own.')
    .option('--url <url>', 'where the API is; default: SCHEDULER_URL, or http://127.0.0.1:3000')
    .option(
      '--token-file <file>',
      'file that holds the token; default: SCHEDULER_TOKEN_FILE, or SCHEDULER_TOKEN itself',
    )
    .option('--json', 'the result as JSON, for machines')
    .option('-q, --quiet', 'only the result, nothing of what goes on')
    .option('--retry-for <time>', 'how long to try when nobody answers (default: 30s)', parseSeconds)
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, writeOut: (text) => terminal.out(text.trimEnd()) });
  const open = (command: Command) =>
    openSession(command.optsWithGlobals<GlobalOptions>(), environment, { terminal, signal });
  addDeploy(program, open, environment);
  addJobCommands(program, open);
  addLogs(program, open);
  addEvents(program, open);
  addDeploymentCommands(program, open);
  addFleetCommands(program, open);
  addTokenCommands(program, open);
  program.addHelpText('after', () => `\nExit codes:\n${exitLines().join('\n')}`);
  return program;
}

function exitLines(): string[] {
  return Object.values(EXITS).map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`);
}

/** Tells what went wrong. */
function exitOf(error: unknown, { terminal, signal }: Invocation, isJson: boolean): Exit {
  if (error instanceof CommanderError && error.exitCode === 0) return 'ok';
  const failure = signal.aborted ? new Failure(signal.reason as Exit, 'stopped') : failureOf(error);
  const { exit, message, details, problem } = failure;
  if (isJson) {
    terminal.note(JSON.stringify({ error: { exit, code: EXITS[exit].code, message, ...(problem && { problem }) } }));
    return exit;
  }
  terminal.note(`${terminal.styleNote('red', 'error:')} ${message}`);
  details.forEach((line) => terminal.note(line.startsWith('  ') ? line : `  ${line}`));
  return exit;
}

function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) {
    return new Failure('usage', error.message.replace(/^error: /, ''), { details: ['see scheduler --help'] });
  }
  return new Failure('error', error instanceof Error ? (error.stack ?? error.message) : String(error));
}
