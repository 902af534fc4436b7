import { createPublicKey, X509Certificate } from 'node:crypto';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { writeShims } from '../support/shims.ts';

// The commands of the deploy container for a stack that runs. The bucket is a folder, and `aws` a stand-in that records
// how it was called; test/aws/operate.spec.ts has the AWS CLI and the container.
// A command starts some dozens of processes: seconds, and more of them on a busy machine.
jest.setTimeout(120_000);

const ENTRYPOINT = join(import.meta.dirname, '../../deploy/terraform/entrypoint.sh');
const USER_DATA = join(import.meta.dirname, '../../terraform/user-data/user-data.sh');
const work = mkdtempSync(join(tmpdir(), 'operate-'));
const bucket = join(work, 's3/scheduler-api-1-us-west-2');
const env = join(bucket, 'secrets/.env');
const calls = join(work, 'calls');
/** Lines of time and id, of the API's instances and of jobs'. */
const instances = { api: join(work, 'api'), jobs: join(work, 'jobs') };

const FILE = `# Ours
POSTGRES_USER=scheduler
export ADMIN_TOKEN="old"

  ADMIN_TOKEN=older
LOG_LEVEL='debug'
ENCRYPTION_KEY=key=
ODD="a \\ b"  # kept`;

beforeEach(() => {
  rmSync(bucket, { recursive: true, force: true });
  rmSync(calls, { force: true });
  mkdirSync(join(bucket, 'secrets/agent-keys'), { recursive: true });
  writeFileSync(env, FILE);
  writeFileSync(instances.api, '');
  writeFileSync(instances.jobs, '');
  writeShims(join(work, 'tools'), { aws: AWS });
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('scheduler-deploy secrets', () => {
  it('lists the names, and gets a value with nothing around it', () => {
    expect(run(['secrets', 'list']).stdout).toBe('ADMIN_TOKEN\nENCRYPTION_KEY\nLOG_LEVEL\nODD\nPOSTGRES_USER\n');
    expect(run(['secrets', 'get', 'LOG_LEVEL']).stdout).toBe('debug\n');
    // The last line counts, as for whoever else reads the file.
    expect(run(['secrets', 'get', 'ADMIN_TOKEN']).stdout).toBe('older\n');
    const none = run(['secrets', 'get', 'WEBHOOKS']);
    expect(none).toMatchObject({ status: 1, stdout: '' });
    expect(none.stderr).toMatch(/scheduler-api-1-us-west-2\/secrets\/\.env does not set WEBHOOKS\n$/);
  });

  it('sets one setting, keeps every other line, and says what takes it into use', () => {
    const { status, stdout, stderr } = run(['secrets', 'set', 'ADMIN_TOKEN'], 'a new #1 "token"\n');
    expect(stderr).toMatch(/set ADMIN_TOKEN in s3:\S+; a deployment takes it into use: docker-compose run/);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    const lines = FILE.split('\n').filter((line) => !line.startsWith('export ADMIN_TOKEN'));
    const changed = lines.map((line) => (line.includes('ADMIN_TOKEN') ? `ADMIN_TOKEN='a new #1 "token"'` : line));
    expect(readFileSync(env, 'utf8')).toBe(`${changed.join('\n')}\n`);
    expect(run(['secrets', 'get', 'ADMIN_TOKEN']).stdout).toBe('a new #1 "token"\n');
    // Neither in what is printed nor in an argument of anything.
    expect(stderr + readFileSync(calls, 'utf8')).not.toContain('a new #1');

    expect(run(['secrets', 'set', 'MAX_JOBS'], '500').status).toBe(0);
    expect(readFileSync(env, 'utf8')).toBe(`${changed.join('\n')}\nMAX_JOBS=500\n`);
    rmSync(calls);
    expect(run(['secrets', 'set', 'MAX_JOBS'], '500\n').stderr).toContain('nothing was changed');
    expect(uploads()).toEqual([]);
    expect(run(['secrets', 'unset', 'MAX_JOBS']).status).toBe(0);
    expect(readFileSync(env, 'utf8')).toBe(`${changed.join('\n')}\n`);
  });

  it('asks for the value at a terminal, and does not show it', () => {
    const terminal = spawnSync('python3', ['-c', TERMINAL, 'sh', ENTRYPOINT, 'secrets', 'set', 'ADMIN_TOKEN'], {
      encoding: 'utf8',
      timeout: 30_000,
      env: environment(),
    });
    expect(terminal.stdout).toMatch(/Value of ADMIN_TOKEN \(not shown\): [^]*set ADMIN_TOKEN in s3:/);
    expect(terminal.stdout).not.toContain('typed');
    expect(readFileSync(env, 'utf8')).toContain('\nADMIN_TOKEN=typed\n');
  });

  it('replaces the key of what is encrypted only where the old one stays known', () => {
    const lost = run(['secrets', 'set', 'ENCRYPTION_KEY'], 'another=');
    expect(lost.status).toBe(1);
    expect(lost.stderr).toMatch(/encrypted with the present ENCRYPTION_KEY: add that to ENCRYPTION_KEYS_OLD first/);
    expect(run(['secrets', 'unset', 'ENCRYPTION_KEY']).status).toBe(1);
    expect(readFileSync(env, 'utf8')).toBe(FILE);
    expect(run(['secrets', 'set', 'ENCRYPTION_KEYS_OLD'], 'oldest=,key=').status).toBe(0);
    expect(run(['secrets', 'set', 'ENCRYPTION_KEY'], 'another=').status).toBe(0);
    expect(run(['secrets', 'get', 'ENCRYPTION_KEY']).stdout).toBe('another=\n');
  });

  it.each<[string, string[], string, RegExp]>([
    ['a command there is none of', ['show'], '', /secrets list \| get NAME/],
    ['no name', ['set'], 'x', /a setting is named like ADMIN_TOKEN/],
    ['a name of another shape', ['set', 'admin-token'], 'x', /a setting is named like ADMIN_TOKEN/],
    ['a name with a pattern in it', ['get', 'A.*'], '', /a setting is named like ADMIN_TOKEN/],
    ['a value as an argument', ['set', 'ADMIN_TOKEN', 'x'], '', /read from standard input/],
    ['no value', ['set', 'ADMIN_TOKEN'], '\n', /there is no value: to take the setting out, secrets unset/],
    ['two lines', ['set', 'ADMIN_TOKEN'], 'a\nCLUSTER=b\n', /ends of lines/],
    ['a value with another end of line', ['set', 'ADMIN_TOKEN'], 'a\r\n', /ends of lines or other control characters/],
    ['a value without bounds', ['set', 'ADMIN_TOKEN'], 'a'.repeat(1 << 20), /more than 16384 bytes/],
    ['what versions of Compose read differently', ['set', 'ADMIN_TOKEN'], 'a${HOME}', /choose another/],
    [
      'what the stack decides',
      ['set', 'ALLOWED_AMIS'],
      'x',
      /decided by Terraform, by its variables name, job_subnet_ids/,
    ],
    ['another region', ['set', 'AWS_REGION'], 'eu-west-1', /AWS_REGION is us-west-2 here/],
    ['to take out what is not there', ['unset', 'MAX_JOBS'], '', /does not set MAX_JOBS/],
  ])('refuses %s, and changes nothing', (_what, args, input, message) => {
    const { status, stdout, stderr } = run(['secrets', ...args], input);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
    expect(readFileSync(env, 'utf8')).toBe(FILE);
    expect(uploads()).toEqual([]);
  });

  it('takes a bucket of the default name only where it is this account’s', () => {
    run(['secrets', 'list']);
    expect(readFileSync(calls, 'utf8')).toContain(
      'head-bucket --bucket scheduler-api-1-us-west-2 --expected-bucket-owner 1',
    );
    writeFileSync(join(work, 'foreign'), '');
    const { status, stderr } = run(['secrets', 'list']);
    rmSync(join(work, 'foreign'));
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringContaining('scheduler-api-1-us-west-2 cannot be used: An error'),
    });
  });

  it('says why the file cannot be read', () => {
    rmSync(env);
    const { status, stderr } = run(['secrets', 'set', 'ADMIN_TOKEN'], 'x');
    expect(status).toBe(1);
    expect(stderr).toMatch(/cannot read s3:\S+\.env: cat: /);
    expect(existsSync(env)).toBe(false);
  });
});

