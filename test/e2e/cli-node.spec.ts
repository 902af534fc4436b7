import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Linter } from 'eslint';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { access, constants, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { describeWhen } from '../support/when.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const main = join(root, 'dist/cli/main.js');
const NEEDED = 'scheduler needs Node 24 or newer, and this is Node';

/** A Node of this machine that is too old for the command; undefined = it has none. */
const oldNode = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'node'))
  .filter((path) => existsSync(path))
  .find((path) => Number(/^v(\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1]) < 24);

type Ended = { code: number; stdout: string; stderr: string };

async function ends(program: string, ...args: string[]): Promise<Ended> {
  const ran = await run(program, args).then(
    (output) => ({ code: 0, ...output }),
    (error: unknown) => error as Ended,
  );
  return { code: ran.code, stdout: ran.stdout, stderr: ran.stderr };
}

describe('the start of the command scheduler', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-node-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('may be executed after each build, also by the link that `npm link` has made', async () => {
    await access(main, constants.X_OK);
    await symlink(main, join(directory, 'scheduler'));
    expect(await ends(join(directory, 'scheduler'), '--help')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Usage: scheduler /),
    });
  });

  it('is read by every Node there was for years', async () => {
    const code = (await readFile(main, 'utf8')).replaceAll('import(', 'load(');
    const faults = new Linter().verify(code, { languageOptions: { ecmaVersion: 2018, sourceType: 'script' } });
    expect(faults).toEqual([]);
  });

  describe('on a Node that is too old', () => {
    /** A clone whose command finds this Node too old, with such a Node of its own. */
    async function cloneOf(name: string, ownNode?: string): Promise<string> {
      const clone = join(directory, name);
      await cp(join(root, 'dist'), join(clone, 'dist'), { recursive: true });
      await writeFile(join(clone, 'package.json'), '{ "type": "module" }');
      const copy = join(clone, 'dist/cli/main.js');
      await writeFile(copy, (await readFile(copy, 'utf8')).replace('NEEDED = 24', 'NEEDED = 9999'));
      if (ownNode !== undefined) {
        await mkdir(join(clone, 'node_modules/node/bin'), { recursive: true });
        await writeFile(join(clone, 'node_modules/node/bin/node'), ownNode, { mode: 0o755 });
      }
      return copy;
    }

    it('goes on with the Node of its clone, and ends as that does', async () => {
      const command = await cloneOf('with-node', '#!/bin/sh\necho "$@"\nexit 7\n');
      expect(await ends(command, 'jobs', '--json', 'a b')).toEqual({
        code: 7,
        stdout: `${command} jobs --json a b\n`,
        stderr: '',
      });
    });

    it.each(['SIGINT', 'SIGTERM'] as const)('passes %s on', async (signal) => {
      const script = `#!/bin/sh\ntrap 'echo told; exit 9' INT TERM\necho ready\nfor i in $(seq 1000); do sleep 0.02; done\n`;
      const child = spawn(await cloneOf(`told-${signal}`, script), { stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('ready')) child.kill(signal);
        said += text;
      });
      await once(child, 'close');
      expect({ code: child.exitCode, said }).toEqual({ code: 9, said: 'ready\ntold\n' });
    });

    it('says in a sentence what it needs where there is none', async () => {
      const command = await cloneOf('without-node');
      const text = NEEDED.replace('24', '9999');
      expect(await ends(command)).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(text) });
      const { stderr } = await ends(command, 'jobs', '--json');
      expect(JSON.parse(stderr)).toMatchObject({ error: { exit: 'usage', code: 2 } });
    });
  });

  describeWhen(
    oldNode !== undefined,
    'this machine has no Node older than 24',
    'on the old Node of this machine',
    () => {
      it('goes on with the Node of the clone', async () => {
        expect(await ends(oldNode!, main, '--help')).toMatchObject({
          code: 0,
          stdout: expect.stringMatching(/^Usage: scheduler /),
          stderr: '',
        });
        expect((await ends(oldNode!, main, 'deployy')).code).toBe(2);
      });

      it('says in a sentence what the package for other machines needs, without a stack trace', async () => {
        const packed = await run(process.execPath, ['scripts/pack-cli.ts', directory], { cwd: root });
        await run('tar', ['-xzf', packed.stdout.trim(), '-C', directory]);
        const { code, stdout, stderr } = await ends(oldNode!, join(directory, 'package/cli/main.js'), '--help');
        expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
        expect(stderr).toMatch(new RegExp(`^error: ${NEEDED} \\d+\\.\\d+\\.\\d+ \\(.*\\)\n$`));
      });
    },
  );
});
