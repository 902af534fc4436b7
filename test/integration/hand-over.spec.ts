import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { writeShims } from '../support/shims.ts';
import { until } from '../../local/until.ts';

// The API's user data on two "instances" that share a "cloud" of files: what it does to EC2, S3 and Docker goes to
// stand-ins on the PATH. Slow: the script itself looks once a second.
const SCRIPT = join(import.meta.dirname, '../../terraform/user-data/user-data.sh');
const A = 'i-0000000000000000a';
const B = 'i-0000000000000000b';
const C = 'i-0000000000000000c';
const SECRETS = "POSTGRES_USER=scheduler\nexport CLUSTER='from s3'\nLOG_LEVEL=debug";

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
      's3/secrets/agent-keys',
      's3/bundles',
      's3/logs',
      'bundle',
      'pids',
    ]) {
      mkdirSync(join(cloud, folder), { recursive: true });
    }
    writeFileSync(join(cloud, 's3/secrets/.env'), SECRETS);
    for (const key of ['current', 'next']) writeFileSync(join(cloud, `s3/secrets/agent-keys/${key}.pem`), key);
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
    const made = [`${A} build`, `${A} create`, `${A} attached`, `${A} mkfs`, `${A} mounted`, `${A} up`];
    expect(events()).toEqual([...made, `${A} has the address`]);
    const env = join(cloud, A, 'app/.env');
    expect(statSync(env).mode & 0o777).toBe(0o600);
    // What the stack decides is said once; of the rest S3's file has the last word.
    expect(readFileSync(env, 'utf8')).toBe(
      'POSTGRES_USER=scheduler\nLOG_LEVEL=debug\nCLUSTER=main\nPUBLIC_URL=http://api.main.internal\n',
    );
    expect(logOf(A)).toContain('s3://secrets/.env sets CLUSTER, which the stack decides: left out');
    const stack = readFileSync(join(cloud, A, 'app/docker-compose.stack.yml'), 'utf8');
    expect(stack).toContain(`device: "${cloud}/${A}/data/postgres"`);
    expect(stack).toContain(`device: "${cloud}/${A}/agent-keys"`);
    for (const key of ['current', 'next']) {
      const file = join(cloud, A, 'agent-keys', `${key}.pem`);
      expect(readFileSync(file, 'utf8')).toBe(key);
      expect(statSync(file).mode & 0o777).toBe(0o600);
    }
    expect(namesSet()).toEqual([['api.main.internal 10.0.0.1']]);
    const log = readFileSync(join(cloud, 's3/logs', `${A}.log`), 'utf8');
    expect(log).toContain('building the image');
    expect(log).not.toContain('POSTGRES_USER');
  }, 60_000);

  it('points its own name and that of jobs at itself at once, and its own where its role may not set the other', async () => {
    const both = { JOBS_RECORD_NAME: '*.jobs.main.internal' };
    boot(A, both);
    await state(A, 'serving');
    expect(namesSet()).toEqual([['api.main.internal 10.0.0.1', '*.jobs.main.internal 10.0.0.1']]);

    clear();
    writeFileSync(join(cloud, 'jobs-names-refused'), '');
    boot(B, { ...both, PRIVATE_IP: '10.0.0.2' });
    await state(B, 'serving');
    expect(namesSet()).toEqual([['api.main.internal 10.0.0.2']]);
  }, 60_000);

  it('installs the SSM agent before it disturbs anybody, and goes on where it cannot', async () => {
    boot(A, { SSM_AGENT_URL: 'https://ssm.example.com/latest' });
    await state(A, 'serving');
    expect(events().slice(0, 3)).toEqual([`${A} ssm agent`, `${A} enabled it`, `${A} build`]);
    clear();
    boot(B, { SSM_AGENT_URL: 'https://elsewhere.example.com/latest' });
    await state(B, 'serving');
    expect(events()[0]).toBe(`${B} build`);
    expect(logOf(B)).toContain(
      'no SSM agent: https://elsewhere.example.com/latest/debian_amd64/amazon-ssm-agent.deb could not be installed',
    );
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
      `${B} has the address`,
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
    await state(B, /^failed in boot, line \d+: not ready after 2 s$/);
    await state(A, 'serving');
    // One that does not serve never took the address.
    expect(events()).not.toContain(`${B} has the address`);
    expect(events().slice(-9)).toEqual([
      `${B} up`,
      `${B} scheduler stopped`,
      `${B} down`,
      `${B} unmounted`,
      `${B} detached`,
      `${A} attached`,
      `${A} mounted`,
      `${A} up`,
      `${A} has the address`,
    ]);
    // The next one finds it as if nothing had been.
    boot(C);
    await state(C, 'serving');
  }, 90_000);

  it('gives the volume back that it cannot even mount, also where EC2 is busy', async () => {
    boot(A);
    await state(A, 'serving');
    clear();
    for (const file of [`unmountable-${B}`, 'throttled']) writeFileSync(join(cloud, file), '');
    boot(B);
    await state(B, /^failed in boot/);
    await state(A, 'serving');
    expect(existsSync(join(cloud, 'throttled'))).toBe(false);
    expect(events().slice(-6)).toEqual([
      `${B} down`,
      `${B} detached`,
      `${A} attached`,
      `${A} mounted`,
      `${A} up`,
      `${A} has the address`,
    ]);
  }, 60_000);

  it('gives nothing back once it has served: a later start that fails is tried again', async () => {
    boot(A);
    await state(A, 'serving');
    boot(B);
    await state(B, 'serving');
    clear();
    rmSync(join(cloud, `ready-${B}`));
    writeFileSync(join(cloud, `broken-${B}`), '');
    const start = () => execFileSync(join(cloud, B, 'stack'), ['start'], { env: environment(B), stdio: 'ignore' });
    expect(start).toThrow();
    await state(B, /^failed in start/);
    expect(events()).toEqual([`${B} up`]);
    rmSync(join(cloud, `broken-${B}`));
    start();
    await state(B, 'serving');
  }, 60_000);

  it('formats no volume that it cannot read', async () => {
    writeFileSync(join(cloud, 'unreadable'), '');
    boot(A);
    await state(A, /^failed in boot, line \d+: \S+ cannot be read$/);
    expect(events()).not.toContain(`${A} mkfs`);
  }, 60_000);

  it('asks for the volume again where EC2 was busy', async () => {
    boot(A);
    await state(A, 'serving');
    clear();
    writeFileSync(join(cloud, 'busy'), '');
    boot(B, { RELEASE_SECONDS: '90' });
    await state(B, 'serving');
    expect(existsSync(join(cloud, 'busy'))).toBe(false);
    expect(events()).not.toContain(`${A} stopped`);
    expect(events()).toContain(`${A} detached`);
  }, 60_000);

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
      `${B} has the address`,
    ]);
  }, 60_000);

  it('leaves a younger instance alone', async () => {
    boot(B);
    await state(B, 'serving');
    clear();
    boot(A);
    // Where the apply looks.
    await state(A, `${B} is younger: it keeps the data volume`);
    expect(events()).toEqual([`${A} build`, `${A} create`]);
    expect(existsSync(join(cloud, 'tags', B))).toBe(false);
  }, 60_000);

  it('leaves a younger instance alone that was quicker than itself', async () => {
    boot(A);
    await state(A, 'serving');
    for (const { pid } of running) kill(pid);
    boot(B);
    await state(B, `waiting for the data volume of ${A}`);
    writeFileSync(join(cloud, 'holder'), C);
    await state(B, `${C} is younger: it keeps the data volume`);
    // Longer than it waits for one that it asked.
    await new Promise((done) => setTimeout(done, 5_000));
    expect(existsSync(join(cloud, 'tags', C))).toBe(false);
    expect(events()).not.toContain(`${C} stopped`);
    expect(existsSync(join(cloud, B, 'predecessor'))).toBe(false);
  }, 60_000);

  it('gives up after some minutes without the volume, and says what it waited for', async () => {
    boot(B);
    await state(B, 'serving');
    boot(A, { VOLUME_SECONDS: '2' });
    await state(A, /^failed in boot, line \d+: no data volume after 2 s: i-\S+b is younger: it keeps the data volume$/);
    expect(existsSync(join(cloud, 'tags', B))).toBe(false);
  }, 60_000);

  it('says what the containers said when the stack does not start', async () => {
    writeFileSync(join(cloud, `refused-${A}`), '');
    boot(A);
    await state(A, /^failed in boot/);
    expect(readFileSync(join(cloud, A, 'boot.log'), 'utf8')).toContain('settings: ADMIN_TOKEN is missing');
  }, 60_000);

  it('does not wait for anything with a database elsewhere', async () => {
    boot(A, { DATABASE: 'rds' });
    await state(A, 'serving');
    clear();
    boot(B, { DATABASE: 'rds' });
    await state(B, 'serving');
    expect(events()).toEqual([`${B} build`, `${B} create`, `${B} up`, `${B} has the address`]);
    expect(readFileSync(join(cloud, B, 'app/docker-compose.stack.yml'), 'utf8')).toContain(
      `environment: { PGSSLMODE: verify-full, NODE_EXTRA_CA_CERTS: /run/rds-authorities.pem }\n    volumes: ["${cloud}/${B}/rds-authorities.pem:`,
    );
    expect(readFileSync(join(cloud, B, 'rds-authorities.pem'), 'utf8')).toBe('authorities\n');
    expect(statSync(join(cloud, B, 'rds-authorities.pem')).mode & 0o777).toBe(0o644);
  }, 60_000);

  it('has its nginx answer lookups, and a load balancer at a port of its own, where there are such', async () => {
    boot(A, { DATABASE: 'rds', LOOKUP_PORT: '8081', BALANCER_PORT: '81' });
    await state(A, 'serving');
    const stack = readFileSync(join(cloud, A, 'app/docker-compose.stack.yml'), 'utf8');
    expect(stack).toMatch(/^services:\n {2}scheduler:\n/);
    expect(stack).toContain(
      "\n  nginx: { environment: { LOOKUP_LISTENER: 'on', BALANCER_PORT: '81' }, ports: ['8081:8081', '81:81'] }\nvolumes:\n",
    );
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
      SECRETS_VERSION: '1',
      AGENT_KEYS_URI: 's3://secrets/agent-keys/',
      ADDRESS_ID: 'eipalloc-1',
      BUNDLE_URI: 's3://bundles/0.tar.gz',
      LOG_URI: 's3://logs/',
      APP_IMAGE: '',
      DATABASE: 'volume',
      RDS_AUTHORITIES: 'https://truststore.example.com/global/global-bundle.pem',
      DATA_VOLUME_ID: 'vol-0123456789abcdef0',
      RECORD_ZONE_ID: 'Z1',
      RECORD_NAME: 'api.main.internal',
      DECIDED: 'CLUSTER=main',
      SETTINGS: 'LOG_LEVEL=info\nPUBLIC_URL=http://api.main.internal',
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

  /** Of each call that Route 53 carried out, the names with where they lead from then on. */
  function namesSet(): string[][] {
    type Batch = { Changes: { Action: string; ResourceRecordSet: RecordSet }[] };
    type RecordSet = { Name: string; Type: string; TTL: number; ResourceRecords: { Value: string }[] };
    const calls = readFileSync(join(cloud, 'records'), 'utf8').split('\n').filter(Boolean);
    return calls.map((call) =>
      (JSON.parse(call) as Batch).Changes.map(({ Action, ResourceRecordSet }) => {
        const { Name, Type, TTL, ResourceRecords } = ResourceRecordSet;
        expect({ Action, Type, TTL }).toEqual({ Action: 'UPSERT', Type: 'A', TTL: 5 });
        return `${Name} ${ResourceRecords.map(({ Value }) => Value).join(' ')}`;
      }),
    );
  }

  function clear(): void {
    for (const file of ['events', 'records']) writeFileSync(join(cloud, file), '');
    for (const id of [A, B]) rmSync(join(cloud, 's3/logs', `${id}.state`), { force: true });
  }

  async function state(id: string, wanted: string | RegExp): Promise<void> {
    const file = join(cloud, 's3/logs', `${id}.state`);
    await until(
      () => {
        const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
        return typeof wanted === 'string' ? text === wanted : wanted.test(text);
      },
      40_000,
      () => `${id} is not "${wanted}": ${logOf(id)} ${events().join('\n')} ${logOf(B)}`,
    );
  }

  function logOf(id: string): string {
    const file = join(cloud, id, 'boot.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '(no log)';
  }
});

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

const SHIMS = {
  'apt-get': `case "$*" in
      *' install '*"/$INSTANCE_ID/amazon-ssm-agent.deb") [ "$(cat "\${*: -1}")" = package ] && echo "$INSTANCE_ID ssm agent" >>"$CLOUD/events" ;;
      *) exit 99 ;;
    esac`,
  dpkg: '[ "$*" = --print-architecture ] && echo amd64',
  docker: '',
  // Ten times as fast; the script counts real seconds where it matters.
  sleep: 'exec /bin/sleep "$(awk "BEGIN { print $1 / 10 }")"',
  'docker-compose': `case " $* " in
      *' build '*) echo "$INSTANCE_ID build" >>"$CLOUD/events" ;;
      *' --no-start '*) echo "$INSTANCE_ID create" >>"$CLOUD/events" ;;
      *' logs '*) [ ! -e "$CLOUD/refused-$INSTANCE_ID" ] || echo 'settings: ADMIN_TOKEN is missing' ;;
      *' up '*)
        [ ! -e "$CLOUD/refused-$INSTANCE_ID" ] || exit 1
        echo "$INSTANCE_ID up" >>"$CLOUD/events"
        [ "$DATABASE" != volume ] || [ -d "$STACK_DATA_DIR/postgres" ] || exit 1
        [ -e "$CLOUD/broken-$INSTANCE_ID" ] || touch "$CLOUD/ready-$INSTANCE_ID"
        ;;
      *' stop '*' scheduler ') echo "$INSTANCE_ID scheduler stopped" >>"$CLOUD/events"; rm -f "$CLOUD/ready-$INSTANCE_ID" ;;
      *' stop '*) echo "$INSTANCE_ID down" >>"$CLOUD/events" ;;
    esac`,
  systemctl: `case "$*" in
      'enable --now amazon-ssm-agent') echo "$INSTANCE_ID enabled it" >>"$CLOUD/events" ;;
      'enable --now '*release*) "$STACK_DIR/stack" watch >/dev/null 2>&1 & ;;
      'restart '*stack*) "$STACK_DIR/stack" start >/dev/null 2>&1 & ;;
    esac`,
  mountpoint: '[ -e "$CLOUD/mounted-$INSTANCE_ID" ]',
  blkid: '[ -e "$CLOUD/formatted" ] || exit 2',
  'mkfs.ext4': 'touch "$CLOUD/formatted"; echo "$INSTANCE_ID mkfs" >>"$CLOUD/events"',
  dd: '[ ! -e "$CLOUD/unreadable" ] && exec /bin/dd "$@"',
  mount:
    '[ ! -e "$CLOUD/unmountable-$INSTANCE_ID" ] || exit 32; touch "$CLOUD/mounted-$INSTANCE_ID"; echo "$INSTANCE_ID mounted" >>"$CLOUD/events"',
  umount: 'rm "$CLOUD/mounted-$INSTANCE_ID"; echo "$INSTANCE_ID unmounted" >>"$CLOUD/events"',
  curl: `case "$*" in
      *api/token*) echo token ;;
      */tags/instance/*) cat "$CLOUD/tags/$INSTANCE_ID" 2>/dev/null || exit 22 ;;
      *'-o '*' https://ssm.example.com/latest/debian_amd64/amazon-ssm-agent.deb') set -- "\${@: -2}"; echo package >"$1" ;;
      *global-bundle.pem*) echo authorities >"$STACK_DIR/rds-authorities.pem" ;;
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
      *create-tags*)
        tag=$(value --tags "$@")
        # The first time that a volume is asked for, or given back.
        if [ "$(value --resources "$@")" != "\${tag##*Value=}" ] && rm "$CLOUD/busy" 2>/dev/null; then exit 254; fi
        if [ "$(value --resources "$@")" = "\${tag##*Value=}" ] && rm "$CLOUD/throttled" 2>/dev/null; then exit 254; fi
        printf %s "\${tag##*Value=}" >"$CLOUD/tags/$(value --resources "$@")"
        ;;
      *AttachTime*) cat "$CLOUD/launched/$(value --instance-ids "$@")" ;;
      *State.Name*) cat "$CLOUD/state/$(value --instance-ids "$@")" 2>/dev/null || echo running ;;
      *stop-instances*)
        id=$(value --instance-ids "$@")
        echo stopped >"$CLOUD/state/$id"
        echo "$id stopped" >>"$CLOUD/events"
        ;;
      *associate-address*) echo "$(value --instance-id "$@") has the address" >>"$CLOUD/events" ;;
      *'route53 change-resource-record-sets --hosted-zone-id Z1 '*)
        case "$*" in *'"*.jobs.'*) [ ! -e "$CLOUD/jobs-names-refused" ] || exit 254 ;; esac
        value --change-batch "$@" >>"$CLOUD/records"
        ;;
      *) exit 99 ;;
    esac`,
};