describe('scheduler-deploy rotate-agent-keys', () => {
  const key = (name: string): string => join(bucket, `secrets/agent-keys/${name}.pem`);
  const ROTATED = '2026-03-01T00:00:00';
  beforeEach(() => {
    for (const name of ['current', 'next']) writeFileSync(key(name), name);
    const time = new Date(`${ROTATED}Z`);
    utimesSync(key('current'), time, time);
    mkdirSync(join(bucket, 'logs/scheduler/boot'), { recursive: true });
    writeFileSync(instances.api, '2026-02-01T00:00:00+00:00\ti-before\n2026-03-01T00:05:00+00:00\ti-now\n');
    for (const id of ['i-before', 'i-now']) writeFileSync(join(bucket, `logs/scheduler/boot/${id}.state`), 'serving\n');
    writeFileSync(instances.jobs, '2026-03-02T00:00:00+00:00\ti-young\n');
  });

  it('makes the next key current, and a new next one', () => {
    const { status, stderr, stdout } = run(['rotate-agent-keys']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain(`was in use since ${ROTATED}); a deployment takes it into use`);
    expect(readFileSync(key('current'), 'utf8')).toBe('next');
    const pem = readFileSync(key('next'), 'utf8');
    const { publicKey } = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERT')));
    const spki = { type: 'spki', format: 'der' } as const;
    expect(createPublicKey(pem).export(spki)).toEqual(publicKey.export(spki));
  });

  it('does not rotate twice without a deployment, nor without keys', () => {
    writeFileSync(instances.api, '2026-02-01T00:00:00+00:00\ti-before\n');
    expect(run(['rotate-agent-keys']).stderr).toMatch(/no deployment has taken that into use.* Deploy first/);
    // One that failed told nobody of the new keys.
    writeFileSync(instances.api, '2026-02-01T00:00:00+00:00\ti-before\n2026-03-01T00:05:00+00:00\ti-now\n');
    writeFileSync(join(bucket, 'logs/scheduler/boot/i-now.state'), 'failed in boot, line 7\n');
    expect(run(['rotate-agent-keys']).stderr).toMatch(/no deployment has taken that into use.* Deploy first/);
    writeFileSync(instances.api, '');
    expect(run(['rotate-agent-keys']).stderr).toMatch(/no instance of scheduler serves.*: deploy first/);
    rmSync(key('next'));
    expect(run(['rotate-agent-keys']).stderr).toMatch(/no keys to rotate .*the first deployment makes them/);
    expect(readFileSync(key('current'), 'utf8')).toBe('current');
  });

  it('goes on where it was stopped between its two uploads', () => {
    writeFileSync(key('current'), 'next');
    expect(run(['rotate-agent-keys'])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('rotated the keys'),
    });
    expect(readFileSync(key('current'), 'utf8')).toBe('next');
    expect(readFileSync(key('next'), 'utf8')).toContain('PRIVATE KEY');
  });

  it('asks when instances of jobs would know neither key', () => {
    writeFileSync(instances.jobs, '2026-02-02T00:00:00+00:00\ti-old\n2026-03-02T00:00:00+00:00\ti-young\n');
    const asked = run(['rotate-agent-keys']);
    expect(asked.status).toBe(1);
    expect(asked.stderr).toMatch(
      /will not know the key that\ncomes after this one: i-old\. .*There is no terminal to answer in/,
    );
    expect(readFileSync(key('current'), 'utf8')).toBe('current');
    expect(run(['rotate-agent-keys'], '', { DEPLOY_YES: '1' }).status).toBe(0);
    expect(readFileSync(key('current'), 'utf8')).toBe('next');
  });
});

