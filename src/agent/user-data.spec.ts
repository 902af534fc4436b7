import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderUserData, USER_DATA_LIMIT_BYTES } from './user-data.js';

const script = readFileSync(join(import.meta.dirname, 'agent.sh'), 'utf8');
const input = {
  script,
  apiUrl: 'https://scheduler.example.com/',
  launchSecret: 'ab'.repeat(32),
  cluster: 'production',
};

describe('renderUserData', () => {
  it('fits into what EC2 takes, with room for a longer script', () => {
    expect(Buffer.byteLength(renderUserData(input))).toBeLessThan(USER_DATA_LIMIT_BYTES - 512);
  });

  it('keeps the agent within its bounds', () => {
    expect(script.split('\n').length - 1).toBeLessThan(290);
  });

  it('holds its inputs and nothing else that varies', () => {
    const other = { script, apiUrl: 'http://10.0.0.1:3000/base', launchSecret: 'cd'.repeat(32), cluster: 'c' };
    const blank = ({ apiUrl, launchSecret, cluster }: typeof input) =>
      renderUserData({ script, apiUrl, launchSecret, cluster })
        .replace(apiUrl.replace(/\/$/, ''), 'URL')
        .replace(launchSecret, 'SECRET')
        .replace(`cluster ${cluster}.`, 'CLUSTER');
    expect(blank(other)).toBe(blank(input));
    expect(renderUserData(input)).toBe(renderUserData({ ...input }));
    expect(renderUserData(input)).toContain(script.trimEnd());
  });

  it.each([
    ['apiUrl', { apiUrl: '' }],
    ['apiUrl', { apiUrl: 'ftp://x' }],
    ['apiUrl', { apiUrl: `http://x';reboot;'` }],
    ['apiUrl', { apiUrl: 'http://x/$(id)' }],
    ['apiUrl', { apiUrl: 'http://user@x/' }],
    ['apiUrl', { apiUrl: 'http://x/?q' }],
    ['apiUrl', { apiUrl: 'http://x\n' }],
    ['launchSecret', { launchSecret: 'AB'.repeat(32) }],
    ['launchSecret', { launchSecret: `${'a'.repeat(63)}\n` }],
    ['cluster', { cluster: 'a b' }],
    ['cluster', { cluster: `a'` }],
    ['cluster', { cluster: 'a\nreboot' }],
    ['script', { script: 'echo' }],
    ['script', { script: '#!/bin/sh\nEND_OF_AGENT_SCRIPT\nreboot\n' }],
    ['script', { script: `#!/bin/sh\n${'#'.repeat(16_384)}\n` }],
  ])('refuses a bad %s: %j', (field, change) => {
    expect(() => renderUserData({ ...input, ...change })).toThrow(new RegExp(`^${field}: `));
  });
});

describe('the rendered script', () => {
  let folder: string;
  let state: string;
  let bin: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'user-data-'));
    state = join(folder, 'state');
    bin = join(folder, 'bin');
    mkdirSync(bin);
    tool('shutdown', 'exit 0');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const tool = (name: string, body: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const run = (agent: string) =>
    execFileSync('sh', {
      input: renderUserData({ ...input, script: agent }),
      env: { PATH: `${bin}:/usr/bin:/bin`, SCHEDULER_AGENT_DIR: state },
      encoding: 'utf8',
    });

  it('is valid shell', () => {
    execFileSync('sh', ['-n'], { input: renderUserData(input) });
    execFileSync('sh', ['-n'], { input: script });
  });

  it('runs the agent in the foreground without systemd', () => {
    tool('systemctl', 'echo offline; exit 1');
    const agent = `#!/bin/sh\nprintf '%s|' "$(cat api-url)" "$(cat launch-secret)" 'a'"'"'b' "\\$(id) \\\\"\n`;
    expect(run(agent)).toBe(`https://scheduler.example.com|${input.launchSecret}|a'b|$(id) \\|`);
    expect(readFileSync(join(state, 'agent.sh'), 'utf8')).toBe(agent);
    expect(readdirSync(state).sort()).toEqual(['agent.sh', 'api-url', 'launch-secret']);
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(join(state, 'launch-secret')).mode & 0o777).toBe(0o600);
  });

  it('installs a unit that outlives a reboot with systemd', () => {
    tool('systemctl', `echo "$@" >>'${folder}/calls'; [ "$1" != is-system-running ] || { echo starting; exit 1; }`);
    expect(run('#!/bin/sh\necho ran\n')).toBe('');
    expect(readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n')).toEqual([
      'is-system-running',
      'disable --now --no-block ecs',
      'enable --now --no-block docker',
      `enable --now --no-block ${state}/scheduler-agent.service`,
    ]);
    const unit = readFileSync(join(state, 'scheduler-agent.service'), 'utf8');
    expect(unit).toContain(`ExecStart=/bin/sh ${state}/agent.sh\n`);
    expect(unit).toContain(`Environment=SCHEDULER_AGENT_DIR=${state}\n`);
    expect(unit).toContain('Restart=always\n');
    expect(unit).toContain('OOMScoreAdjust=-1000\n');
  });

  it('falls back to the foreground when the unit cannot be installed', () => {
    tool('systemctl', `[ "$1" != is-system-running ] || { echo running; exit 0; }; exit 1`);
    expect(run('#!/bin/sh\necho ran\n')).toBe('ran\n');
  });
});
