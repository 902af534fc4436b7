import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { get, type Server } from 'node:http';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { renderUserData } from '../../src/agent/user-data.ts';
import type { InstanceRuntime } from '../cloud/runtime.ts';
import { createDockerRuntime } from './docker-runtime.ts';
import { missingTools } from './guest-tools.ts';
import { createSimulatedRuntime } from './simulated-runtime.ts';
import { BootedByHand, CLOUD_ID, serveSharedEngine } from './testing/booted.ts';
import { startFakeMetadata } from './testing/fake-metadata.ts';
import { FakeScheduler } from './testing/fake-scheduler.ts';

const script = readFileSync(join(import.meta.dirname, '../../src/agent/agent.sh'), 'utf8');
const missing = missingTools();
if (missing.length > 0) {
  process.stderr.write(`skipped: docker mode is not tested, because this machine has no ${missing.join(' and no ')}\n`);
}

let folder: string;
let api: FakeScheduler;
let metadata: Awaited<ReturnType<typeof startFakeMetadata>>;
let runtime: InstanceRuntime;
let instance: BootedByHand;
let engine: Server | undefined;
let count = 0;

const userData = () => renderUserData({ script, apiUrl: api.url, launchSecret: 'ab'.repeat(32), cluster: 'test' });
const eventually = async (isTrue: () => boolean) => {
  while (!isTrue()) await sleep(20);
};
const setUp = async (create: () => InstanceRuntime) => {
  api = await new FakeScheduler().open();
  metadata = await startFakeMetadata();
  const [id, address] = [`i-0${++count}`, `127.79.0.${count}`];
  folder = mkdtempSync(join(tmpdir(), 'runtime-'));
  engine = await serveSharedEngine(join(folder, 'engine.sock'), id, address);
  runtime = create();
  await runtime.open?.({ id: CLOUD_ID, port: 1, endpoint: 'http://127.0.0.1:1' });
  instance = new BootedByHand(runtime, id, address, metadata.endpoint);
};
const tearDown = async () => {
  await instance.halt('kill');
  await runtime.close?.();
  engine?.close();
  engine?.closeAllConnections();
  await metadata.close();
  await api.close();
  rmSync(folder, { recursive: true, force: true });
};
const dockerRuntime = () =>
  createDockerRuntime({ engineSocket: join(folder, 'engine.sock'), folder: join(folder, 'disks') });

const runtimes: [string, () => InstanceRuntime][] = [['simulated runtime', () => createSimulatedRuntime()]];
if (missing.length === 0) runtimes.push(['docker runtime', dockerRuntime]);

describe.each(runtimes)('%s', (_name, create) => {
  beforeEach(() => setUp(create));
  afterEach(tearDown);

  const web = async () => {
    api.docker('POST', '/images/create?fromImage=hello-web&tag=1');
    const bindings = { '8080/tcp': [{ HostIp: '', HostPort: '28090' }] };
    const body = { Image: 'hello-web:1', HostConfig: { PortBindings: bindings, RestartPolicy: { Name: 'always' } } };
    api.docker('POST', '/containers/create?name=job', { body });
    const { headers } = await api.result(api.docker('POST', '/containers/job/start'));
    expect(headers['result-status']).toBe('204');
  };
  const status = () =>
    new Promise<number | string>((resolve) => {
      const options = { host: instance.address, port: 28_090, agent: false as const };
      get(options, (response) => resolve(response.resume().statusCode ?? 0)).on(
        'error',
        (error: NodeJS.ErrnoException) => resolve(error.code ?? ''),
      );
    });

  it('boots an agent that runs a container, and leaves nothing when it is terminated', async () => {
    await instance.boot(userData());
    await web();
    expect(await status()).toBe(200);
    expect(instance.console).toContain('registration: 204');
    await instance.halt('terminate');
    expect(await status()).toBe('ECONNREFUSED');
    const polls = api.polls.length;
    api.docker('GET', '/_ping');
    await sleep(200);
    expect(api.polls).toHaveLength(polls);
    expect(existsSync(join(folder, 'disks')) ? readdirSync(join(folder, 'disks')) : []).toEqual([]);
  });

  it('keeps agent and container over a reboot', async () => {
    await instance.boot(userData());
    await web();
    await api.until(() => api.polls.at(-1) === 3);
    await instance.halt('reboot');
    expect(await status()).toBe('ECONNREFUSED');
    await instance.boot(userData());
    await eventually(() => api.polls.filter((after) => after === 3).length > 1);
    expect(api.registrations).toHaveLength(1);
    expect(await status()).toBe(200);
  });

  it('lets the guest turn off its own machine, and only that', async () => {
    await instance.boot(userData());
    await api.result(api.order({ 'Order-Kind': 'dead-man', 'Dead-Man-Minutes': '0' }));
    await api.result(api.order({ 'Order-Kind': 'shutdown' }));
    await eventually(() => instance.shutdowns.length > 0);
    expect(instance.shutdowns).toEqual(['halt']);
  });

  it('makes no progress while it is frozen', async () => {
    await instance.boot(userData());
    await eventually(() => api.polls.length > 0);
    await runtime.freeze?.(instance.id);
    const number = api.docker('GET', '/images/none/json');
    await sleep(300);
    expect(api.results(number)).toEqual([]);
    await runtime.thaw?.(instance.id);
    expect((await api.result(number)).headers['result-status']).toBe('404');
  });

  it('starts the agent again after kill -9, where it was', async () => {
    await instance.boot(userData());
    await eventually(() => api.polls.length > 0);
    await api.result(api.docker('GET', '/images/none/json'));
    const before = api.polls.length;
    await runtime.disturb?.(instance.id, 'kill-agent');
    expect((await api.result(api.docker('GET', '/images/none/json'))).headers['result-status']).toBe('404');
    expect(new Set(api.registrations.map(({ token }) => token)).size).toBe(1);
    expect(Math.min(...api.polls.slice(before))).toBe(1);
  });

  it('has a Docker that does not answer until it is mended', async () => {
    await instance.boot(userData());
    await runtime.disturb?.(instance.id, 'break-docker');
    const call = () => api.docker('GET', '/images/none/json', { 'Order-Timeout': '1' });
    expect((await api.result(call())).headers['result-status']).toBe('0');
    await runtime.disturb?.(instance.id, 'mend-docker');
    expect((await api.result(call())).headers['result-status']).toBe('404');
  });

  it('halts what never booted, twice, and runs no user-data it does not understand', async () => {
    await instance.halt('terminate');
    await instance.boot('#cloud-config\n{}');
    await instance.halt('kill');
    await instance.halt('kill');
    expect(instance.console).toMatch(/user-data/);
  });
});

