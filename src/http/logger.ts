import { ConsoleLogger, type LogLevel } from '@nestjs/common';
import { currentOrigin, fieldsOf } from '../process/origin.js';
import type { LogLevel as ConfiguredLevel } from '../config/config.js';

/** One JSON object a line; a person at a terminal gets text. */
export function createLogger(level: ConfiguredLevel): ConsoleLogger {
  return new QuietLogger({
    json: !process.stdout.isTTY,
    flattenParams: true,
    logLevels: LEVELS[level],
    // A safeguard: no code should log a secret in the first place.
    redact: ['authorization', 'password', 'token', 'secret', 'userData', 'adminToken', 'encryptionKeys'],
  });
}

/** Nest logs every module and route it wires: some hundred lines a start that hide the one that matters. */
const CHATTY: ReadonlySet<unknown> = new Set(['InstanceLoader', 'RouterExplorer', 'RoutesResolver', 'NestFactory']);

class QuietLogger extends ConsoleLogger {
  override log(message: unknown, ...params: unknown[]): void {
    if (CHATTY.has(params.at(-1))) super.debug(message, ...(params as [string]));
    else super.log(message, ...(params as [string]));
  }

  /** `log({ message: 'launched', count })` and `log('launched', { count })` are one line, with the keys at its top. */
  protected override printMessages(messages: unknown[], ...[context, level, stream, stack, params]: Rest): void {
    const [first, ...others] = messages;
    // One search finds all lines about a request, whichever part logged them.
    const origin = currentOrigin();
    const fields = origin ? { ...fieldsOf(origin), ...params } : params;
    if (!hasMessage(first)) {
      super.printMessages(messages, context, level, stream, stack, fields);
      return;
    }
    const { message, ...details } = first;
    super.printMessages([message, ...others], context, level, stream, stack, { ...fields, ...details });
  }
}

type Rest = [
  context?: string,
  level?: LogLevel,
  stream?: 'stdout' | 'stderr',
  stack?: unknown,
  params?: Record<string, unknown>,
];

function hasMessage(message: unknown): message is { message: string } & Record<string, unknown> {
  if (typeof message !== 'object' || message === null || message instanceof Error) return false;
  return 'message' in message && typeof message.message === 'string';
}

const LEVELS: Readonly<Record<ConfiguredLevel, LogLevel[]>> = {
  error: ['fatal', 'error'],
  warn: ['fatal', 'error', 'warn'],
  info: ['fatal', 'error', 'warn', 'log'],
  debug: ['fatal', 'error', 'warn', 'log', 'debug', 'verbose'],
};