describe('scheduler-deploy logs', () => {
  const SERVES = 'i-0000000000000000a';
  const FAILED = 'i-0000000000000000b';
  const ssm = (file: string): string => join(work, 'ssm', file);
  beforeEach(() => {
    rmSync(join(work, 'ssm'), { recursive: true, force: true });
    mkdirSync(join(work, 'ssm'));
    mkdirSync(join(bucket, 'logs/scheduler/boot'), { recursive: true });
    writeFileSync(instances.api, `2026-03-01T00:05:00+00:00\t${SERVES}\n2026-03-02T00:00:00+00:00\t${FAILED}\n`);
    writeFileSync(join(bucket, `logs/scheduler/boot/${SERVES}.state`), 'serving\n');
    writeFileSync(join(bucket, `logs/scheduler/boot/${FAILED}.state`), 'failed in boot, line 7\n');
    writeFileSync(ssm('statuses'), 'InvocationDoesNotExist\nPending\nInProgress\nSuccess\n');
    writeFileSync(ssm('StandardOutputContent'), 'scheduler_1 | {"level":"info"}\u001b[2J\n');
    writeFileSync(ssm('StandardErrorContent'), 'failed to run commands: exit status 1\n');
  });

  it('asks the instance that serves, waits, and prints what it said and nothing else', () => {
    const { status, stdout, stderr } = run(['logs', 'scheduler', '50']);
    expect(stderr).toBe('scheduler-deploy: as arn:aws:iam::1:user/me, in us-west-2\n');
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'scheduler_1 | {"level":"info"}[2J\n' });
    const [sent = '', ...others] = readFileSync(calls, 'utf8').match(/^ssm send-command .*$/gm) ?? [];
    expect(others).toEqual([]);
    expect(sent).toContain(` --instance-ids ${SERVES} --document-name AWS-RunShellScript `);
    expect(readFileSync(calls, 'utf8')).toContain(`get-command-invocation --command-id c-1 --instance-id ${SERVES} `);
  });

  it('has the instance print the end of the logs of its own stack, and how that ended', () => {
    expect(run(['logs', 'nginx']).status).toBe(0);
    const { commands, executionTimeout } = JSON.parse(readFileSync(ssm('parameters'), 'utf8')) as {
      commands: string[];
      executionTimeout: string[];
    };
    expect(executionTimeout).toEqual(['60']);
    const files = /-f docker-compose\.yml [^"]*(?= "\$@")/.exec(readFileSync(USER_DATA, 'utf8'))?.[0];
    const app = join(work, 'app');
    mkdirSync(app, { recursive: true });
    writeShims(join(work, 'instance'), {
      'docker-compose': `echo "$PWD $*" >"$WORK/composed"
        seq 1 9000; echo the last one; [ ! -e "$WORK/refused" ] || exit 3`,
    });
    const ran = (): SpawnSyncReturns<string> =>
      spawnSync('sh', ['-c', (commands[0] ?? '').replace('/opt/scheduler/app', app)], {
        encoding: 'utf8',
        env: { PATH: `${join(work, 'instance')}:${process.env['PATH']}`, WORK: work },
      });
    const { status, stdout } = ran();
    expect(readFileSync(join(work, 'composed'), 'utf8')).toBe(
      `${app} --project-name scheduler ${files} logs --no-color --tail=200 nginx\n`,
    );
    // What SSM keeps is the first 24000 characters.
    expect(stdout).toHaveLength(24_000);
    expect(stdout).toMatch(/\n9000\nthe last one\n$/);
    expect(status).toBe(0);
    writeFileSync(join(work, 'refused'), '');
    expect(ran().status).toBe(3);
  });

  it('says what the command said where it fails, and of SSM what it means', () => {
    writeFileSync(ssm('statuses'), 'Failed\n');
    const failed = run(['logs', 'nothing']);
    expect(failed.status).toBe(1);
    expect(failed.stdout).toContain('scheduler_1');
    expect(failed.stderr).toMatch(
      /exit status 1\nscheduler-deploy: the command ended on i-0000000000000000a: Failed\n$/,
    );

    writeFileSync(
      ssm('refused'),
      'An error occurred (InvalidInstanceId) when calling the SendCommand operation: Instances not in a valid state',
    );
    const unmanaged = run(['logs']);
    expect(unmanaged.status).toBe(1);
    expect(unmanaged.stderr).toMatch(/i-0000000000000000a is not managed by SSM: [^]*its role needs/);
    writeFileSync(ssm('refused'), 'An error occurred (AccessDeniedException) when calling …: User is not authorized');
    expect(run(['logs']).stderr).toMatch(/SSM does not take the command: .*User is not authorized\n$/);
  });

  it('gives up on an instance that does not answer, and takes the command back', () => {
    writeFileSync(ssm('statuses'), 'Pending\n');
    // The clock runs an hour a look.
    writeShims(join(work, 'tools'), { date: 'echo "$(($(/bin/date +%s) + 3600 * $(grep -c Status "$WORK/calls")))"' });
    const { status, stderr } = run(['logs']);
    rmSync(join(work, 'tools/date'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/i-0000000000000000a did not answer within 120 s \(Pending\)/);
    expect(readFileSync(calls, 'utf8')).toContain('ssm cancel-command --command-id c-1');
  });

  it('takes the youngest where none serves, and the one that is named', () => {
    rmSync(join(bucket, `logs/scheduler/boot/${SERVES}.state`));
    const { stderr } = run(['logs']);
    expect(stderr).toContain(`none says that it serves; the youngest is ${FAILED} (failed in boot, line 7)`);
    expect(readFileSync(calls, 'utf8')).toContain(`send-command --instance-ids ${FAILED} `);
    expect(run(['logs'], '', { INSTANCE_ID: 'i-0c' }).status).toBe(0);
    expect(readFileSync(calls, 'utf8')).toContain('send-command --instance-ids i-0c ');
    expect(run(['logs'], '', { INSTANCE_ID: 'i-0c --x' }).stderr).toMatch(/is no instance's id/);
    writeFileSync(instances.api, '');
    expect(run(['logs']).stderr).toMatch(/no instance of scheduler runs in us-west-2/);
  });

  it.each([['x; id'], ['--help'], ['$(id)'], ['scheduler', '1e9'], ['scheduler', '10000']])(
    'refuses what is neither service nor number of lines: %s %s',
    (...args) => {
      const { status, stderr } = run(['logs', ...args]);
      expect(status).toBe(1);
      expect(stderr).toMatch(/logs \[service\] \[lines\]/);
      expect(existsSync(calls)).toBe(false);
    },
  );
});

describe('scheduler-deploy backup', () => {
  const app = join(work, 'app');
  const PROJECT = '--project-name scheduler';
  beforeEach(() => {
    rmSync(app, { recursive: true, force: true });
    mkdirSync(join(work, 'ssm'), { recursive: true });
    mkdirSync(join(bucket, 'backups/scheduler'), { recursive: true });
    cpSync(join(ENTRYPOINT, '../..'), join(app, 'deploy'), { recursive: true });
    writeFileSync(join(app, 'docker-compose.stack.yml'), 'volumes:\n  agent-keys: {}\n  postgres-data: {}\n');
    rmSync(join(work, 'ssm/refused'), { force: true });
    rmSync(join(work, 'dump-fails'), { force: true });
    writeFileSync(join(work, 'ssm/statuses'), 'Success\n');
    writeFileSync(join(work, 'ssm/StandardOutputContent'), 'backup: s3://…, 5 bytes\n');
    writeFileSync(instances.api, '2026-03-01T00:05:00+00:00\ti-0a\n');
    writeShims(join(work, 'instance'), {
      'docker-compose': `echo "$PWD $*" >"$WORK/composed"
        case "$*" in *pg_dump*) [ ! -e "$WORK/dump-fails" ] && echo dump ;; *) cat >/dev/null ;; esac`,
    });
  });

  it('has the instance dump its Postgres into the bucket, and says what that said', () => {
    const { status, stdout, stderr } = run(['backup']);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'backup: s3://…, 5 bytes\n' });
    expect(stderr).toContain('backing up on i-0a');
    const ran = onTheInstance();
    expect(ran.stderr).toBe('');
    expect(ran.stdout).toMatch(
      /^backup: s3:\/\/scheduler-api-1-us-west-2\/backups\/scheduler\/\d{8}T\d{6}Z\.dump, 5 bytes\n$/,
    );
    const [name = '', ...others] = readdirSync(join(bucket, 'backups/scheduler'));
    expect(others).toEqual([]);
    expect(readFileSync(join(bucket, 'backups/scheduler', name), 'utf8')).toBe('dump\n');
    const files = /-f docker-compose\.yml [^"]*(?= "\$@")/.exec(readFileSync(USER_DATA, 'utf8'))?.[0] ?? '';
    expect(readFileSync(join(work, 'composed'), 'utf8')).toContain(`${app} ${PROJECT} ${files} exec -T postgres `);
  });

  it('leaves nothing in the bucket where the dump fails, or Postgres is elsewhere', () => {
    expect(run(['backup']).status).toBe(0);
    writeFileSync(join(work, 'dump-fails'), '');
    expect(onTheInstance().status).not.toBe(0);
    writeFileSync(join(app, 'docker-compose.stack.yml'), 'volumes:\n  agent-keys: {}\n');
    const elsewhere = onTheInstance();
    expect(elsewhere.status).toBe(1);
    expect(elsewhere.stderr).toBe('backup: Postgres is not on this instance: RDS keeps backups itself\n');
    expect(readdirSync(join(bucket, 'backups/scheduler'))).toEqual([]);
  });

  /** What was sent, run where the stack of an instance is. */
  function onTheInstance(): SpawnSyncReturns<string> {
    const { commands } = JSON.parse(readFileSync(join(work, 'ssm/parameters'), 'utf8')) as { commands: string[] };
    return spawnSync('sh', ['-c', (commands[0] ?? '').replace('/opt/scheduler/app', app)], {
      encoding: 'utf8',
      env: { PATH: `${join(work, 'instance')}:${join(work, 'tools')}:${process.env['PATH']}`, WORK: work },
    });
  }
});