(missing.length === 0 ? describe : describe.skip)('docker runtime alone', () => {
  beforeEach(() => setUp(dockerRuntime));
  afterEach(tearDown);

  it('starts an agent again that was killed, as systemd does', async () => {
    await instance.boot(userData());
    await eventually(() => api.polls.length > 0);
    const pid = Number(readFileSync(join(folder, 'disks', instance.id, 'pid'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    const number = api.docker('GET', '/images/none/json');
    expect((await api.result(number)).headers['result-status']).toBe('404');
  });

  it('ends what a killed run left behind', async () => {
    await instance.boot(userData());
    await eventually(() => api.polls.length > 0);
    const pid = Number(readFileSync(join(folder, 'disks', instance.id, 'pid'), 'utf8'));
    expect(() => process.kill(pid, 0)).not.toThrow();
    const next = dockerRuntime();
    await next.open?.({ id: CLOUD_ID, port: 1, endpoint: 'http://127.0.0.1:1' });
    expect(readdirSync(join(folder, 'disks'))).toEqual([]);
    await eventually(() => {
      try {
        process.kill(-pid, 0);
        return false;
      } catch {
        return true;
      }
    });
  });

  it('reaches no tool and no place of this machine', async () => {
    // Tripwires: first on the PATH of this process, so whatever a guest inherits or looks up would meet them.
    const wires = join(folder, 'wires');
    mkdirSync(wires);
    const dangerous =
      'docker systemctl service init telinit dnf apt-get mount umount iptables useradd kill pkill killall mkfs crontab sudo su ssh nc python3 perl node shutdown reboot poweroff halt wall'.split(
        ' ',
      );
    for (const name of dangerous) {
      writeFileSync(join(wires, name), `#!/bin/sh\necho ${name} >>'${folder}/tripped'\n`);
      chmodSync(join(wires, name), 0o755);
    }
    const places = ['/', '/etc', '/etc/systemd/system', '/var/lib', homedir(), process.cwd()];
    const names = () => places.map((place) => (existsSync(place) ? readdirSync(place).sort() : []));
    const before = names();
    const { PATH } = process.env;
    process.env.PATH = `${wires}:${PATH ?? ''}`;
    try {
      const calls = dangerous.map((name) => `command ${name} -x 2>/dev/null`).join('\n');
      await instance.boot(`#!/bin/sh\n${calls}\necho $(env | sed 's/=.*//' | sort) >"$HOME/env"\n`);
      await eventually(() => instance.shutdowns.length > 0 && instance.console.includes('ended'));
      const env = readFileSync(join(folder, 'disks', instance.id, 'home/env'), 'utf8')
        .trim()
        .split(' ');
      expect(env.filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([
        'AWS_EC2_METADATA_SERVICE_ENDPOINT',
        'DOCKER_SOCKET',
        'HOME',
        'PATH',
        'SCHEDULER_AGENT_DIR',
        'TMPDIR',
      ]);
      await instance.halt('terminate');
      await instance.boot(userData());
      await api.result(api.docker('GET', '/images/none/json'));
    } finally {
      process.env.PATH = PATH;
    }
    expect(existsSync(join(folder, 'tripped'))).toBe(false);
    expect(names()).toEqual(before);
  });

  it('has a script that names no place of the machine but these', () => {
    const code = userData().replace(/^#(?!!).*$/gm, '');
    const places = code.match(
      /(?<![\w}/.:"~%?&])\/(?:bin|dev|etc|home|lib|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)\b[\w./-]*/g,
    );
    expect([...new Set(places)].sort()).toEqual([
      '/bin/sh',
      '/dev/null',
      '/dev/urandom',
      '/proc/uptime',
      '/var/lib/scheduler-agent',
      '/var/run/docker.sock',
    ]);
    execFileSync('sh', ['-n'], { input: userData() });
  });
});
