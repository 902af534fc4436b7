import { type Command, InvalidArgumentError, Option } from 'commander';
import { GOALS, type Goal } from './outcome.js';
import { parseSeconds, type Session } from './session.js';

// Options of several commands.

/** Opens the session from the options every command has. */
export type OpenSession = (command: Command) => Session;

export type WaitOptions = { readonly wait: boolean; readonly timeout: number };

const DEFAULT_TIMEOUT = '30m';

export function withWaiting(command: Command, what: string): Command {
  return withTimeout(command.option('--no-wait', `do not wait until ${what}`));
}

export function withTimeout(command: Command): Command {
  return command.addOption(
    new Option('--timeout <time>', 'longest time to wait; what was begun goes on')
      .argParser(parseSeconds)
      .default(parseSeconds(DEFAULT_TIMEOUT), DEFAULT_TIMEOUT),
  );
}

export function goalOption(): Option {
  return new Option('--until <goal>', 'how far').choices([...GOALS, 'gone']).default('settled' satisfies Goal);
}

/** For `--env A=1 --env B=2`. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

/** For what cannot be there twice. */
export function onlyOnce(value: string, previous?: string): string {
  if (previous !== undefined) throw new InvalidArgumentError('It can be given only once.');
  return value;
}

// An InvalidArgumentError is printed with the name of its option.

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

export function positiveNumber(text: string): number {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(text)) throw new InvalidArgumentError('It must be a number like 0.5.');
  return Number(text);
}

/** Number of a deployment: `3` or `#3`. */
export function deploymentNumber(text: string): number {
  return wholeNumber(text.replace(/^#/, ''));
}
