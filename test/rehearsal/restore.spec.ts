import { CreateTagsCommand, DescribeVolumesCommand, StopInstancesCommand, type Volume } from '@aws-sdk/client-ec2';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
const YES = { DEPLOY_YES: '1' };

const reason = whyNoAccount();

// The deploy container and Terraform's AWS provider are real; moto is AWS, and keeps what an instance is told to run. Ten
// deployments: no part of CI.
describeWhen(reason === undefined, reason ?? '', 'restoring, and rotating keys, with the real provider', () => {
  let account: AwsAccount;
  beforeAll(async () => {
    account = await startAccount(SETTINGS);
    await account.mustDeploy(['up'], YES);
  }, 15 * MINUTES);
  afterAll(async () => await account.dispose(), MINUTES);

  it(
    'restore hands the dump over by a link, in one command, and does not print it',
    async () => {
      await account.write('backups/scheduler/20260301T000000Z.dump', 'the dump');
      const output = await account.mustDeploy(['restore', '--rehearse']);
      const [command = ''] = await commands();
      const [, link = ''] =
        /^BACKUP_URL='(\S+)' BACKUP_BYTES=8 sh deploy\/restore-from-s3\.sh --rehearse$/m.exec(command) ?? [];
      expect(await (await fetch(link)).text()).toBe('the dump');
      expect(new URL(link).searchParams.get('X-Amz-Expires')).toBe('900');
      expect(output).not.toContain('X-Amz-Signature');
    },
    2 * MINUTES,
  );

  it(
    'restore puts a volume from a snapshot in the place of the one in use, which is kept; a failed boot is tried again',
    async () => {
      const [old] = await volumes();
      const snapshot = await takeSnapshot(old);
      expect(await account.mustDeploy(['restore', 'list'])).toContain(`${snapshot}  20 GiB`);
      const volumesBefore = await volumes();
      await account.mustDeploy(['restore', snapshot, '--rehearse']);
      const tried = (await commands()).map(
        (command) => /^VOLUME_ID=(\S+) sh deploy\/rehearse-volume\.sh$/m.exec(command)?.[1],
      );
      expect(tried.filter(Boolean)).toHaveLength(1);
      expect(await volumes()).toEqual(volumesBefore);

      const asked = await account.deploy(['restore', snapshot]);
      expect(asked).toMatchObject({
        code: 1,
        output: expect.stringMatching(/quarantined[^]*There is no terminal to answer in/),
      });
      const [before] = await account.instances();
      expect([await volumes(), before?.State?.Name]).toEqual([[old], 'running']);

      account.boots({ states: ['failed in boot, line 7: a typo'] });
      expect(await account.deploy(['restore', snapshot], YES)).toMatchObject({
        code: 1,
        output: expect.stringContaining('does not serve (failed in boot'),
      });
      account.boots({ states: ['prepared', 'serving'] });
      const output = await account.mustDeploy(['restore', snapshot], YES);
      expect(output).toContain(`a restore of ${snapshot} was begun`);

      const [restored, kept, ...others] = await volumes();
      expect(others).toEqual([]);
      expect(restored).toMatchObject({ SnapshotId: snapshot, Encrypted: true, Size: 20 });
      expect(tagsOf(restored)).toEqual({ Name: 'scheduler-data', 'scheduler-api:stack': 'scheduler' });
      expect(kept?.VolumeId).toBe(old?.VolumeId);
      expect(tagsOf(kept)['Name']).toMatch(/^scheduler-data-before-\d{8}T\d{6}Z$/);
      // The one that served was stopped before the other was made, and is gone.
      const [now, ...more] = await account.instances();
      expect(more).toEqual([]);
      expect(now?.InstanceId).not.toBe(before?.InstanceId);
      expect(await account.mustDeploy(['up'])).toContain('No changes.');
    },
    20 * MINUTES,
  );

  it(
    'a restore that was interrupted is only told of while the API serves, and brought to its end by `up` when it does not',
    async () => {
      const [current, ...kept] = await volumes();
      const snapshot = await takeSnapshot(current);
      const made = [
        'ec2',
        'create-volume',
        '--availability-zone',
        current?.AvailabilityZone ?? '',
        '--volume-type',
        'gp3',
      ];
      const { VolumeId: begun } = await account.aws<Volume>(
        ...made,
        ...['--size', '20', '--encrypted', '--snapshot-id', snapshot, '--tag-specifications'],
        `ResourceType=volume,Tags=[{Key=Name,Value=scheduler-data-restored},{Key=scheduler-api:stack,Value=scheduler},{Key=scheduler-api:restored-from,Value=${snapshot}}]`,
      );
      const serving = await account.mustDeploy(['up']);
      expect(serving).toMatch(/NOTE: a restore of snap-\w+ was begun\. To go on: restore snap-[^]*No changes\./);

      const [instance] = await account.instances();
      await account.ec2.send(new StopInstancesCommand({ InstanceIds: [instance?.InstanceId ?? ''] }));
      const aside = [{ Key: 'Name', Value: 'scheduler-data-before-20260301T000000Z' }];
      await account.ec2.send(new CreateTagsCommand({ Resources: [current?.VolumeId ?? ''], Tags: aside }));
      await account.terraform('state', 'rm', `'aws_ebs_volume.data[0]'`);
      await account.mustDeploy(['up'], YES);
      const [restored, ...others] = await volumes();
      expect(restored?.VolumeId).toBe(begun);
      expect(tagsOf(restored)).toEqual({ Name: 'scheduler-data', 'scheduler-api:stack': 'scheduler' });
      expect(others.map(({ VolumeId }) => VolumeId).sort()).toEqual(
        [current, ...kept].map((volume) => volume?.VolumeId).sort(),
      );
      expect(await account.instances()).toHaveLength(1);
      expect(await account.mustDeploy(['up'])).toContain('No changes.');
    },
    20 * MINUTES,
  );

  it(
    'rotate-keys goes on where it was stopped, and takes the old key out when nothing is left of it',
    async () => {
      const before = await account.read('secrets/.env');
      account.boots({ states: ['failed in boot, line 7: a typo'] });
      const failed = await account.deploy(['rotate-keys'], YES);
      expect(failed.code).toBe(1);
      const begun = await account.read('secrets/.env');
      const [, key = ''] = /^ENCRYPTION_KEY=(\S{44})$/m.exec(begun) ?? [];
      expect(begun).toMatch(/^# scheduler-deploy rotate-keys: \d{4}-\S+Z [0-9a-f]{16}$/m);
      expect(begun).toContain(`\nENCRYPTION_KEYS_OLD=${SETTINGS.ENCRYPTION_KEY}\n`);
      expect([key, failed.output]).not.toContain(SETTINGS.ENCRYPTION_KEY);

      account.boots({ states: ['prepared', 'serving'] });
      const output = await account.mustDeploy(['rotate-keys'], YES);
      expect(output).toMatch(/a rotation was begun at [^]*encrypting again[^]*took it out of ENCRYPTION_KEYS_OLD/);
      expect(output).not.toContain(key);
      expect(await account.read('secrets/.env')).toBe(before.replace(SETTINGS.ENCRYPTION_KEY, key));
      const [instance] = await account.instances();
      const ran = (await commands(instance?.InstanceId)).at(-1);
      expect(ran).toMatch(
        / run --rm --no-deps -T scheduler sh -c '[^]*exec node dist\/main\.js rotate-keys' <\/dev\/null$/,
      );

      // Whoever did not see the end does not begin another one.
      const again = await account.deploy(['rotate-keys'], YES);
      expect(again).toMatchObject({ code: 1, output: expect.stringContaining('deploy that first (up)') });
      expect(await account.read('secrets/.env')).toBe(before.replace(SETTINGS.ENCRYPTION_KEY, key));
    },
    20 * MINUTES,
  );

  it(
    'down says what of it stays',
    async () => {
      const output = await account.mustDeploy(['down'], YES);
      expect(output).toMatch(
        /Kept, and still paid for:[^]* {2}vol-\w+ vol-\w+, which a restore from a snapshot left\n/,
      );
      expect(output).toMatch(/Kept, and still paid for:[^]* {2}the snapshots of the volume, 2 of them/);
      expect(output).toMatch(/ {2}the bucket the-bucket with the secrets, the backups/);
    },
    10 * MINUTES,
  );

  /** Of the stack; the one that it uses comes first. */
  async function volumes(): Promise<Volume[]> {
    const Filters = [{ Name: 'tag:scheduler-api:stack', Values: ['scheduler'] }];
    const { Volumes = [] } = await account.ec2.send(new DescribeVolumesCommand({ Filters }));
    return Volumes.filter(({ Tags }) => Tags?.some(({ Value }) => Value?.startsWith('scheduler-'))).sort((a, b) =>
      (tagsOf(a)['Name'] ?? '') < (tagsOf(b)['Name'] ?? '') ? -1 : 1,
    );
  }

  /** As the API takes them. */
  async function takeSnapshot(volume: Volume | undefined): Promise<string> {
    const { SnapshotId } = await account.aws<{ SnapshotId: string }>(
      ...['ec2', 'create-snapshot', '--volume-id', volume?.VolumeId ?? '', '--tag-specifications'],
      'ResourceType=snapshot,Tags=[{Key=Name,Value=scheduler-data},{Key=scheduler-api:stack,Value=scheduler}]',
    );
    return SnapshotId;
  }

  async function commands(instance?: string): Promise<string[]> {
    type Sent = { InstanceIds: string[]; Parameters: { commands: string[] } };
    const { Commands } = await account.aws<{ Commands: Sent[] }>('ssm', 'list-commands');
    const those = Commands.filter(({ InstanceIds }) => instance === undefined || InstanceIds.includes(instance));
    return those.flatMap(({ Parameters }) => Parameters.commands);
  }
});

function tagsOf(volume: Volume | undefined): Record<string, string> {
  return Object.fromEntries((volume?.Tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));
}
