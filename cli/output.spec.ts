import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { createProgram, run } from './program.js';
import { openTerminal } from './terminal.js';

const MARK = 'MARK';
/** Clears the screen, hides, forges lines, writes the clipboard, renames the window; by one byte (C1) as well. */
const HOSTILE = `${MARK}\u001b[2J\u001b[8mh\rFORGED\nFORGED\r\nFORGED\u2028FORGED\u001b]52;c;eA==\u0007\u009d0;x\u009c\u009b2J\b\u007f\u202e\u0000`;
/** Everything a terminal obeys but our own colours, and beginnings of lines that are not ours. */
// eslint-disable-next-line no-control-regex
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]|^FORGED/m;
// eslint-disable-next-line no-control-regex
const COLOURS = /\u001b\[[0-9;]*m/g;
// eslint-disable-next-line no-control-regex
const OUR_COLOURS = /\u001b\[(0|1|2|22|31|32|33|36|39)m/g;

type Schema = {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  anyOf?: Schema[];
  oneOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
};
type Operation = { responses: Record<string, { content?: Record<string, { schema?: Schema }> }> };
type Document = { paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, Schema> } };

/** The arguments each command is called with. */
const CALLS: Readonly<Record<string, readonly string[][]>> = {
  deploy: [
    ['web', 'nginx', '--timeout', '0'],
    ['web', 'nginx', '--no-wait'],
  ],
  jobs: [[]],
  status: [['web'], ['web', '1']],
  deployments: [['web', '-n', '1']],
  wait: [
    ['web', '--timeout', '0'],
    ['web', '1', '--until', 'ended', '--timeout', '0'],
  ],
  stop: [
    ['web', '--no-wait'],
    ['web', '--timeout', '0'],
  ],
  delete: [['web', '--yes', '--no-wait']],
  open: [['web']],
  logs: [['web'], ['web', '-t']],
  events: [['-n', '1']],
  rollback: [['web', '--timeout', '0']],
  restart: [['web', '--no-wait']],
  start: [['web', '--timeout', '0']],
  cancel: [['web', '1', '--timeout', '0']],
  instances: [[]],
  fleet: [[]],
  'tokens list': [[]],
  'tokens create': [['ci', '--role', 'viewer']],
  'tokens revoke': [['1f2e3d4c']],
};

/** How answers are: as they should be, each way a deployment may end, and each kind of trouble. */
const ANSWERS = {
  failed: { status: 'failed', retryable: false },
  unavailable: { status: 'failed', retryable: true },
  cancelled: { status: 'cancelled' },
  active: { status: 'active' },
  deploying: { status: 'deploying' },
  problem: 'problem',
  redirect: 'redirect',
} as const;
type Answer = keyof typeof ANSWERS;

describe('what the command prints of what came from outside', () => {
  let document: Document;
  let server: Server;
  let raw: ReturnType<typeof createServer>;
  let answer: Answer = 'failed';

  beforeAll(async () => {
    document = JSON.parse(await readFile(join(import.meta.dirname, '../docs/openapi.json'), 'utf8')) as Document;
    server = createHttpServer(respond).listen(0, '127.0.0.1');
    await once(server, 'listening');
    raw = createServer(respondRaw).listen(0, '127.0.0.1');
    await once(raw, 'listening');
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
    raw.close();
  });

  const urlOf = (listening: { address(): AddressInfo | string | null }) =>
    `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;

  it('has each command in its table', () => {
    const program = createProgram({
      args: [],
      environment: {},
      terminal: screen(false).terminal,
      signal: new AbortController().signal,
    });
    const names = (command: Command, before: string[] = []): string[] =>
      command.commands.flatMap((one) =>
        one.commands.length > 0 ? names(one, [...before, one.name()]) : [[...before, one.name()].join(' ')],
      );
    expect(names(program).sort()).toEqual(Object.keys(CALLS).sort());
  });

  describe.each(Object.keys(ANSWERS) as Answer[])('where the answer is %s', (kind) => {
    it.each(Object.keys(CALLS))('%s', async (command) => {
      answer = kind;
      for (const args of CALLS[command]!) {
        for (const mode of ['piped', 'screen', 'json'] as const) {
          const said = await says([...command.split(' '), ...args, ...(mode === 'json' ? ['--json'] : [])], mode);
          // What a container prints keeps its colours on a screen, and is unchanged where it goes to no screen.
          const isPrinted = command === 'logs' && kind !== 'problem' && kind !== 'redirect';
          if (isPrinted && mode === 'piped') expect(said).toContain(HOSTILE);
          else expect(said.replace(isPrinted ? COLOURS : OUR_COLOURS, '')).not.toMatch(OBEYED);
          if (mode === 'json') for (const line of said.trimEnd().split('\n')) expect(isJsonOrWords(line)).toBe(true);
          expect(said).toContain(kind === 'redirect' ? 'elsewhere' : MARK);
        }
      }
    });
  });

  it('is safe in the words of a proxy, too: of its status, its headers, its page, its broken connection', async () => {
    for (const request of ['status', 'location', 'page', 'cut']) {
      const said = await says(['jobs', '--url', `${urlOf(raw)}/${request}`], 'screen');
      expect(said).toContain('error:');
      expect(said.replace(OUR_COLOURS, '')).not.toMatch(OBEYED);
    }
  });

  it('and in what the command line and files say', async () => {
    for (const args of [
      [HOSTILE],
      ['status', HOSTILE],
      ['deploy', 'web', '-f', HOSTILE],
      ['deploy', 'web', '-p', HOSTILE],
    ]) {
      const said = await says(
        args.map((arg) => arg.replaceAll('\0', '')),
        'screen',
      );
      expect(said).toContain('error:');
      expect(said.replace(OUR_COLOURS, '')).not.toMatch(OBEYED);
    }
  });

  async function says(args: readonly string[], mode: 'piped' | 'screen' | 'json'): Promise<string> {
    const { terminal, said } = screen(mode === 'screen');
    const stopping = new AbortController();
    const url = args.includes('--url') ? [] : ['--url', urlOf(server)];
    await run({ args: [...args, ...url, '--retry-for', '0'], environment: {}, terminal, signal: stopping.signal });
    return said();
  }

  function respond({ method = 'GET', url = '/', headers }: IncomingMessage, response: ServerResponse): void {
    if (answer === 'redirect') {
      response.writeHead(308, { location: `https://elsewhere.example/\u009b2J${MARK}` }).end();
      return;
    }
    if (answer === 'problem') {
      const errors = [
        { pointer: HOSTILE, detail: HOSTILE },
        { header: HOSTILE, detail: HOSTILE },
      ];
      const problem = { type: HOSTILE, title: HOSTILE, status: 422, detail: HOSTILE, instance: HOSTILE, errors };
      response.writeHead(422, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
      return;
    }
    const path = new URL(url, 'http://localhost').pathname;
    if (headers.accept === 'text/event-stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const line = { deployment: 1, attempt: 2, at: HOSTILE, stream: 'stdout', text: HOSTILE };
      response.end(`event: line\ndata: ${JSON.stringify(line)}\n\nevent: end\ndata: {}\n\n`);
      return;
    }
    const template = Object.keys(document.paths).find((one) =>
      new RegExp(`^${one.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
    );
    const responses = document.paths[template ?? '']?.[method.toLowerCase()]?.responses ?? {};
    const [status, { content }] = Object.entries(responses).find(([code]) => code.startsWith('2'))!;
    response.writeHead(Number(status), { 'content-type': 'application/json' });
    response.end(JSON.stringify(sample(content?.['application/json']?.schema ?? {})));
  }

  /** A value of the schema whose every free text is hostile. */
  function sample(schema: Schema, name = ''): unknown {
    if (schema.$ref !== undefined) return sample(document.components.schemas[schema.$ref.split('/').at(-1)!]!, name);
    const choice = (schema.anyOf ?? schema.oneOf)?.find(({ type }) => type !== 'null');
    if (choice) return sample(choice, name);
    if (name === 'nextCursor') return null;
    if (name === 'kind') return 'service';
    if (name === 'desiredState') return 'stopped';
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== 'null') : schema.type;
    if (type === 'string') return schema.format === 'date-time' ? '2026-01-01T00:00:00.000Z' : HOSTILE;
    if (type === 'integer' || type === 'number') return 1;
    if (type === 'boolean') return true;
    if (type === 'array') return [sample(schema.items ?? {})];
    const entries = Object.entries(schema.properties ?? {}).map(([key, value]) => [key, sample(value, key)] as const);
    const outcome = 'failedPhase' in (schema.properties ?? {}) ? (ANSWERS[answer] as object) : {};
    return { ...Object.fromEntries(entries), ...outcome };
  }
});

/** Bytes that Node's own server would refuse to send. */
function respondRaw(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.once('data', (bytes) => {
    const path = /^\w+ \/(\w+)/.exec(bytes.toString('latin1'))?.[1];
    const head = 'content-length: 9\r\nconnection: close\r\n\r\n\u001b[2J\u009b2J';
    const answers: Readonly<Record<string, string>> = {
      status: `HTTP/1.1 500 \u009b2J\u009d52;c;eA==\u0007\r\n${head}`,
      location: `HTTP/1.1 302 Found\r\nlocation: https://elsewhere/\u009b2J\r\n${head}`,
      page: `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n${head}`,
      cut: 'HTTP/1.1 200 \u001b[2J\u0000',
    };
    socket.end(Buffer.from(answers[path ?? ''] ?? '', 'latin1'));
  });
}

/** A screen of 256 colours, or a pipe. */
function screen(isScreen: boolean): { terminal: ReturnType<typeof openTerminal>; said: () => string } {
  const chunks: string[] = [];
  const stream = () => {
    const one = new PassThrough();
    one.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    const depth = isScreen ? 8 : 1;
    return Object.assign(one, { isTTY: isScreen, getColorDepth: () => depth, hasColors: () => isScreen });
  };
  const streams = { stdin: Object.assign(Readable.from([]), { isTTY: false }), stdout: stream(), stderr: stream() };
  const terminal = openTerminal(streams as unknown as Parameters<typeof openTerminal>[0]);
  return { terminal, said: () => chunks.join('') };
}

/** With --json, progress is still printed in words. */
function isJsonOrWords(line: string): boolean {
  if (!/^[{[]/.test(line)) return true;
  return typeof JSON.parse(line) === 'object';
}