describe('scheduler-deploy restore', () => {
  const app = join(work, 'app');
  const backups = join(bucket, 'backups/scheduler');
  const NEWEST = '20260302T000000Z.dump';
  beforeEach(() => {
    for (const folder of [app, join(work, 'composed'), join(work, 'restored'), join(work, 'restore.lock')])
      rmSync(folder, { recursive: true, force: true });
    mkdirSync(join(work, 'ssm'), { recursive: true });
    mkdirSync(backups, { recursive: true });
    for (const [name, day] of [
      ['20260301T000000Z.dump', 1],
      [NEWEST, 2],
    ] as const) {
      writeFileSync(join(backups, name), `dump of day ${day}`);
      const time = new Date(`2026-03-0${day}T00:00:00Z`);
      utimesSync(join(backups, name), time, time);
    }
    cpSync(join(ENTRYPOINT, '../..'), join(app, 'deploy'), { recursive: true });
    writeFileSync(join(app, 'docker-compose.stack.yml'), 'volumes:\n  agent-keys: {}\n  postgres-data: {}\n');
    rmSync(join(work, 'ssm/refused'), { force: true });
    writeFileSync(join(work, 'ssm/statuses'), 'Success\n');
    writeFileSync(join(work, 'ssm/StandardOutputContent'), 'restore: done\n');
    writeFileSync(join(work, 'snapshots'), '');
    writeFileSync(instances.api, '2026-03-01T00:05:00+00:00\ti-0a\n');
    writeShims(join(work, 'instance'), {
      // A link leads to the folder that is the bucket.
      curl: `printf '%s\n' "$*" >>"$WORK/curled"
        while [ $# -gt 0 ] && [ "$1" != --output ]; do shift; done
        [ $# -gt 0 ] || exit 0
        url=$(sed -n 's/^url = "\\(.*\\)"$/\\1/p') && path=\${url%%\\?*}
        head -c "\${CUT:-1000}" "$WORK/s3/scheduler-api-1-us-west-2/\${path#https://the.link/}" >"$2"`,
      'docker-compose': `echo "$PWD $*" >>"$WORK/composed"
        case "$*" in
          *'df -Pk'*) printf 'Filesystem\n/dev/x 9 9 99999999 1%% /\n' ;;
          *--single-transaction*) cat >"$WORK/restored" ;;
        esac`,
    });
  });

  const answer = { DEPLOY_YES: '1' };
  const sent = (): { commands: string[]; executionTimeout: string[] } =>
    JSON.parse(readFileSync(join(work, 'ssm/parameters'), 'utf8')) as ReturnType<typeof sent>;
  /** What was sent, run where the stack of an instance is. */
  function onTheInstance(extra: Record<string, string> = {}, ...prefix: string[]): SpawnSyncReturns<string> {
    const command = (sent().commands[0] ?? '').replace('/opt/scheduler/app', app);
    const [program, ...args] = [...prefix, 'sh', '-c', command];
    return spawnSync(program, args, {
      encoding: 'utf8',
      timeout: 30_000,
      env: {
        PATH: `${join(work, 'instance')}:${process.env['PATH']}`,
        WORK: work,
        TMPDIR: join(work, 'ssm'),
        ...extra,
      },
    });
  }

  it('has the instance fetch the newest dump by a link that nobody sees, and restore it', () => {
    const { status, stdout, stderr } = run(['restore'], '', answer);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'restore: done\n' });
    expect(stderr).toMatch(
      /quarantined: they run on[^]*restoring backups\/scheduler\/20260302T000000Z\.dump \(13 bytes, of 2026-03-02T00:00:00 UTC\) on i-0a/,
    );
    expect(readFileSync(calls, 'utf8')).toMatch(
      /^s3 presign s3:\/\/scheduler-api-1-us-west-2\/backups\/scheduler\/20260302T000000Z\.dump --region us-west-2 --expires-in 900$/m,
    );
    expect(sent().executionTimeout).toEqual(['7200']);
    const ran = onTheInstance();
    expect(ran.stderr).toBe('');
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/restore: done[^]*restore: the API serves again\n$/);
    expect(readFileSync(join(work, 'restored'), 'utf8')).toBe('dump of day 2');
    expect(stdout + stderr + ran.stdout + readFileSync(join(work, 'curled'), 'utf8')).not.toContain('X-Amz-Signature');
    const files = /-f docker-compose\.yml [^"]*(?= "\$@")/.exec(readFileSync(USER_DATA, 'utf8'))?.[0] ?? '';
    expect(readFileSync(join(work, 'composed'), 'utf8')).toContain(
      `${app} --project-name scheduler ${files} stop scheduler\n`,
    );
    // Of the backup nothing is left on its disk.
    expect(readdirSync(join(work, 'ssm')).filter((name) => name.startsWith('tmp.'))).toEqual([]);
  });

  it('asks first; a rehearsal need not', () => {
    const { status, stderr } = run(['restore', '20260301T000000Z.dump']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/Restore backups\/scheduler\/20260301T000000Z\.dump .* There is no terminal to answer in/);
    expect(readFileSync(calls, 'utf8')).not.toContain('send-command');

    expect(run(['restore', '20260301T000000Z.dump', '--rehearse']).status).toBe(0);
    expect(sent().commands[0]).toMatch(
      /20260301T000000Z\.dump\?\S+' BACKUP_BYTES=13 sh deploy\/restore-from-s3\.sh --rehearse$/,
    );
    writeFileSync(join(app, 'deploy/restore.sh'), 'echo "$@"');
    expect(onTheInstance().stdout).toMatch(/^--rehearse \/\S+\/20260301T000000Z\.dump\n$/);
  });

  it('restores nothing of what was cut off, has no room, is elsewhere, or while another restore is under way', () => {
    expect(run(['restore'], '', answer).status).toBe(0);
    const refusals: [SpawnSyncReturns<string>, string][] = [
      [onTheInstance({ CUT: '5' }), 'restore: the backup was cut off: 5 of 13 bytes came\n'],
      [
        onTheInstance({}, 'flock', join(work, 'restore.lock')),
        'restore: another restore or rehearsal is under way on this instance: wait until it has ended\n',
      ],
    ];
    writeShims(join(work, 'instance'), { df: `printf 'Filesystem\n/dev/x 9 9 1024 1%% /\n'` });
    refusals.push([onTheInstance(), 'restore: the disk has 1 MiB free, and the backup has 0\n']);
    rmSync(join(work, 'instance/df'));
    writeShims(join(work, 'instance'), { curl: 'echo "curl: (22) 403" >&2; exit 22' });
    refusals.push([
      onTheInstance(),
      'curl: (22) 403\nrestore: the backup could not be fetched. A 403 means that its link has ended: it is good for 15 minutes, and no longer than the session that made it\n',
    ]);
    writeFileSync(join(app, 'docker-compose.stack.yml'), 'volumes:\n  agent-keys: {}\n');
    refusals.push([onTheInstance(), 'restore: Postgres is not on this instance: restore it where it is\n']);
    rmSync(join(app, 'deploy/restore-from-s3.sh'));
    refusals.push([onTheInstance(), 'restore: this instance has a release without it: deploy first\n']);
    for (const [{ status, stderr }, message] of refusals)
      expect({ status, stderr }).toEqual({ status: 1, stderr: message });
    expect(existsSync(join(work, 'composed'))).toBe(false);
  });

  describe('rehearse-volume.sh, which the instance runs for a snapshot', () => {
    const devices = join(work, 'devices');
    const rehearse = (extra: Record<string, string> = {}): SpawnSyncReturns<string> =>
      spawnSync('sh', [join(app, 'deploy/rehearse-volume.sh')], {
        encoding: 'utf8',
        timeout: 30_000,
        env: {
          PATH: `${join(work, 'instance')}:${process.env['PATH']}`,
          ...{ WORK: work, VOLUME_ID: 'vol-0d', DEVICE_DIR: devices, ...extra },
        },
      });
    const done = (): string[] =>
      readFileSync(join(work, 'done'), 'utf8')
        .replaceAll(/\.\w{6}(?=\/)/g, '')
        .split('\n');
    beforeEach(() => {
      rmSync(join(work, 'done'), { force: true });
      rmSync(join(work, 'mounted'), { force: true });
      mkdirSync(join(devices, 'disk/by-id'), { recursive: true });
      writeFileSync(join(devices, 'disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0d'), '');
      writeFileSync(join(app, 'deploy/restore.sh'), 'echo "restore.sh $1 ${2##*/}: $(cat "$2")" >>"$WORK/done"');
      writeShims(join(work, 'instance'), {
        'docker-compose': 'echo the-postgres',
        docker: `echo "docker $*" >>"$WORK/done"
          case "$*" in
            inspect*) echo postgres:18-alpine ;;
            run*) echo the-copy ;;
            *POSTGRES_DB*) printf scheduler ;;
            *pg_isready*) [ -z "\${BROKEN:-}" ] ;;
            *pg_dump*) echo a dump ;;
          esac`,
        mount: 'echo "mount ${1##*/} $2/" >>"$WORK/done"; mkdir "$2/postgres"; touch "$WORK/mounted"',
        mountpoint: '[ -e "$WORK/mounted" ]',
        umount: 'echo "umount $1/" >>"$WORK/done"; rm "$WORK/mounted"',
      });
    });
    const RECOVERY = [
      `mount nvme-Amazon_Elastic_Block_Store_vol0d ${work}/rehearsal/volume/`,
      'docker inspect --format {{.Config.Image}} the-postgres',
      'docker exec the-postgres sh -c printf %s "$POSTGRES_DB"',
      `docker run -d --network none --memory 512m -v ${work}/rehearsal/volume/postgres:/var/lib/postgresql postgres:18-alpine`,
      'docker exec the-copy timeout 1200 sh -c until pg_isready -q -h /var/run/postgresql; do sleep 1; done',
    ];
    const AWAY = ['docker rm -f the-copy', `umount ${work}/rehearsal/volume/`];

    it('has a Postgres recover that nobody reaches, and rehearses with what that dumps', () => {
      expect(rehearse()).toMatchObject({ status: 0, stderr: '' });
      expect(done()).toEqual([
        ...RECOVERY,
        'docker exec the-copy pg_dump -h /var/run/postgresql -U superuser --format custom scheduler',
        ...AWAY,
        'restore.sh --rehearse snapshot.dump: a dump',
        '',
      ]);
    });

    it('takes everything away where Postgres does not recover', () => {
      const { status, stderr } = rehearse({ BROKEN: '1' });
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: 'restore: Postgres does not recover from the snapshot: its last words are above\n',
      });
      expect(done()).toEqual([...RECOVERY, 'docker logs --tail 20 the-copy', ...AWAY, '']);
      expect(readdirSync(work).filter((name) => name.startsWith('rehearsal'))).toEqual([]);
    });
  });

  it('lists what there is, and says how to make one', () => {
    writeFileSync(
      join(work, 'snapshots'),
      '2026-03-01T03:00:00+00:00\tsnap-0a\t20\tcompleted\n2026-03-02T03:00:00+00:00\tsnap-0b\t20\tpending\n',
    );
    expect(run(['restore', 'list']).stdout)
      .toBe(`dumps in s3://scheduler-api-1-us-west-2/backups/scheduler/, the newest first:
  20260302T000000Z.dump  13 bytes, of 2026-03-02T00:00:00
  20260301T000000Z.dump  13 bytes, of 2026-03-01T00:00:00
snapshots of the volume, the newest first:
  snap-0b  20 GiB, of 2026-03-02T03:00:00 (pending)
  snap-0a  20 GiB, of 2026-03-01T03:00:00 (completed)
`);
    rmSync(backups, { recursive: true });
    expect(run(['restore', 'list']).stdout).toMatch(
      / none: docker-compose run --rm scheduler-deploy backup makes one\n/,
    );
    const none = run(['restore'], '', answer);
    expect(none.status).toBe(1);
    expect(none.stderr).toMatch(
      /there is no backup in s3:\S+: docker-compose run --rm scheduler-deploy backup makes one\n$/,
    );
  });

  it.each<[string, string[], Record<string, string>, RegExp]>([
    [
      'a backup there is none of',
      ['restore', 'other.dump'],
      {},
      /there is no backup other\.dump of scheduler: restore list/,
    ],
    ['another stack’s', ['restore', 'backups/two/20260301T000000Z.dump'], {}, /there is no backup backups\/two/],
    ['two of them', ['restore', 'a', 'b'], {}, /restore \[BACKUP\] \[--rehearse\]/],
    ['what is no name', ['restore', '$(id)'], {}, /restore \[BACKUP\] \[--rehearse\]/],
    ['to rehearse a list', ['restore', 'list', '--rehearse'], {}, /restore \[BACKUP\] \[--rehearse\]/],
    ['RDS', ['restore'], { TF_VAR_database: 'rds' }, /on RDS .* restore-db-instance-to-point-in-time/],
    [
      'a Postgres of one’s own',
      ['restore', 'snap-0a'],
      { TF_VAR_database: 'external' },
      /Postgres is yours .* restore it there/,
    ],
  ])('refuses %s', (_what, args, extra, message) => {
    const { status, stdout, stderr } = run(args, '', { ...answer, ...extra });
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
    if (existsSync(calls)) expect(readFileSync(calls, 'utf8')).not.toContain('send-command');
  });
});

