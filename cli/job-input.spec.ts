import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Job } from '../client/index.js';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  clearing,
  type Definition,
  definitionOf as read,
  type DefinitionOptions,
  readJobFile,
  replacing,
  secretsOf as readSecrets,
  type SecretOptions,
} from './job-input.js';

const JOB = {
  env: { A: '1', B: '2' },
  ports: [{ container: 80, host: 80 }],
  health: { path: '/', port: 80, intervalSeconds: 5, timeoutSeconds: 3, retries: 3, startPeriodSeconds: 30 },
  requestedInstance: { types: ['t3.small'], diskGiB: 30 },
  instance: { id: 'i-0123456789abcdef0' },
  memoryMiB: 64,
  onCapacity: { waitSeconds: 60, fallback: { market: 'on-demand' } },
} as unknown as Job;

let warnings: string[] = [];
const surroundings = (environment: Record<string, string> = {}, input: string | Buffer = '') => {
  warnings = [];
  return { environment, stdin: Readable.from([Buffer.from(input)]), warn: (message: string) => warnings.push(message) };
};
const definitionOf = (
  options: DefinitionOptions,
  command: string[],
  environment?: Record<string, string>,
): Definition => read(options, command, surroundings(environment));
const secretsOf = (options: SecretOptions, environment?: Record<string, string>, input?: string | Buffer) =>
  readSecrets(options, surroundings(environment, input));

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'scheduler-api-input-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function written(name: string, content: string | Buffer): Promise<string> {
  await writeFile(join(directory, name), content);
  return join(directory, name);
}

describe('definitionOf', () => {
  it('reads ports as Docker does, and a health check of the first one unless told otherwise', () => {
    expect(definitionOf({ port: ['8080:80', '443'], health: '/up?a=1' }, ['node', 'web.js'])).toEqual({
      ports: [
        { host: 8080, container: 80 },
        { host: 443, container: 443 },
      ],
      health: { path: '/up?a=1', port: 8080 },
      command: ['node', 'web.js'],
    });
    expect(definitionOf({ health: '443/' }, [])).toEqual({ health: { path: '/', port: 443 } });
  });

  it('leads the URL where the options say, and nowhere where it is switched off', () => {
    const chosen = { routePort: 80, host: ['shop.test', 'www.shop.test'], allowFrom: ['192.0.2.0/24'] };
    const route = { port: 80, hosts: ['shop.test', 'www.shop.test'], allow: ['192.0.2.0/24'] };
    // What commander says where --no-route was not given.
    expect(definitionOf({ ...chosen, route: true }, [])).toEqual({ route });
    expect(definitionOf({ route: true }, [])).toEqual({});
    expect(definitionOf({ route: false }, [])).toEqual({ route: false });
    for (const [name, value] of Object.entries(chosen)) {
      expect(() => definitionOf({ [name]: value, route: false }, [])).toThrow('--no-route');
    }
  });

  it('gives what docker run does not give by itself only where it is asked for', () => {
    expect(definitionOf({ init: true, newPrivileges: false }, [])).toEqual({ init: true, noNewPrivileges: true });
    expect(definitionOf({ newPrivileges: true }, [])).toEqual({});
  });

  it('takes names that every object has for names like any other', () => {
    expect(definitionOf({ env: ['constructor=c', 'discovery.type=single-node'] }, []).env).toEqual({
      constructor: 'c',
      'discovery.type': 'single-node',
    });
    expect(() => definitionOf({ env: ['toString'] }, [])).toThrow('--env toString: there is no such variable');
    const job = { ...JOB, env: { constructor: 'c', toString: 't' } } as unknown as Job;
    expect(replacing(job, { env: { toString: 't2' } })['env']).toEqual({ constructor: null, toString: 't2' });
  });

  it('speaks of nothing that no option spoke of', () => {
    expect(definitionOf({}, [])).toEqual({});
  });

  it('keeps all of a value behind the first equals sign', () => {
    expect(definitionOf({ env: ['URL=http://x/?a=b', 'EMPTY='] }, []).env).toEqual({ URL: 'http://x/?a=b', EMPTY: '' });
  });

  it('takes a name alone from the environment, and does not deploy without', () => {
    expect(definitionOf({ env: ['A', 'B'] }, [], { A: 'a', B: '' }).env).toEqual({ A: 'a', B: '' });
    expect(() => definitionOf({ env: ['A'] }, [])).toThrow('--env A: there is no such variable in the environment');
  });

  it('reads files of variables in their order, options after them, and tells what it leaves out', async () => {
    const one = await written('one.env', 'A=1\nB=1\nC=1#x\nNOWHERE\nHERE\n');
    const two = await written('two.env', '\ufeffB=2\n');
    const { env } = definitionOf({ envFile: [one, two], env: ['A=3'] }, [], { HERE: 'here' });
    expect(env).toEqual({ A: '3', B: '2', C: '1#x', HERE: 'here' });
    expect(warnings).toEqual([`NOWHERE of ${one} is left out: it has no value there, and none in the environment`]);
  });

  it.each([[{ env: ['=x'] }], [{ port: ['a'] }], [{ port: ['80/udp'] }], [{ health: 'up' }], [{ health: '/' }]])(
    'refuses %j by the name of the option',
    (options) => {
      expect(() => definitionOf(options, [])).toThrow(`--${Object.keys(options)[0]!}`);
    },
  );
});

