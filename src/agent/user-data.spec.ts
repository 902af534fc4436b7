import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packUserData } from './packed-user-data.js';
import { renderUserData, USER_DATA_LIMIT_BYTES } from './user-data.js';

const script = readFileSync(join(import.meta.dirname, 'agent.sh'), 'utf8');
const PIN = `sha256//${'A'.repeat(43)}=`;
const input = {
  script,
  apiUrl: 'https://scheduler.example.com/',
  launchSecret: 'ab'.repeat(32),
  cluster: 'production',
};

describe('renderUserData', () => {
  it('fits into what EC2 takes, with room for a longer script', () => {
    expect(packUserData({ ...input, pins: [PIN, PIN] }).length).toBeLessThan(USER_DATA_LIMIT_BYTES - 4_096);
  });

  it('keeps the agent within its bounds', () => {
    expect(script.split('\n').length - 1).toBeLessThanOrEqual(450);
  });

  it('is packed into the same bytes each time, which unpack to the script', () => {
    const packed = packUserData(input);
    expect(packUserData({ ...input })).toEqual(packed);
    expect(gunzipSync(packed).toString()).toBe(renderUserData(input));
    // RFC 1952: deflate, no flags, no time, the most compression, of an unknown system.
    expect([...packed.subarray(0, 10)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
  });

  it('is refused when EC2 would refuse it', () => {
    const noise = Array.from({ length: 700 }, (_, n) => `# ${hash('sha512', String(n), 'base64')}`).join('\n');
    expect(() => packUserData({ ...input, script: `#!/bin/sh\n${noise}\n` })).toThrow(
      /^script: the user-data would have/,
    );
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
    ['pins', { pins: [`${PIN};sha256//`] }],
    ['pins', { pins: [PIN.replace('//', `//'`)] }],
    ['pins', { pins: [''] }],
    ['apiUrl', { pins: [PIN], apiUrl: 'http://x' }],
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
    expect(readdirSync(state).sort()).toEqual(['agent.sh', 'api-url', 'launch-secret', 'pins']);
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(join(state, 'launch-secret')).mode & 0o777).toBe(0o600);
  });

  it('does not run an agent without the pins it was to have', () => {
    mkdirSync(join(state, 'pins'), { recursive: true });
    expect(() => run('#!/bin/sh\necho ran\n')).toThrow();
    expect(readdirSync(state).sort()).toEqual(['api-url', 'pins']);
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