// Terraform has nothing to do here, and may fail.
describe('scheduler-deploy rotate-keys', () => {
  const OLD = Buffer.alloc(32, 1).toString('base64');
  const OLDER = Buffer.alloc(32, 2).toString('base64');
  const BEFORE = `POSTGRES_USER=a\nPOSTGRES_PASSWORD=b\nADMIN_TOKEN=c\nENCRYPTION_KEY=${OLD}\n`;
  const MARK = /^# scheduler-deploy rotate-keys: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [0-9a-f]{16}\n/m;
  const checkout = join(work, 'checkout');
  const planned = join(work, 'planned');
  const file = (): string => readFileSync(env, 'utf8');
  /** The file when Terraform was asked for a plan, each time. */
  const deployed = (): string[] => readdirSync(planned).sort().map((name) => readFileSync(join(planned, name), 'utf8')); // prettier-ignore
  const rotate = (extra: Record<string, string> = {}): SpawnSyncReturns<string> =>
    run(['rotate-keys'], '', {
      DEPLOY_YES: '1',
      REPOSITORY: checkout,
      TF_VAR_allowed_cidrs: '["10.0.0.0/8"]',
      ...extra,
    });

  beforeEach(() => {
    rmSync(planned, { recursive: true, force: true });
    for (const folder of [planned, join(checkout, 'terraform'), join(work, 'ssm'), join(bucket, 'logs/scheduler/boot')])
      mkdirSync(folder, { recursive: true });
    for (const name of ['plan-fails', 'ssm/refused']) rmSync(join(work, name), { force: true });
    for (const name of ['current', 'next']) writeFileSync(join(bucket, `secrets/agent-keys/${name}.pem`), name);
    writeFileSync(env, `${BEFORE}ENCRYPTION_KEYS_OLD=${OLDER}`);
    utimesSync(env, new Date('2026-02-01T00:00:00Z'), new Date('2026-02-01T00:00:00Z'));
    writeFileSync(instances.api, '2026-03-01T00:05:00+00:00\ti-0a\n');
    writeFileSync(join(bucket, 'logs/scheduler/boot/i-0a.state'), 'serving\n');
    writeFileSync(join(work, 'ssm/statuses'), 'Success\n');
    writeFileSync(join(work, 'ssm/StandardOutputContent'), '{"message":"rotated"}\n');
    writeFileSync(join(work, 'ssm/StandardErrorContent'), '');
    writeShims(join(work, 'tools'), {
      git: `case "$*" in *archive*) tar -c -C "$REPOSITORY" terraform ;; *rev-parse*) echo c0ffee ;; esac`,
      terraform: `case "$1 $2" in
        'show -json') echo '{"resource_changes":[]}' ;;
        'state pull') echo '{"resources":[{"mode":"managed","type":"aws_instance","name":"api","instances":[{"attributes":{"id":"i-0a"}}]}]}' ;;
        plan*) cp "$WORK/s3/scheduler-api-1-us-west-2/secrets/.env" "$WORK/planned/$(ls "$WORK/planned" | wc -l)"
          [ ! -e "$WORK/plan-fails" ] ;;
      esac`,
    });
  });

  it('deploys another key beside the old one, has the instance encrypt anew, and takes the old one out', () => {
    const { status, stdout, stderr } = rotate();
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const [, key = ''] = /^ENCRYPTION_KEY=(\S{44})$/m.exec(file()) ?? [];
    expect(deployed()).toEqual([
      `${BEFORE.replace(OLD, key)}ENCRYPTION_KEYS_OLD=${OLD},${OLDER}\n${MARK.exec(deployed()[0] ?? '')?.[0]}`,
    ]);
    // What was there before stays.
    expect(file()).toBe(`${BEFORE.replace(OLD, key)}ENCRYPTION_KEYS_OLD=${OLDER}\n`);
    expect(stdout).toMatch(
      /wrote a new ENCRYPTION_KEY[^]*encrypting again on i-0a[^]*"rotated"[^]*took it out of ENCRYPTION_KEYS_OLD[^]*backups made before still need it/,
    );
    for (const said of [stdout, readFileSync(calls, 'utf8')])
      expect(said).not.toMatch(new RegExp(`${OLD}|${key.replaceAll('+', '\\+')}`));

    // Whoever did not see the end does not begin another one.
    const again = rotate();
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(/was changed at \S+, after the instance that serves was made: deploy that first/);
    expect(file()).toContain(key);
  });

  it('goes on where it was stopped, with the same key', () => {
    writeFileSync(join(work, 'plan-fails'), '');
    expect(rotate().status).toBe(1);
    const [begun] = deployed();
    expect(file()).toBe(begun);
    rmSync(join(work, 'plan-fails'));
    writeFileSync(join(work, 'ssm/statuses'), 'Failed\n');
    const left = rotate();
    expect(left.stdout).toMatch(/a rotation was begun at \S+Z: going on with it/);
    expect(left.stderr).toMatch(/something is left of the old key after 5 tries .*the same command goes on\n$/);
    expect(left.stdout.match(/"rotated"/g)).toHaveLength(5);
    expect(file()).toBe(begun);
    writeFileSync(join(work, 'ssm/statuses'), 'Failed\nSuccess\n');
    expect(rotate().status).toBe(0);
    expect(file()).toBe(begun?.replace(`${OLD},`, '').replace(MARK, ''));
  });

  it('tells both instances of the new key first, where they run side by side', () => {
    writeFileSync(env, BEFORE);
    utimesSync(env, new Date('2026-02-01T00:00:00Z'), new Date('2026-02-01T00:00:00Z'));
    writeFileSync(join(work, 'plan-fails'), '');
    expect(rotate({ TF_VAR_database: 'rds' }).status).toBe(1);
    rmSync(join(work, 'plan-fails'));
    expect(rotate({ TF_VAR_database: 'rds' }).status).toBe(0);
    const [, key = ''] = /^ENCRYPTION_KEY=(\S{44})$/m.exec(file()) ?? [];
    const keys = deployed().map((text) => [...text.matchAll(/^ENCRYPTION_KEY\w*=(.*)$/gm)].map(([, value]) => value));
    expect(keys).toEqual([
      [OLD, key],
      [OLD, key],
      [key, OLD],
    ]);
    expect(file()).toBe(BEFORE.replace(OLD, key));
  });

  it('asks first, and needs an instance that serves', () => {
    expect(rotate({ DEPLOY_YES: '' }).stderr).toMatch(
      /Rotate ENCRYPTION_KEY of scheduler in us-west-2\? .* There is no terminal to answer in/,
    );
    writeFileSync(instances.api, '');
    expect(rotate().stderr).toMatch(/no instance of scheduler serves.*: deploy first/);
    expect(file()).toBe(`${BEFORE}ENCRYPTION_KEYS_OLD=${OLDER}`);
  });
});

