import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { writeShims } from '../support/shims.js';

// The API's user data on two "instances" that share a "cloud" of files: what it does to EC2, S3 and Docker goes to
// stand-ins on the PATH. Slow: the script itself looks once a second.
const SCRIPT = join(import.meta.dirname, '../../terraform/user-data/user-data.sh');
const A = 'i-0000000000000000a';
const B = 'i-0000000000000000b';
const C = 'i-0000000000000000c';
const SECRETS = "POSTGRES_USER=scheduler\nexport CLUSTER='from s3'\n";

describe('replacing the API’s instance', () => {
  let cloud: string;
  let running: ChildProcess[];

  beforeEach(() => {
    cloud = mkdtempSync(join(tmpdir(), 'hand-over-'));
    running = [];
    for (const folder of [
      'tags',
      'launched',
      'state',
      'devices',
      's3/secrets',
      's3/bundles',
      's3/logs',
      'bundle',
      'pids',
    ]) {
      mkdirSync(join(cloud, folder), { recursive: true });
    }
    writeFileSync(join(cloud, 's3/secrets/.env'), SECRETS);
    writeFileSync(join(cloud, 'bundle/docker-compose.yml'), 'services: {}\n');
    execFileSync('tar', ['-czf', join(cloud, 's3/bundles/0.tar.gz'), '-C', join(cloud, 'bundle'), '.']);
    for (const [age, id] of [A, B, C].entries()) {
      writeFileSync(join(cloud, 'launched', id), `2026-01-0${age + 1}T00:00:00+00:00`);
    }
    writeShims(join(cloud, 'tools'), SHIMS);
  });

  afterEach(() => {
    for (const { pid } of running) kill(pid);
    rmSync(cloud, { recursive: true, force: true });
  });

  it('installs, formats an empty volume once, starts, and says so', async () => {
    boot(A);
    await state(A, 'serving');
    expect(events()).toEqual([`${A} build`, `${A} create`, `${A} attached`, `${A} mkfs`, `${A} mounted`, `${A} up`]);
    const env = join(cloud, A, 'app/.env');
    expect(statSync(env).mode & 0o777).toBe(0o600);
    expect(readFileSync(env, 'utf8')).toBe(`${SECRETS}\nPUBLIC_URL=http://api.main.internal\n`);
    expect(readFileSync(join(cloud, A, 'app/docker-compose.stack.yml'), 'utf8')).toContain(
      `device: "${cloud}/${A}/data/postgres"`,
    );
    expect(readFileSync(join(cloud, 'record'), 'utf8')).toContain(`"Name":"api.main.internal"`);
    const log = readFileSync(join(cloud, 's3/logs', `${A}.log`), 'utf8');
    expect(log).toContain('building the image');
    expect(log).not.toContain('POSTGRES_USER');
  }, 60_000);

  it('prepares beside the old one, and takes over in one go', async () => {
    boot(A);
    await state(A, 'serving');
    clear();
    boot(B);
    await state(B, 'serving');
    expect(events()).toEqual([
      `${B} build`,
      `${B} create`,
      `${A} scheduler stopped`,
      `${A} down`,
      `${A} unmounted`,
      `${A} detached`,
      `${B} attached`,
      `${B} mounted`,
      `${B} up`,
    ]);
    await state(A, `released to ${B}`);
    // Whatever makes A start again, it does not ask for the volume back.
    clear();
    execFileSync(join(cloud, A, 'stack'), ['start'], { env: environment(A), stdio: 'ignore' });
    expect(events()).toEqual([]);
  }, 60_000);

  it('gives the volume back when it cannot serve', async () => {
    boot(A);
    await state(A, 'serving');
    clear();
    writeFileSync(join(cloud, `broken-${B}`), '');
    boot(B);
    await state(B, /^failed in boot, line \d+$/);
    await state(A, 'serving');
    expect(events().slice(-8)).toEqual([
      `${B} up`,
      `${B} scheduler stopped`,
      `${B} down`,
      `${B} unmounted`,
      `${B} detached`,
      `${A} attached`,
      `${A} mounted`,
      `${A} up`,
    ]);
    // The next one finds it as if nothing had been.
    boot(C);
    await state(C, 'serving');
  }, 90_000);

  it('stops an instance that does not answer, and takes the volume only then', async () => {
    boot(A);
    await state(A, 'serving');
    for (const { pid } of running) kill(pid);
    clear();
    boot(B);
    await state(B, 'serving');
    expect(events()).toEqual([
      `${B} build`,
      `${B} create`,
      `${A} stopped`,
      `${A} detached`,
      `${B} attached`,
      `${B} mounted`,
      `${B} up`,
    ]);
  }, 60_000);

  it('leaves a younger instance alone', async () => {
    boot(B);
    await state(B, 'serving');
    clear();
    boot(A);
    await logged(A, `${B} is younger`);
    expect(events()).toEqual([`${A} build`, `${A} create`]);
    expect(existsSync(join(cloud, 'tags', B))).toBe(false);
  }, 60_000);

  it('does not wait for anything with a database elsewhere', async () => {
    boot(A, { DATABASE: 'rds' });
    await state(A, 'serving');
    clear();
    boot(B, { DATABASE: 'rds' });
    await state(B, 'serving');
    expect(events()).toEqual([`${B} build`, `${B} create`, `${B} up`]);
    expect(readFileSync(join(cloud, B, 'app/docker-compose.stack.yml'), 'utf8')).toContain('PGSSLMODE: no-verify');
  }, 60_000);

  it('says where it failed', async () => {
    rmSync(join(cloud, 's3/secrets/.env'));
    boot(A);
    await state(A, /^failed in boot, line \d+$/);
    expect(readFileSync(join(cloud, 's3/logs', `${A}.log`), 'utf8')).toContain('getting s3://secrets/.env');
  }, 60_000);

  function environment(id: string, extra: Record<string, string> = {}): NodeJS.ProcessEnv {
    return {
      PATH: `${cloud}/tools:${process.env['PATH']}`,
      CLOUD: cloud,
      INSTANCE_ID: id,
      PRIVATE_IP: '10.0.0.1',
      STACK_DIR: join(cloud, id),
      STACK_DATA_DIR: join(cloud, id, 'data'),
      DATA_DEVICE: join(cloud, 'devices', id),
      STACK_NAME: 'main',
      AWS_DEFAULT_REGION: 'us-west-2',
      SECRETS_URI: 's3://secrets/.env',
      BUNDLE_URI: 's3://bundles/0.tar.gz',
      LOG_URI: 's3://logs/',
      APP_IMAGE: '',
      DATABASE: 'volume',
      DATA_VOLUME_ID: 'vol-0123456789abcdef0',
      RECORD_ZONE_ID: 'Z1',
      RECORD_NAME: 'api.main.internal',
      SETTINGS: 'CLUSTER=main\nPUBLIC_URL=http://api.main.internal',
      RELEASE_SECONDS: '3',
      READY_SECONDS: '2',
      ...extra,
    };
  }

  /** In a process group of its own, which the watch it starts stays in: one kill ends the "instance". */
  function boot(id: string, extra: Record<string, string> = {}): void {
    const script = join(cloud, `user-data-${id}`);
    writeFileSync(script, `#!/bin/bash\n${readFileSync(SCRIPT, 'utf8')}`, { mode: 0o700 });
    running.push(spawn(script, { env: environment(id, extra), detached: true, stdio: 'ignore' }));
  }

  function events(): string[] {
    const file = join(cloud, 'events');
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  }

  function clear(): void {
    writeFileSync(join(cloud, 'events'), '');
    for (const id of [A, B]) rmSync(join(cloud, 's3/logs', `${id}.state`), { force: true });
  }

  async function state(id: string, wanted: string | RegExp): Promise<void> {
    const file = join(cloud, 's3/logs', `${id}.state`);
    await until(
      () => {
        const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
        return typeof wanted === 'string' ? text === wanted : wanted.test(text);
      },
      () => `${id} is not "${wanted}": ${logOf(id)} ${events().join('\n')} ${logOf(B)}`,
    );
  }

  async function logged(id: string, text: string): Promise<void> {
    await until(
      () => logOf(id).includes(text),
      () => `${id} does not say "${text}": ${logOf(id)}`,
    );
  }

  function logOf(id: string): string {
    const file = join(cloud, id, 'boot.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '(no log)';
  }
});

async function until(isTrue: () => boolean, complaint: () => string): Promise<void> {
  const end = Date.now() + 40_000;
  while (!isTrue()) {
    if (Date.now() > end) throw new Error(complaint());
    await new Promise((done) => setTimeout(done, 50));
  }
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

const SHIMS = {
  'apt-get': 'exit 99',
  docker: '',
  // Ten times as fast; the script counts real seconds where it matters.
  sleep: 'exec /bin/sleep "$(awk "BEGIN { print $1 / 10 }")"',
  'docker-compose': `case " $* " in
      *' build '*) echo "$INSTANCE_ID build" >>"$CLOUD/events" ;;
      *' --no-start '*) echo "$INSTANCE_ID create" >>"$CLOUD/events" ;;
      *' up '*)
        echo "$INSTANCE_ID up" >>"$CLOUD/events"
        [ "$DATABASE" != volume ] || [ -d "$STACK_DATA_DIR/postgres" ] || exit 1
        [ -e "$CLOUD/broken-$INSTANCE_ID" ] || touch "$CLOUD/ready-$INSTANCE_ID"
        ;;
      *' stop '*' scheduler ') echo "$INSTANCE_ID scheduler stopped" >>"$CLOUD/events"; rm -f "$CLOUD/ready-$INSTANCE_ID" ;;
      *' stop '*) echo "$INSTANCE_ID down" >>"$CLOUD/events" ;;
    esac`,
  systemctl: `case "$*" in
      'enable --now '*release*) "$STACK_DIR/stack" watch >/dev/null 2>&1 & ;;
      'restart '*stack*) "$STACK_DIR/stack" start >/dev/null 2>&1 & ;;
    esac`,
  mountpoint: '[ -e "$CLOUD/mounted-$INSTANCE_ID" ]',
  blkid: '[ -e "$CLOUD/formatted" ] || exit 2',
  'mkfs.ext4': 'touch "$CLOUD/formatted"; echo "$INSTANCE_ID mkfs" >>"$CLOUD/events"',
  mount: 'touch "$CLOUD/mounted-$INSTANCE_ID"; echo "$INSTANCE_ID mounted" >>"$CLOUD/events"',
  umount: 'rm "$CLOUD/mounted-$INSTANCE_ID"; echo "$INSTANCE_ID unmounted" >>"$CLOUD/events"',
  curl: `case "$*" in
      *api/token*) echo token ;;
      */tags/instance/*) cat "$CLOUD/tags/$INSTANCE_ID" 2>/dev/null || exit 22 ;;
      *health/ready*) [ -e "$CLOUD/ready-$INSTANCE_ID" ] || exit 22 ;;
      *) exit 7 ;;
    esac`,
  aws: `value() { # of an option
      local name=$1; shift
      while [ $# -gt 0 ]; do [ "$1" != "$name" ] || { echo "$2"; return; }; shift; done
    }
    holder=$(cat "$CLOUD/holder" 2>/dev/null)
    case "$*" in
      *'s3 cp'*)
        from=\${*: -2:1} to=\${*: -1}
        [ "$from" != - ] || from=/dev/stdin
        cat "\${from/#s3:\\/\\//$CLOUD/s3/}" >"\${to/#s3:\\/\\//$CLOUD/s3/}.$$" && mv "\${to/#s3:\\/\\//$CLOUD/s3/}.$$" "\${to/#s3:\\/\\//$CLOUD/s3/}"
        ;;
      *describe-volumes*) if [ -n "$holder" ]; then printf 'in-use\\t%s\\n' "$holder"; else printf 'available\\tNone\\n'; fi ;;
      *attach-volume*)
        [ -z "$holder" ] || exit 254
        value --instance-id "$@" >"$CLOUD/holder"
        touch "$CLOUD/devices/$(value --instance-id "$@")"
        echo "$(value --instance-id "$@") attached" >>"$CLOUD/events"
        ;;
      *detach-volume*)
        rm -f "$CLOUD/devices/$holder" "$CLOUD/holder"
        echo "$holder detached" >>"$CLOUD/events"
        ;;
      *create-tags*) tag=$(value --tags "$@"); printf %s "\${tag##*Value=}" >"$CLOUD/tags/$(value --resources "$@")" ;;
      *LaunchTime*) cat "$CLOUD/launched/$(value --instance-ids "$@")" ;;
      *State.Name*) cat "$CLOUD/state/$(value --instance-ids "$@")" 2>/dev/null || echo running ;;
      *stop-instances*)
        id=$(value --instance-ids "$@")
        echo stopped >"$CLOUD/state/$id"
        echo "$id stopped" >>"$CLOUD/events"
        ;;
      *route53*) echo "$*" >"$CLOUD/record" ;;
      *) exit 99 ;;
    esac`,
};