describe('secretsOf', () => {
  it('takes an empty value, and nothing for one that is not there', async () => {
    expect(await secretsOf({ secret: ['A'] }, { A: '' })).toEqual({ A: '' });
    await expect(secretsOf({ secret: ['B'] }, { A: '' })).rejects.toThrow('--secret B');
  });

  it('takes standard input as it stands, but for the line break at its end', async () => {
    expect(await secretsOf({ secretStdin: 'A' }, {}, ' a\nb#\r\n')).toEqual({ A: ' a\nb#' });
    expect(await secretsOf({ secretStdin: '__proto__' }, {}, 'a')).toEqual(JSON.parse('{ "__proto__": "a" }'));
    await expect(secretsOf({ secretStdin: 'A' }, {}, '\n')).rejects.toThrow('standard input is empty');
  });

  it('reads files as --env-file is read, and shows nothing of them where they are wrong', async () => {
    const file = await written('secrets.env', 'PW="a#b"\n');
    expect(await secretsOf({ secretsFile: [file] })).toEqual({ PW: '"a#b"' });
    const pem = await written('pem.env', 'KEY=-----BEGIN KEY-----\nsecret secret=\n');
    await expect(secretsOf({ secretsFile: [pem] })).rejects.toThrow(
      new Error(`${pem}, line 2: a name holds no spaces; write NAME=VALUE`),
    );
  });
});

describe('text that is no UTF-8', () => {
  const bytes = Buffer.from([0x41, 0x3d, 0xff]);

  it('is refused wherever it comes from, and not sent with replaced characters', async () => {
    const file = await written('latin1', bytes);
    expect(() => definitionOf({ envFile: [file] }, [])).toThrow(`${file} is not UTF-8`);
    expect(() => readJobFile(file, 'web')).toThrow(`${file} is not UTF-8`);
    await expect(secretsOf({ secretsFile: [file] })).rejects.toThrow(`${file} is not UTF-8`);
    await expect(secretsOf({ secretStdin: 'A' }, {}, bytes)).rejects.toThrow('standard input is not UTF-8');
  });

  it('is not a byte order mark, with which Windows begins files', async () => {
    expect(readJobFile(await written('bom.json', '\ufeff{ "image": "web" }'), 'web')).toEqual({ image: 'web' });
  });
});

describe('replacing', () => {
  it('gives every field its default again that the file does not speak of, also inside', () => {
    expect(replacing(JOB, { env: { A: '1' }, health: { port: 80, path: '/up' } })).toEqual({
      command: null,
      entrypoint: null,
      env: { A: '1', B: null },
      ports: null,
      memoryMiB: null,
      noNewPrivileges: null,
      cpus: null,
      health: {
        path: '/up',
        port: 80,
        intervalSeconds: null,
        timeoutSeconds: null,
        retries: null,
        startPeriodSeconds: null,
      },
      init: null,
      instance: null,
      route: null,
      rollout: null,
      onCapacity: null,
      maxSilenceSeconds: null,
    });
  });

  it('leaves a field nobody knows for the API to refuse, and out what is no part of a definition', () => {
    const patch = replacing(JOB, { kind: 'service', image: 'web', memory: 5 } as object);
    expect(patch).toMatchObject({ memory: 5 });
    expect(patch).not.toHaveProperty('kind');
    expect(patch).not.toHaveProperty('image');
  });

  it('compares what is wanted of the instance with what was, not with the instance itself', () => {
    expect(replacing(JOB, { instance: { types: ['t3.large'] } }).instance).toEqual({
      types: ['t3.large'],
      diskGiB: null,
    });
  });

  it('clears onCapacity first where the file leaves something of it out', () => {
    expect(clearing(JOB, { onCapacity: { waitSeconds: 5 } })).toEqual({ onCapacity: null });
    expect(clearing(JOB, { onCapacity: { waitSeconds: 5, fallback: { market: 'on-demand' } } })).toBeUndefined();
    expect(clearing(JOB, { onCapacity: 'fail' })).toBeUndefined();
    expect(clearing(JOB, {})).toBeUndefined();
  });
});
