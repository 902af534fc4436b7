import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { EXITS } from '../../cli/exit-codes.ts';
import { runCli } from '../support/cli.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const ADMIN_TOKEN = 'the-token-of-the-operator-0123456789';
const JOB = 'team-a-web';

type Step = { id?: string; run?: string; if?: string; env?: Record<string, string> };
type Workflow = { jobs: { deploy: { env: Record<string, string>; steps: Step[] } } };
type GitLab = {
  deploy: { variables: Record<string, string> } & Record<'before_script' | 'script' | 'after_script', string[]>;
};
type Ran = { isOk: boolean; output: string };
type Deployment = { number: number; image: string; status: string; trigger: string; secrets: string[] };
/** What a push brings about: `sim/…` images do as they are told, whatever their repository. */
type Push = { image: string; sha: string };
type Pipeline = (push: Push) => Promise<Ran>;

describeWhen(existsSync('/usr/bin/jq'), 'jq is missing', 'the pipelines of docs/ci.md', () => {
  let stack: Stack;
  let directory: string;
  let token: string;
  let cli: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-ci-'));
    stack = await startStack({ runtime: createSimulatedRuntime(), env: { ADMIN_TOKEN } });
    const operator = { SCHEDULER_URL: stack.url, SCHEDULER_TOKEN: ADMIN_TOKEN };
    const args = ['tokens', 'create', 'ci of team a', '--role', 'deployer', '--scope', 'team-a-', '--json'];
    ({ token } = JSON.parse((await runCli(args, { env: operator })).stdout) as { token: string });
    const packed = await run(process.execPath, ['scripts/pack-cli.ts', directory], { cwd: root });
    cli = packed.stdout.trim();
  }, 120_000);
  afterAll(async () => {
    await stack.stop();
    await rm(directory, { recursive: true, force: true });
  }, 60_000);

  it.each([
    ['GitHub Actions', githubActions],
    ['GitLab CI', gitlabCi],
  ])(
    '%s: deploys, fails with the reason, and goes back from what is no good',
    async (name, makePipeline) => {
      const runner = await makeRunner(name);
      const pipeline: Pipeline = await makePipeline(runner);
      const first = await pipeline({ image: 'registry.example.com/team-a/web', sha: '1f2e3d4' });
      expect(first).toMatchObject({ isOk: true, output: expect.stringMatching(/team-a-web #\d+ active on i-/) });
      const begun = await latest();
      expect(begun).toMatchObject({ image: 'registry.example.com/team-a/web:1f2e3d4', secrets: ['DATABASE_PASSWORD'] });

      const broken = await pipeline({ image: 'sim/exit', sha: '3' });
      expect(broken).toMatchObject({ isOk: false, output: expect.stringMatching(/reason +container-exited/) });
      expect(await serving()).toBe(begun.number);
      // `deploy || rollback` would walk backwards.
      const env = { SCHEDULER_URL: stack.url, SCHEDULER_TOKEN: token };
      expect(await runCli(['rollback', JOB], { env })).toMatchObject({ code: EXITS.conflict.code });
      expect(await serving()).toBe(begun.number);

      await writeFile(join(runner.directory, 'deploy/smoke.sh'), 'echo "no good: $1"; exit 1\n');
      const noGood = await pipeline({ image: 'registry.example.com/team-a/web', sha: '2222222' });
      expect(noGood).toMatchObject({ isOk: false, output: expect.stringMatching(/no good: http:\/\/127\./) });
      expect(await latest()).toMatchObject({ image: begun.image, status: 'active', trigger: 'rollback' });

      const said = [first, broken, noGood].map(({ output }) => output).join('');
      expect(said).not.toContain(token);
      expect(said).not.toContain('the-password');
      await runCli(['delete', JOB, '--yes', '-q'], { env: { SCHEDULER_URL: stack.url, SCHEDULER_TOKEN: token } });
    },
    180_000,
  );

  /** Each step is a shell of its own; a failed one is followed by those that say `failure()`. */
  async function githubActions(runner: Runner): Promise<Pipeline> {
    const { env, steps } = (parse(await codeOf('.github/workflows/deploy.yml')) as Workflow).jobs.deploy;
    return async ({ image, sha }) => {
      const contexts: Record<string, string> = { 'github.sha': sha, 'vars.IMAGE': image };
      for (const [name, value] of Object.entries(settings())) {
        contexts[`vars.${name}`] = value;
        contexts[`secrets.${name}`] = value;
      }
      const evaluate = (values: Readonly<Record<string, string>> = {}): Record<string, string> =>
        Object.fromEntries(Object.entries(values).map(([name, text]) => [name, expressionsIn(text, contexts)]));
      let isOk = true;
      let output = '';
      for (const step of steps) {
        const isForFailure = step.if?.startsWith('failure()') ?? false;
        if (step.run === undefined || isForFailure === isOk) continue;
        const ran = await runner.shell(step.run, { GITHUB_SHA: sha, ...evaluate(env), ...evaluate(step.env) });
        output += ran.output;
        isOk &&= ran.isOk;
      }
      return { isOk, output };
    };
  }

  /** One shell for what is to be done, one for what comes after. */
  async function gitlabCi(runner: Runner): Promise<Pipeline> {
    const { deploy } = parse(await codeOf('.gitlab-ci.yml')) as GitLab;
    return async ({ image, sha }) => {
      const predefined: Record<string, string> = { CI_COMMIT_SHA: sha, CI_REGISTRY_IMAGE: image };
      const own = Object.entries(deploy.variables).map(([name, text]) => {
        return [name, text.replaceAll(/\$(\w+)/g, (_, variable: string) => predefined[variable] ?? '')] as const;
      });
      const env = { ...predefined, ...settings(), ...Object.fromEntries(own) };
      const script = await runner.shell([...deploy.before_script, ...deploy.script].join('\n'), env);
      const status = { CI_JOB_STATUS: script.isOk ? 'success' : 'failed' };
      const after = await runner.shell(deploy.after_script.join('\n'), { ...env, ...status });
      expect(after.isOk).toBe(true);
      return { isOk: script.isOk, output: script.output + after.output };
    };
  }

  function settings(): Record<string, string> {
    return {
      SCHEDULER_URL: stack.url,
      SCHEDULER_TOKEN: token,
      SCHEDULER_CLI: cli,
      DATABASE_PASSWORD: 'the-password',
    };
  }

  type Runner = { directory: string; shell(script: string, env: Record<string, string>): Promise<Ran> };

  /** A checkout, and a machine with Node, npm, jq, a docker that only says what it is told, and nothing of this repository. */
  async function makeRunner(name: string): Promise<Runner> {
    const checkout = join(directory, name.replaceAll(' ', '-'));
    await mkdir(join(checkout, 'deploy'), { recursive: true });
    await mkdir(join(checkout, 'global/bin'), { recursive: true });
    // Only so that the test need not wait for what others test.
    const rollout = { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1 };
    const job = { ...(JSON.parse(await codeOf('"ports"')) as object), rollout };
    await writeFile(join(checkout, 'deploy/job.json'), JSON.stringify(job));
    await writeFile(join(checkout, 'deploy/smoke.sh'), 'curl --silent --fail --max-time 10 "$1/"\n');
    await writeFile(join(checkout, 'global/bin/docker'), '#!/bin/sh\necho "docker $*"\n', { mode: 0o755 });
    await cp(process.execPath, join(checkout, 'global/bin/node'));
    const path = [join(checkout, 'global/bin'), '/usr/local/bin', '/usr/bin', '/bin', process.env['PATH'] ?? ''];
    const machine = { PATH: path.join(delimiter), HOME: checkout, NPM_CONFIG_PREFIX: join(checkout, 'global') };
    const shell = async (script: string, env: Record<string, string>): Promise<Ran> => {
      const options = { cwd: checkout, env: { ...machine, ...env }, timeout: 120_000 };
      try {
        const { stdout, stderr } = await run('bash', ['-eo', 'pipefail', '-c', script], options);
        return { isOk: true, output: stdout + stderr };
      } catch (error) {
        const { stdout, stderr } = error as { stdout: string; stderr: string };
        return { isOk: false, output: stdout + stderr };
      }
    };
    return { directory: checkout, shell };
  }

  async function latest(): Promise<Deployment> {
    const env = { SCHEDULER_URL: stack.url, SCHEDULER_TOKEN: token };
    const { stdout } = await runCli(['deployments', JOB, '-n', '1', '--json'], { env });
    const { items } = JSON.parse(stdout) as { items: Deployment[] };
    return items[0]!;
  }

  async function serving(): Promise<number | null> {
    const env = { SCHEDULER_URL: stack.url, SCHEDULER_TOKEN: token };
    const { stdout } = await runCli(['status', JOB, '--json'], { env });
    return (JSON.parse(stdout) as { activeDeployment: number | null }).activeDeployment;
  }
});

function expressionsIn(text: string, contexts: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{\{ *([\w.]+) *\}\}/g, (_, name: string) => {
    const value = contexts[name];
    if (value === undefined) throw new Error(`the documentation does not say where ${name} comes from`);
    return value;
  });
}

/** The one block of code in docs/ci.md in which this stands. */
async function codeOf(mark: string): Promise<string> {
  const documentation = await readFile(join(root, 'docs/ci.md'), 'utf8');
  const blocks = [...documentation.matchAll(/^( *)```\w+\n([^]*?)^ *```$/gm)].map(([, indent, code]) =>
    code!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );
  const found = blocks.filter((code) => code.includes(mark));
  expect(found).toHaveLength(1);
  return found[0]!;
}
