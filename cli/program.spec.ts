import { afterEach, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { EXITS } from './exit-codes.js';
import { run } from './program.js';
import { openTerminal } from './terminal.js';

async function scheduler(args: string[], url = 'http://127.0.0.1:1'): Promise<{ code: number; stderr: string }> {
  const streams = { stdin: process.stdin, stdout: new PassThrough(), stderr: new PassThrough() };
  const code = await run({
    args,
    environment: { SCHEDULER_URL: url },
    terminal: openTerminal(streams as unknown as Parameters<typeof openTerminal>[0]),
    signal: new AbortController().signal,
  });
  streams.stderr.end();
  return { code, stderr: await text(streams.stderr) };
}

describe('the commands', () => {
  it('that the documentation and the deploy container name are there', async () => {
    const { stderr } = await scheduler([]);
    const known = [...stderr.split('Commands:')[1]!.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name);
    const files = globSync(['*.md', '{docs,client,local}/**/*.md', 'deploy/**/*.sh'], {
      cwd: join(import.meta.dirname, '..'),
    });
    const named = files.flatMap((file) => {
      const lines = readFileSync(join(import.meta.dirname, '..', file), 'utf8');
      return [...lines.matchAll(/(?:^|[`"$(]| {2}|&& |\| )scheduler ([a-z][a-z-]+)/gm)].map(([, name]) => name);
    });
    expect(new Set(named).size).toBeGreaterThan(4);
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('a command line that is wrong', () => {
  it.each([
    [[], 'scheduler [options] [command]'],
    [['tokens'], 'scheduler tokens [options] [command]'],
  ])('without its command shows the help: %j', async (args, usage) => {
    const { code, stderr } = await scheduler(args);
    expect(code).toBe(EXITS.usage.code);
    expect(stderr).toContain(`Usage: ${usage}`);
    expect(stderr).toMatch(/\nerror: a command is missing\n$/);
  });

  it('without its command is an error of JSON and nothing else, where that is asked for', async () => {
    const { stderr } = await scheduler(['--json']);
    expect(JSON.parse(stderr)).toEqual({ error: { exit: 'usage', code: 2, message: 'a command is missing' } });
  });

  it.each([
    [['job'], "error: unknown command 'job' (Did you mean jobs?)", 'scheduler --help'],
    [['deploy', 'web', '--memory', 'lots'], 'It must be a whole number.', 'scheduler deploy --help'],
    [['--quiet', 'tokens', 'create', 'list'], '--role', 'scheduler tokens create --help'],
    [['logs', 'web', '--since', 'yesterday'], 'write 90s, 10m, 2h, 7d or', 'scheduler logs --help'],
  ])('names the help that shows its options: %j', async (args, message, help) => {
    const { code, stderr } = await scheduler(args);
    expect(code).toBe(EXITS.usage.code);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(new RegExp(`\\n  see ${help}\\n$`));
    expect(stderr).not.toContain('↵');
  });
});

describe('an answer that says no', () => {
  let server: Server;
  afterEach(() => void server.close());

  async function answering(status: number, body: string, type = 'application/problem+json'): Promise<string> {
    server = createServer((_request, response) => {
      response.writeHead(status, { 'content-type': type, connection: 'close' }).end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const problem = (type: string, status: number, title: string) =>
    JSON.stringify({ type: `/problems/${type}`, status, title, instance: 'urn:request:1' });

  // Somebody else’s 404, or that of a URL with a part too many, was taken for the end of the job.
  it.each([
    ['of another server', 404, '{}'],
    ['of another server', 400, '<xml/>'],
    ['of a login in front', 401, 'Who are you?'],
    ['of the API for a path it does not have', 404, problem('not-found', 404, 'There is nothing here')],
  ])('%s (%i) tells nothing of a job: exit code 1, and the URL', async (_whose, status, body) => {
    const url = await answering(status, body);
    const { code, stderr } = await scheduler(['wait', 'web', '--until', 'gone'], url);
    expect({ code, stderr }).toEqual({ code: EXITS.error.code, stderr: expect.stringContaining('is SCHEDULER_URL') });
    expect(stderr).toContain(`${url}/v1/jobs/web`);
  });

  it('of a proxy whose API is away is worth another try', async () => {
    const url = await answering(502, '<html>');
    expect(await scheduler(['jobs', '--retry-for', '0'], url)).toMatchObject({ code: EXITS.unreachable.code });
  });

  it('of the API for a job that is not there is the end of one', async () => {
    const url = await answering(404, problem('job-not-found', 404, 'Job not found'));
    expect(await scheduler(['wait', 'web', '--until', 'gone'], url)).toMatchObject({ code: 0 });
  });

  it.each([
    [[], 'no-ports: it publishes no port'],
    [['--json'], '"code":10'],
  ])('of a job without a URL is a failure of open %j', async (options, said) => {
    const url = await answering(
      200,
      JSON.stringify({ name: 'web', url: null, urlReason: 'no-ports' }),
      'application/json',
    );
    const { code, stderr } = await scheduler(['open', 'web', ...options], url);
    expect(code).toBe(EXITS.conflict.code);
    expect(stderr).toContain('web has no URL');
    expect(stderr).toContain(said);
  });

  it('for want of a token says where it is taken from', async () => {
    const url = await answering(401, problem('unauthorized', 401, 'Credentials are missing or not valid'));
    const { code, stderr } = await scheduler(['jobs'], url);
    expect(code).toBe(EXITS.denied.code);
    expect(stderr).toContain('SCHEDULER_TOKEN, SCHEDULER_TOKEN_FILE or --token-file');
  });
});
