import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { writeShims } from '../support/shims.ts';

// `scheduler-deploy down`, and `up` after one that was interrupted. Terraform and AWS are stand-ins; test/aws/up.spec.ts has
// the real provider.
// A command starts some dozens of processes: seconds, and more of them on a busy machine.
jest.setTimeout(120_000);

const ENTRYPOINT = join(import.meta.dirname, '../../deploy/terraform/entrypoint.sh');
const work = mkdtempSync(join(tmpdir(), 'take-down-'));
const write = (name: string, text: string): void => writeFileSync(join(work, name), text);
const changes = (): string[] => readFileSync(join(work, 'changes'), 'utf8').split('\n').filter(Boolean);

beforeEach(() => {
  rmSync(work, { recursive: true, force: true });
  for (const folder of ['checkout/terraform', 'secrets']) mkdirSync(join(work, folder), { recursive: true });
  write('checkout/terraform/main.tf', 'resource "aws_instance" "api" {\n}\nresource "aws_ebs_volume" "data" {\n}\n');
  write('state', 'aws_instance.api\naws_ebs_volume.data[0]\nterraform_data.of_somebody_else\n');
  write('api', '2026-03-01T00:00:00+00:00\ti-0b\n2026-02-01T00:00:00+00:00\ti-0a\n');
  write('stack', 'scheduler');
  // What each look at the jobs' instances shows.
  write('jobs', '\ni-0c\n\n\n\n');
  write('volumes', '');
  write('changes', '');
  writeShims(join(work, 'tools'), {
    git: `case "$*" in *rev-parse*) echo c0ffee ;; *" terraform "*) tar -c -C "$REPOSITORY" terraform ;; esac`,
    aws: AWS,
    terraform: TERRAFORM,
    sleep: '',
  });
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('taking a stack away', () => {
  it('stops every instance of the API first, and ends also those of jobs that came after the question', () => {
    const { status, stderr } = run(['down']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(changes()).toEqual([
      'stop i-0b i-0a',
      'terminate i-0c',
      'state rm aws_ebs_volume.data[0]',
      'destroy -target=aws_instance.api',
    ]);
  });

  it('leaves alone what else the state holds, also when nothing of the stack is left', () => {
    write('state', 'terraform_data.of_somebody_else\n');
    const { status, stderr } = run(['down']);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('holds nothing of a stack') });
    write('state', 'aws_ebs_volume.data[0]\nterraform_data.of_somebody_else\n');
    write('api', '');
    expect(run(['down']).status).toBe(0);
    expect(changes()).toEqual(['terminate i-0c', 'state rm aws_ebs_volume.data[0]']);
  });

  it('says so when somebody goes on launching', () => {
    write('jobs', 'i-0c\ni-0d\ni-0e\ni-0f\ni-10\n');
    const { status, stderr } = run(['down']);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('are still launched (i-10)') });
    expect(changes().at(-1)).toBe('terminate i-0f');
  });

  it.each(['down', 'up'])('%s takes no stack for another', (command) => {
    write('stack', 'two');
    const { status, stderr } = run([command]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('set TF_VAR_name=two') });
    expect(changes()).toEqual([]);
  });
});

describe('up', () => {
  it('begins no second stack beside one of the same name', () => {
    write('state', '');
    const { status, stderr } = run(['up']);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringContaining('the API of a stack scheduler runs already (i-0b i-0a)'),
    });
    expect(changes()).toEqual([]);
  });

  it('takes an S3 that is busy for no other version of the settings', () => {
    write('throttled', '');
    const { status, stderr } = run(['up']);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('.env cannot be determined') });
  });

  it('makes no empty volume while the one that was kept is still on an instance', () => {
    write('state', '');
    write('api', '');
    write('volumes', 'vol-0a\ti-0a\n');
    const { status, stderr } = run(['up']);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringContaining('the volume vol-0a of scheduler is still on i-0a'),
    });
    expect(changes()).toEqual([]);
  });

  it('starts an instance again that was stopped, and finishes a bucket that is half made', () => {
    for (const file of ['stopped', 'half-made']) write(file, '');
    expect(run(['up'])).toMatchObject({ status: 0, stderr: '' });
    expect(changes()).toEqual([
      'put-public-access-block',
      'put-bucket-lifecycle-configuration',
      'put-bucket-versioning',
      'start i-0b',
    ]);
  });
});

