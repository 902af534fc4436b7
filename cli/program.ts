import { Command, CommanderError } from 'commander';
import { addDeploy } from './deploy-command.js';
import { addDeploymentCommands } from './deployment-commands.js';
import { addEvents } from './event-commands.js';
import { type Exit, EXITS } from './exit-codes.js';
import { Failure } from './failure.js';
import { addFleetCommands } from './fleet-commands.js';
import { addJobCommands } from './job-commands.js';
import { addLogs } from './log-commands.js';
import { addOpen } from './open-command.js';
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
  const { args, command } = splitCommand(invocation.args);
  const program = createProgram(invocation, command);
  try {
    await program.parseAsync(args, { from: 'user' });
    return EXITS.ok.code;
  } catch (error) {
    const failure = failureOf(error, helpFor(program, args));
    return EXITS[exitOf(failure, invocation, program.opts<GlobalOptions>().json ?? false)].code;
  }
}

/** What follows `--` of a deploy is the container's command, and never the image that was left out. */
function splitCommand(args: readonly string[]): { args: readonly string[]; command: readonly string[] } {
  const at = args.indexOf('--');
  if (at < 0 || !args.slice(0, at).includes('deploy')) return { args, command: [] };
  return { args: args.slice(0, at), command: args.slice(at + 1) };
}

/** @param command of the container, for `deploy` */
export function createProgram({ environment, terminal, signal }: Invocation, command: readonly string[] = []): Command {
  const program = new Command('scheduler')
    .description('Deploys Docker images to jobs, each on an EC2 instance of its own.')
    .option('--url <url>', 'where the API is; default: SCHEDULER_URL, or http://127.0.0.1:3000')
    .option(
      '--token-file <file>',
      'file that holds the token; default: SCHEDULER_TOKEN_FILE, or SCHEDULER_TOKEN itself',
    )
    .option('--json', 'the result as JSON, for machines')
    .option('-q, --quiet', 'only the result, no progress')
    .option('--retry-for <time>', 'how long to try when the API does not answer (default: 30s)', parseSeconds)
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      // `run` prints errors; what is left is the help, where the command is missing.
      outputError: () => undefined,
      writeErr: (text) => program.opts<GlobalOptions>().json || text.trimEnd().split('\n').forEach(terminal.note),
      writeOut: (text) => text.trimEnd().split('\n').forEach(terminal.out),
    });
  const open = (self: Command) => openSession(self.optsWithGlobals<GlobalOptions>(), environment, { terminal, signal });
  addDeploy(program, open, { environment, command });
  addJobCommands(program, open);
  addOpen(program, open, environment);
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

/** The command line that shows the options of the command: those of `deploy` are not in the program’s own help. */
function helpFor(program: Command, args: readonly string[]): string {
  let found = program;
  const names = ['scheduler'];
  for (const arg of args) {
    const next = found.commands.find((command) => command.name() === arg);
    if (!next) continue;
    names.push(arg);
    found = next;
  }
  return `${names.join(' ')} --help`;
}

/** Prints what went wrong. */
function exitOf(failure: Failure | undefined, { terminal, signal }: Invocation, isJson: boolean): Exit {
  if (!failure) return 'ok';
  const { exit, message, details, problem } = signal.aborted ? new Failure(signal.reason as Exit, 'stopped') : failure;
  if (isJson) {
    terminal.jsonNote({ error: { exit, code: EXITS[exit].code, message, ...(problem && { problem }) } });
    return exit;
  }
  terminal.note(`${terminal.styleNote('red', 'error:')} ${message}`);
  details.forEach((line) => terminal.note(line.startsWith('  ') ? line : `  ${line}`));
  return exit;
}

/** @returns undefined where nothing is wrong: the help was requested */
function failureOf(error: unknown, help: string): Failure | undefined {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return undefined;
    // The help is on the screen already.
    if (error.code === 'commander.help') return new Failure('usage', 'a command is missing');
    const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
    return new Failure('usage', message, { details: [`see ${help}`] });
  }
  if (!(error instanceof Error)) return new Failure('error', String(error));
  const stack = (error.stack ?? '').split('\n').filter((line) => /^ +at /.test(line));
  return new Failure('error', `${error.name}: ${error.message}`, { details: stack });
}