// Sessions need AWS and its plugin: what is called is all that can be seen here.
describe('scheduler-deploy shell', () => {
  beforeEach(() => {
    writeFileSync(instances.api, '2026-03-01T00:05:00+00:00\ti-0a\n');
    rmSync(join(work, 'tools/session-manager-plugin'), { force: true });
  });

  it('starts a session with the instance', () => {
    writeShims(join(work, 'tools'), { 'session-manager-plugin': '' });
    expect(run(['shell']).status).toBe(0);
    expect(readFileSync(calls, 'utf8')).toMatch(/\nssm start-session --target i-0a\n$/);
  });

  it('names the plugin where it is missing, where it comes from, and the call to make elsewhere', () => {
    const { status, stderr } = run(['shell']);
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /session-manager-plugin is missing here[^]*https:\/\/s3\.amazonaws\.com\/session-manager-downloads[^]*install-plugin\.html[^]*\naws ssm start-session --region us-west-2 --target i-0a\n$/,
    );
    expect(readFileSync(calls, 'utf8')).not.toContain('start-session');
  });
});

function run(args: readonly string[], input = '', extra: Record<string, string> = {}): SpawnSyncReturns<string> {
  return spawnSync('sh', [ENTRYPOINT, ...args], {
    encoding: 'utf8',
    input,
    timeout: 120_000,
    env: environment(extra),
  });
}

