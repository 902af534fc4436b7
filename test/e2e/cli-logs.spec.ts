import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { type Api, startApi } from '../support/api.ts';
import { runCli, startCli } from '../support/cli.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { frame, openUpload, stampedAt } from '../support/logs.ts';

describe('scheduler logs', () => {
  let test: TestDatabase;
  let api: Api;
  let env: Record<string, string>;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
    env = { SCHEDULER_URL: api.url };
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });

  it('shows the lines there are, the latest ones only when asked to, with times, and as JSON', async () => {
    const job = await newJob();
    await print(job.token, ['one', 'two', 'three']);
    expect(await runCli(['logs', job.name], { env })).toEqual({
      code: 0,
      stdout: 'one\ntwo\nthree\n',
      stderr: `-- ${job.name} #1\n`,
    });
    const { stdout } = await runCli(['logs', job.name, '--tail', '1', '--timestamps', '-q'], { env });
    expect(stdout).toBe(`${stampedAt(3)} three\n`);
    const { stdout: json } = await runCli(['logs', job.name, '-n', '2', '--json'], { env });
    const lines = json.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
      { deployment: 1, attempt: 1, stream: 'stdout', at: stampedAt(2), text: 'two' },
      { deployment: 1, attempt: 1, stream: 'stdout', at: stampedAt(3), text: 'three' },
    ]);
    expect(await runCli(['logs', job.name, '--stream', 'stderr', '--since', '1m'], { env })).toMatchObject({
      stdout: '',
    });
  });

  it('follows over a restart of the API, and loses and doubles nothing', async () => {
    const job = await newJob();
    const following = startCli(['logs', '-f', job.name], { env });
    await print(job.token, ['line 1', 'line 2']);
    await following.until(/line 2\n/);
    await api.close();
    await following.until(/trying again/);
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api', PORT: new URL(api.url).port } });
    // The agent sends again what it has no answer for.
    await print(job.token, ['line 1', 'line 2', 'line 3', 'line 4']);
    await following.until(/line 4\n/);
    following.process.kill('SIGINT');
    const { code, stdout } = await following.ended;
    expect({ code, stdout }).toEqual({ code: 130, stdout: 'line 1\nline 2\nline 3\nline 4\n' });
  }, 60_000);

  it('ends quietly when nobody reads on', async () => {
    const job = await newJob();
    await print(job.token, ['first', ...Array.from({ length: 3_000 }, (_, n) => `${n} ${'x'.repeat(100)}`)]);
    const reading = startCli(['logs', job.name, '--tail', '5000'], { env });
    await reading.until(/first/);
    reading.process.stdout?.destroy();
    expect(await reading.ended).toMatchObject({ code: 0, stderr: `-- ${job.name} #1\n` });
  });

  it('says that there is no such job, deployment or time', async () => {
    const job = await newJob();
    expect(await runCli(['logs', 'nowhere'], { env })).toMatchObject({ code: 9 });
    expect(await runCli(['logs', job.name, '-d', '7'], { env })).toMatchObject({ code: 9 });
    expect(await runCli(['logs', job.name, '--since', 'yesterday'], { env })).toMatchObject({ code: 2 });
  });

  async function newJob() {
    const agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 } as never);
    const [row] = await test.database.query<{ name: string }>('SELECT name FROM jobs WHERE id = $1', [agent.jobId]);
    return { ...agent, name: row!.name };
  }

  /** A line a second. */
  async function print(token: string, texts: readonly string[]): Promise<void> {
    const upload = openUpload(api.url, token, 1);
    upload.write(...texts.map((text, n) => frame(1, `${stampedAt(n + 1)} ${text}\n`)));
    expect(await upload.end()).toMatchObject({ status: 200 });
  }
});
