import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { writeShims } from '../support/shims.ts';

// `scheduler-deploy restore snap-…`, ended after each thing it changes. Terraform and AWS are stand-ins with a memory of
// volumes, of the state and of the instance.
// A command starts some dozens of processes: seconds, and more of them on a busy machine.
jest.setTimeout(120_000);

const ENTRYPOINT = join(import.meta.dirname, '../../deploy/terraform/entrypoint.sh');
const work = mkdtempSync(join(tmpdir(), 'restore-snapshot-'));
const text = (name: string): string => readFileSync(join(work, name), 'utf8').trim();
const SNAPSHOT = 'snap-0a';
const CHANGES = ['create-volume', 'stop-instances', 'create-tags', 'state rm', 'import', 'apply'];

beforeEach(() => {
  rmSync(work, { recursive: true, force: true });
  const folders = ['checkout/terraform', 'bucket/secrets/agent-keys', 'bucket/logs/scheduler/boot'];
  for (const folder of folders) mkdirSync(join(work, folder), { recursive: true });
  for (const key of ['current', 'next']) writeFileSync(join(work, `bucket/secrets/agent-keys/${key}.pem`), key);
  writeFileSync(
    join(work, 'bucket/secrets/.env'),
    'POSTGRES_USER=a\nPOSTGRES_PASSWORD=b\nADMIN_TOKEN=c\nENCRYPTION_KEY=d\n',
  );
  // Id, name, and the tag of a restore.
  writeFileSync(join(work, 'volumes'), 'vol-0a scheduler-data -\n');
  writeFileSync(join(work, 'state'), 'vol-0a\n');
  writeFileSync(join(work, 'deployed'), 'vol-0a\n');
  writeFileSync(join(work, 'running'), '2026-03-01T00:05:00+00:00\ti-0a\n');
  writeFileSync(join(work, 'bucket/logs/scheduler/boot/i-0a.state'), 'serving\n');
  writeFileSync(join(work, 'bucket/logs/scheduler/boot/i-0b.state'), 'serving\n');
  writeShims(join(work, 'tools'), {
    git: `case "$*" in *rev-parse*) echo c0ffee ;; *" terraform "*) tar -c -C "$REPOSITORY" terraform ;; esac`,
    aws: AWS,
    terraform: TERRAFORM,
  });
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('restoring a snapshot', () => {
  it('puts a volume from it in the place of the one in use, which is kept', () => {
    const { status, stdout, stderr } = run(['restore', SNAPSHOT]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(
      /stopping i-0a[^]*put the volume vol-0a aside[^]*restored snap-0a\. The volume of before is kept/,
    );
    expectRestored();
    expect(text('changed').split('\n')).toEqual(CHANGES);
    // And nothing is left to do.
    expect(run(['up']).status).toBe(0);
    expect(text('changed').split('\n')).toEqual(CHANGES);
  });

  it.each(CHANGES.map((change, index) => [change, index + 1] as const))(
    'ended after %s it goes on when it is called again',
    (_change, at) => {
      expect(run(['restore', SNAPSHOT], { END_AFTER: String(at) }).status).not.toBe(0);
      if (at < CHANGES.length) expect(run(['restore', SNAPSHOT])).toMatchObject({ status: 0, stderr: '' });
      expectRestored();
    },
  );

  it.each(CHANGES.slice(1, -1).map((change, index) => [change, index + 2] as const))(
    'ended after %s `up` brings it to its end',
    (_change, at) => {
      expect(run(['restore', SNAPSHOT], { END_AFTER: String(at) }).status).not.toBe(0);
      expect(run(['up'])).toMatchObject({ status: 0, stderr: '' });
      expectRestored();
    },
  );

  it('is only told of by `up` while the API serves, and can be given up', () => {
    expect(run(['restore', SNAPSHOT], { END_AFTER: '1' }).status).not.toBe(0);
    const { status, stdout } = run(['up']);
    expect(status).toBe(0);
    expect(stdout).toContain(
      'NOTE: a restore of snap-0a was begun. To go on: restore snap-0a; to give it up: aws ec2 delete-volume --volume-id vol-0b',
    );
    expect([text('running'), text('state'), text('changed')]).toEqual([
      expect.stringContaining('i-0a'),
      'vol-0a',
      'create-volume',
    ]);
    expect(run(['restore', 'snap-0b']).stderr).toMatch(
      /a restore of snap-0a was begun: finish that one first, or give it up/,
    );
  });

  it('asks first', () => {
    const { status, stdout, stderr } = run(['restore', SNAPSHOT], { DEPLOY_YES: '' });
    expect(status).toBe(1);
    expect(stdout).toMatch(/quarantined[^]*away until a new instance serves/);
    expect(stderr).toMatch(
      /Restore snap-0a \(20 GiB, of 2026-03-01T03:00:00\) into scheduler .* There is no terminal to answer in/,
    );
    expect(existsSync(join(work, 'changed'))).toBe(false);
  });
});

/** Two volumes and no more, and the new instance alone runs, with the new one. */
function expectRestored(): void {
  expect(text('volumes')).toMatch(/^vol-0a scheduler-data-before-\d{8}T\d{6}Z -\nvol-0b scheduler-data -$/);
  expect([text('state'), text('deployed'), text('running')]).toEqual([
    'vol-0b',
    'vol-0b',
    '2026-03-02T00:00:00+00:00\ti-0b',
  ]);
}

function run(args: readonly string[], extra: Record<string, string> = {}): SpawnSyncReturns<string> {
  const PATH = `${join(work, 'tools')}:${process.env['PATH']}`;
  const settings = {
    REPOSITORY: join(work, 'checkout'),
    WORK: work,
    DEPLOY_YES: '1',
    TF_VAR_allowed_cidrs: '["10.0.0.0/8"]',
  };
  const env = { PATH, ...settings, ...extra };
  // For the stand-ins, which end it.
  return spawnSync('sh', ['-c', 'export MAIN=$$; exec sh "$0" "$@"', ENTRYPOINT, ...args], {
    encoding: 'utf8',
    timeout: 120_000,
    env,
  });
}

/** Notes a change, and once it is the last one, ends the whole command as a kill would. */
const CHANGED = `changed() {
    echo "$1" >>"$WORK/changed"
    [ "$(wc -l <"$WORK/changed")" != "\${END_AFTER:-}" ] || kill -9 "$MAIN"
  }`;

const AWS = `${CHANGED}
  file() { printf %s "\${1/#s3:\\/\\/scheduler-api-1-us-west-2/$WORK/bucket}"; }
  case "$*" in
    'sts get-caller-identity '*) printf '1\\tarn:aws:iam::1:user/me\\n' ;;
    's3api get-bucket-location '*) echo us-west-2 ;;
    's3api head-'*) ;;
    's3api get-bucket-versioning '*) echo Enabled ;;
    's3 cp '*' -') set -- "\${@: -2}"; cat "$(file "$1")" ;;
    's3 cp '*) ;;
    'ec2 describe-instances '*) cat "$WORK/running" ;;
    'ec2 describe-snapshots '*) printf 'completed\\t20\\t2026-03-01T03:00:00+00:00\\tvol-0a\\tscheduler\\n' ;;
    'ec2 describe-volumes '*'scheduler-api:restored-from'*) awk '$3 != "-" { print $1 "\\t" $3 }' "$WORK/volumes" ;;
    'ec2 describe-volumes '*AvailabilityZone*) printf 'us-west-2a\\t20\\tNone\\n' ;;
    # Of the first volume nobody knows from which snapshot it is.
    'ec2 describe-volumes --volume-ids vol-0b '*SnapshotId*) echo ${SNAPSHOT} ;;
    'ec2 describe-volumes '*) ;;
    'ec2 create-volume '*) echo vol-0b; echo "vol-0b scheduler-data-restored ${SNAPSHOT}" >>"$WORK/volumes"; changed create-volume ;;
    'ec2 wait '*) ;;
    'ec2 stop-instances '*) : >"$WORK/running"; changed stop-instances ;;
    'ec2 create-tags '*) sed -i "s/^$4 [^ ]*/$4 \${6##*Value=}/" "$WORK/volumes"; changed create-tags ;;
    *) echo "unexpected: $*" >&2; exit 254 ;;
  esac`;

const TERRAFORM = `${CHANGED}
  case "$*" in
    init*) ;;
    'state pull')
      volume=$([ ! -s "$WORK/state" ] || printf ',{"mode":"managed","type":"aws_ebs_volume","name":"data","instances":[{"attributes":{"id":"%s"}}]}' "$(cat "$WORK/state")")
      echo '{"resources":[{"mode":"managed","type":"aws_instance","name":"api","instances":[{"attributes":{"id":"i-0a","tags_all":{"scheduler-api:stack":"scheduler"}}}]}'"$volume"']}'
      ;;
    'state list'*) [ ! -s "$WORK/state" ] || echo 'aws_ebs_volume.data[0]' ;;
    'state rm '*) : >"$WORK/state"; changed 'state rm' ;;
    import*) [ ! -s "$WORK/state" ] || exit 1; echo "\${@: -1}" >"$WORK/state"; changed import ;;
    plan*) [ -s "$WORK/state" ] || { echo 'it would make an empty volume' >&2; exit 1; } ;;
    'show -json '*)
      action=no-op
      cmp -s "$WORK/state" "$WORK/deployed" || action=update
      echo '{"resource_changes":[{"address":"aws_instance.api","type":"aws_instance","change":{"actions":["'$action'"]}}]}'
      ;;
    apply*)
      id=$(cat "$WORK/state") && cp "$WORK/state" "$WORK/deployed"
      sed -i "s/^$id .*/$id scheduler-data -/" "$WORK/volumes"
      printf '2026-03-02T00:00:00+00:00\\ti-0b\\n' >"$WORK/running"
      changed apply
      ;;
    output*) echo it ;;
  esac`;