function run(args: readonly string[]): SpawnSyncReturns<string> {
  const env = {
    PATH: `${join(work, 'tools')}:${process.env['PATH']}`,
    REPOSITORY: join(work, 'checkout'),
    WORK: work,
    DEPLOY_YES: '1',
    TF_VAR_allowed_cidrs: '["10.0.0.0/8"]',
  };
  return spawnSync('sh', [ENTRYPOINT, ...args], { encoding: 'utf8', timeout: 60_000, env });
}

const AWS = `changed() { echo "$*" >>"$WORK/changes"; }
  case "$*" in
    'sts get-caller-identity '*) printf '1\\tarn:aws:iam::1:user/me\\n' ;;
    's3api get-bucket-location '*) echo us-west-2 ;;
    's3api get-bucket-versioning '*) [ -e "$WORK/half-made" ] || echo Enabled ;;
    's3api head-object '*VersionId*) [ ! -e "$WORK/throttled" ] || exit 254; printf 'v1\\tetag\\n' ;;
    's3api head-'*) ;;
    's3api put-'*) changed "$2" ;;
    's3 cp '*'/.env -') printf 'POSTGRES_USER=a\\nPOSTGRES_PASSWORD=b\\nADMIN_TOKEN=c\\nENCRYPTION_KEY=d\\n' ;;
    's3 cp '*'.state -') echo serving ;;
    's3 cp '*) ;;
    'ec2 describe-instances '*scheduler-api:cluster*) head -n 1 "$WORK/jobs"; sed -i 1d "$WORK/jobs" ;;
    'ec2 describe-instances '*State.Name*) if [ -e "$WORK/stopped" ]; then echo stopped; else echo running; fi ;;
    'ec2 describe-instances '*) cat "$WORK/api" ;;
    'ec2 describe-volumes --volume-ids '*) cut -f 2 "$WORK/volumes" ;;
    'ec2 describe-volumes '*'-data Name=status,'*) cut -f 1 "$WORK/volumes" ;;
    'ec2 describe-volumes '* | 'ec2 describe-snapshots '* | 'ec2 wait '*) ;;
    'ec2 stop-instances '*) shift 3; changed stop "$@" ;;
    'ec2 start-instances '*) shift 3; changed start "$@" ;;
    'ec2 terminate-instances '*) shift 3; changed terminate "$@" ;;
    *) echo "unexpected: $*" >&2; exit 254 ;;
  esac`;

const TERRAFORM = `changed() { echo "$*" >>"$WORK/changes"; }
  case "$*" in
    init*) ;;
    'state list'*) cat "$WORK/state" ;;
    'state pull')
      resource() { printf '{"mode":"managed","type":"%s","name":"%s","instances":[{"attributes":%s}]},' "$@"; }
      printf '{"resources":['
      ! grep -q '^aws_instance.api$' "$WORK/state" ||
        resource aws_instance api '{"id":"i-0b","tags_all":{"scheduler-api:stack":"'"$(cat "$WORK/stack")"'"}}'
      ! grep -q aws_ebs_volume "$WORK/state" || resource aws_ebs_volume data '{"id":"vol-0a"}'
      printf '{"mode":"data","type":"a","name":"b","instances":[]}]}'
      ;;
    'state rm '*) changed state rm "$3"; grep -vxF "$3" "$WORK/state" >"$WORK/state.new" && mv "$WORK/state.new" "$WORK/state" ;;
    destroy*) shift; changed destroy "$(printf '%s\\n' "$@" | grep target)" ;;
    plan*) ;;
    'show -json '*) echo '{"resource_changes":[]}' ;;
    output*) echo it ;;
    *) echo "unexpected: $*" >&2; exit 254 ;;
  esac`;