function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const PATH = `${join(work, 'tools')}:${process.env['PATH']}`;
  return { PATH, REPOSITORY: work, WORK: work, POLL_SECONDS: '0', ...extra };
}

function uploads(): string[] {
  const lines = existsSync(calls) ? readFileSync(calls, 'utf8').split('\n') : [];
  return lines.filter((line) => /^s3 cp .* s3:\S+$/.test(line));
}

/** Runs its arguments in a terminal, types a line when it is asked for one, and prints what the terminal shows. */
const TERMINAL = `
import os, pty, sys
child, terminal = pty.fork()
if child == 0: os.execvp("env", ["env", "PATH=" + os.environ["WORK"] + "/tools:" + os.environ["PATH"], *sys.argv[1:]])
shown, typed = b"", False
while True:
    try: more = os.read(terminal, 4096)
    except OSError: break
    if not more: break
    shown += more
    if b"not shown" in shown and not typed: typed = os.write(terminal, b"typed\\n")
sys.stdout.buffer.write(shown)`;

const AWS = `echo "$*" >>"$WORK/calls"
  file() { printf %s "\${1/#s3:\\/\\//$WORK/s3/}"; }
  case "$*" in
    'sts get-caller-identity '*) printf '1\\tarn:aws:iam::1:user/me\\n' ;;
    's3api get-bucket-location '*) echo us-west-2 ;;
    's3api head-bucket '*) [ ! -e "$WORK/foreign" ] || { echo 'An error occurred (403) when calling the HeadBucket operation: Forbidden' >&2; exit 254; } ;;
    's3api head-object '*) set -- "$4" "$6"; date -u -r "$WORK/s3/$1/$2" '+%a, %d %b %Y %T GMT' ;;
    's3api list-objects-v2 '*)
      cd "$WORK/s3/scheduler-api-1-us-west-2/backups/scheduler" 2>/dev/null && set -- * || set --
      [ $# != 0 ] || echo None
      for file; do printf '%s+00:00\\t%s\\tbackups/scheduler/%s\\n' "$(date -u -r "$file" +%FT%T)" "$(wc -c <"$file")" "$file"; done
      ;;
    's3 presign '*) echo "https://the.link/\${3#s3://*/}?X-Amz-Expires=900&X-Amz-Signature=a%2Fb" ;;
    'ec2 describe-snapshots '*) cat "$WORK/snapshots" ;;
    'ec2 describe-volumes '*) ;;
    's3 cp '*' -') set -- "\${@: -2}"; cat "$(file "$1")" ;;
    's3 cp '*) set -- "\${@: -2}"; cat "$(file "$1")" >"$(file "$2").part" && mv "$(file "$2").part" "$(file "$2")" ;;
    'ec2 describe-instances --instance-ids '*) echo running ;;
    'ec2 describe-instances '*tag:scheduler-api:stack*) cat "$WORK/api" ;;
    'ec2 describe-instances '*tag:scheduler-api:cluster*) cat "$WORK/jobs" ;;
    'ssm send-command '*)
      if [ -e "$WORK/ssm/refused" ]; then cat "$WORK/ssm/refused" >&2; exit 254; fi
      while [ "$1" != --parameters ]; do shift; done
      printf %s "$2" >"$WORK/ssm/parameters"
      echo c-1
      ;;
    'ssm get-command-invocation '*' Status '*)
      status=$(head -n 1 "$WORK/ssm/statuses")
      [ "$(wc -l <"$WORK/ssm/statuses")" = 1 ] || sed -i 1d "$WORK/ssm/statuses"
      [ "$status" != InvocationDoesNotExist ] || { echo 'An error occurred (InvocationDoesNotExist)' >&2; exit 254; }
      echo "$status"
      ;;
    'ssm get-command-invocation '*) while [ "$1" != --query ]; do shift; done; cat "$WORK/ssm/$2" ;;
    'ssm cancel-command '* | 'ssm start-session '*) ;;
    *) echo "unexpected: $*" >&2; exit 254 ;;
  esac`;
