// Loaded before the program (`node --import`): names every point before and after something that lasts, and kills the
// process at the one that it gets over IPC. Nothing in src knows of it.
//
// Points: each COMMIT of a transaction that changed rows, each statement outside a transaction that did, and each call
// to EC2 that changes something; and the check of a port before callers are led there. A commit also says what it does to
// the addresses of jobs. Left out is the owner's lease: its loss at any moment
// is what every one of these crashes causes.
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { EC2Client } from '@aws-sdk/client-ec2';
import pg from 'pg';

export type CrashPoint = {
  readonly side: 'before' | 'after';
  /** Like `commit: UPDATE jobs, INSERT attempts` or `call: RunInstances`. */
  readonly name: string;
  /** Counts from 1 with each arming. */
  readonly occurrence: number;
};

export type CrashMessage = { readonly arm: CrashPoint | null };

/** What comes over IPC: a point that was passed, or that a message was heard. */
export type CrashAnswer = CrashPoint | 'heard';

const TABLES = 'jobs|deployments|attempts|orders|instances|assignments|launches|shapes|owner|routes';
const CHANGE = new RegExp(`\\b(INSERT INTO|UPDATE|DELETE FROM)\\s+(${TABLES})\\b`, 'gi');
const CALLS = new Set(['RunInstancesCommand', 'TerminateInstancesCommand', 'CreateTagsCommand']);

let armed: CrashPoint | null = null;
const seen = new Map<string, number>();

process.on('message', ({ arm }: CrashMessage) => {
  armed = arm;
  seen.clear();
  process.send?.('heard' satisfies CrashAnswer);
});
process.channel?.unref();

function pass(side: CrashPoint['side'], name: string): void {
  const key = `${side} ${name}`;
  const occurrence = (seen.get(key) ?? 0) + 1;
  seen.set(key, occurrence);
  if (armed?.side === side && armed.name === name && armed.occurrence === occurrence) {
    process.kill(process.pid, 'SIGKILL');
    // The signal is on its way; nothing of ours may run meanwhile.
    for (;;);
  }
  process.send?.({ side, name, occurrence } satisfies CrashAnswer);
}

type Query = (this: Connection, ...args: unknown[]) => unknown;
type Connection = { changes?: string[] | undefined; effects?: string[] };

const prototype = pg.Client.prototype as unknown as { query: Query };
const { query } = prototype;

prototype.query = function (...args) {
  const [first] = args;
  const text = typeof first === 'string' ? first : ((first as { text?: unknown } | undefined)?.text ?? '');
  if (typeof text !== 'string' || text === '') return query.apply(this, args);
  const name = this.changes === undefined ? statementOf(text) : transactionOf(this, text);
  if (/^\s*(BEGIN|START TRANSACTION)/i.test(text)) {
    this.changes = [];
    this.effects = [];
  }
  if (name !== undefined) pass('before', name);
  return afterwards(query, this, args, (rows) => {
    // Before it was run it was not known whether it would change anything.
    if (name !== undefined && (rows > 0 || name.startsWith('commit'))) pass('after', name);
    else if (this.changes !== undefined && rows > 0) {
      this.changes.push(...changesOf(text));
      this.effects?.push(...effectsOf(text, (first as { values?: unknown[] }).values ?? args[1]));
    }
  });
};

function statementOf(text: string): string | undefined {
  const changes = changesOf(text);
  return changes.length === 0 || isLease(changes) ? undefined : `statement: ${changes.join(', ')}`;
}

/** A transaction is as good as its COMMIT: what it did before is gone with the process. */
function transactionOf(connection: Connection, text: string): string | undefined {
  const isOver = /^\s*(COMMIT|ROLLBACK)/i.exec(text)?.[1]?.toUpperCase();
  if (isOver === undefined) return undefined;
  const changes = [...new Set(connection.changes)].sort();
  const effects = [...new Set(connection.effects)].sort();
  connection.changes = undefined;
  if (isOver !== 'COMMIT' || changes.length === 0 || isLease(changes)) return undefined;
  return `commit: ${changes.join(', ')}${effects.length > 0 ? ` (${effects.join(', ')})` : ''}`;
}

/** What it does to the addresses of jobs, by the rows of attempts that a pass or a check writes. */
function effectsOf(text: string, values: unknown): string[] {
  if (/^\s*UPDATE attempts SET reached_as/.test(text)) return ['check stored'];
  if (/^\s*UPDATE routes r SET removed_at/.test(text)) return ['hosts removed'];
  const [rows] = Array.isArray(values) ? (values as unknown[]) : [];
  if (!/^\s*UPDATE attempts a SET/.test(text) || typeof rows !== 'string') return [];
  const effects = (JSON.parse(rows) as AttemptRow[]).map(({ phase, ...row }) => [
    ...(row.routedPort === null ? [] : ['led to']),
    ...(row.unroutedAt === null ? [] : ['left']),
    ...(row.reachPort !== null && row.reachedAs === null ? ['check asked for'] : []),
    ...(phase === 'unrouting' || phase === 'stopping' || phase === 'ended' ? [phase] : []),
  ]);
  return effects.flat();
}

type AttemptRow = Readonly<Record<'phase' | 'routedPort' | 'unroutedAt' | 'reachPort' | 'reachedAs', unknown>> & {
  readonly phase: string;
};

function changesOf(text: string): string[] {
  const changes = [...text.matchAll(CHANGE)].map(([, verb = '', table = '']) => `${verb.split(' ')[0]} ${table}`);
  return [...new Set(changes)].sort();
}

function isLease(changes: readonly string[]): boolean {
  return changes.every((change) => change.endsWith(' owner'));
}

/** Calls the query, and `then` with the count of rows before the caller gets the result. */
function afterwards(query: Query, connection: Connection, args: unknown[], then: (rows: number) => void): unknown {
  const last = args.at(-1);
  if (typeof last === 'function') {
    const callback = (error: unknown, result?: { rowCount?: number | null }): void => {
      if (!error) then(result?.rowCount ?? 0);
      (last as (error: unknown, result: unknown) => void)(error, result);
    };
    return query.apply(connection, [...args.slice(0, -1), callback]);
  }
  const answer = query.apply(connection, args);
  if (!(answer instanceof Promise)) return answer;
  return answer.then((result: { rowCount?: number | null }) => {
    then(result.rowCount ?? 0);
    return result;
  });
}

type Send = (this: unknown, command: object, ...rest: unknown[]) => Promise<unknown>;
const client = EC2Client.prototype as unknown as { send: Send };
const { send } = client;

client.send = async function (command, ...rest) {
  const call = command.constructor.name;
  if (!CALLS.has(call)) return send.call(this, command, ...rest);
  const name = `call: ${call.replace('Command', '')}`;
  pass('before', name);
  try {
    return await send.call(this, command, ...rest);
  } finally {
    pass('after', name);
  }
};

const { request } = http;
http.request = ((...args: Parameters<typeof request>) => {
  const [options] = args as unknown as [{ path?: string; headers?: Record<string, string> }];
  const isCheck = options.path === '/' && options.headers?.['user-agent'] === 'scheduler-api';
  if (isCheck) pass('before', 'call: check of a port');
  const sent = request(...args);
  // Before the program hears of it.
  if (isCheck) sent.once('close', () => pass('after', 'call: check of a port'));
  return sent;
}) as typeof request;
syncBuiltinESMExports();
