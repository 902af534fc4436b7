import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { Instance } from '@aws-sdk/client-ec2';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import type { Policy } from '../support/iam.ts';
import { unpackUserData } from '../support/user-data.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;

type Database = { Engine: string; EngineVersion: string; StorageEncrypted: boolean; PubliclyAccessible: boolean };
type Volume = { VolumeId: string; SnapshotId: string; Encrypted: boolean; KmsKeyId: string };

const reason = whyNoAccount();

// Where a stack's data is. The real provider, moto.
describeWhen(reason === undefined, reason ?? '', 'the database of a deployment', () => {
  let account: AwsAccount;
  beforeAll(
    async () => void (account = await startAccount({ ...SETTINGS, POSTGRES_PASSWORD: 'a/password@home' })),
    10 * MINUTES,
  );
  afterAll(async () => await account.dispose(), MINUTES);

  it(
    'may be RDS, with the password of the .env file, if RDS takes it',
    async () => {
      const rds = { TF_VAR_database: 'rds', TF_VAR_name: 'rds', TF_STATE_KEY: 'rds/terraform.tfstate' };
      const refused = await account.deploy([], rds);
      expect(refused.code).not.toBe(0);
      expect(refused.output.replaceAll(/[\s│]+/g, ' ')).toContain(
        'without a space, /, " and @: change POSTGRES_PASSWORD',
      );
      expect(refused.output).not.toContain('a/password@home');

      await takePasswordOfRds();
      const output = await account.mustDeploy([], rds);
      const { DBInstances } = await account.aws<{ DBInstances: Database[] }>('rds', 'describe-db-instances');
      expect(DBInstances).toMatchObject([{ Engine: 'postgres', StorageEncrypted: true, PubliclyAccessible: false }]);
      expect(DBInstances[0]?.EngineVersion).toMatch(/^18/);
      expect(await volumes('rds')).toEqual([]);
      expect(output).not.toContain('a-password');
      expect(await account.mustDeploy([], rds)).toContain('No changes.');
      await forgetDatabase('rds-api');
    },
    15 * MINUTES,
  );

  const one = { TF_VAR_name: 'one', TF_STATE_KEY: 'one/terraform.tfstate' };

  it(
    'is a volume, which a new stack may have from a snapshot, with a key of its own',
    async () => {
      await account.mustDeploy([], one);
      const [volume] = await volumes('one');
      const { SnapshotId } = await account.aws<{ SnapshotId: string }>(
        'ec2',
        'create-snapshot',
        '--volume-id',
        volume?.VolumeId ?? '',
      );
      const two = {
        TF_VAR_name: 'two',
        TF_STATE_KEY: 'two/terraform.tfstate',
        TF_VAR_data_snapshot_id: SnapshotId,
        TF_VAR_ebs_kms_key_arn: await makeKey(),
      };
      await account.mustDeploy([], two);
      const KmsKeyId = two.TF_VAR_ebs_kms_key_arn;
      expect(await volumes('two')).toMatchObject([{ SnapshotId, Encrypted: true, KmsKeyId }]);
      expect(await rootDisk('two')).toMatchObject({ Encrypted: true, KmsKeyId });
      expect(await statementsAbout(KmsKeyId)).toEqual(['OpenDisks', 'LendTheDisksKeyToEc2']);
      expect(await volumes('one')).toMatchObject([{ VolumeId: volume?.VolumeId }]);
    },
    15 * MINUTES,
  );

  it(
    'is not left behind unless that is said',
    async () => {
      const before = { volumes: await volumes('one'), instances: await account.instances() };
      const rds = { ...one, TF_VAR_database: 'rds' };
      await takePasswordOfRds();
      const refused = await account.deploy([], rds);
      expect(refused.code).not.toBe(0);
      expect(refused.output).toContain(
        "nothing was changed, as that would take away what holds Postgres's data (named above)",
      );
      expect({ volumes: await volumes('one'), instances: await account.instances() }).toEqual(before);

      await account.mustDeploy([], { ...rds, TF_VAR_keep_data_volume: 'true' });
      expect(await volumes('one')).toEqual(before.volumes);
      const script = unpackUserData(await account.userData((await instanceOf('one')).InstanceId ?? ''));
      expect(script).toContain(`\nDATA_VOLUME_ID=''\n`);
      expect(script).toContain(`\nDATABASE='rds'\n`);
      expect(await statementsAbout(before.volumes[0]?.VolumeId ?? '')).toEqual([]);
    },
    15 * MINUTES,
  );

  async function takePasswordOfRds(): Promise<void> {
    const text = await account.read('secrets/.env');
    await account.write('secrets/.env', text.replace('a/password@home', 'a-password'));
  }

  /** All databases of moto have one resource id, by which the provider looks for its own. */
  async function forgetDatabase(id: string): Promise<void> {
    const named = ['--db-instance-identifier', id];
    await account.aws('rds', 'modify-db-instance', ...named, '--no-deletion-protection', '--apply-immediately');
    await account.aws('rds', 'delete-db-instance', ...named, '--skip-final-snapshot');
  }

  async function makeKey(): Promise<string> {
    return (await account.aws<{ KeyMetadata: { Arn: string } }>('kms', 'create-key')).KeyMetadata.Arn;
  }

  async function instanceOf(name: string): Promise<Instance> {
    const named = (await account.instances()).filter(({ Tags = [] }) =>
      Tags.some(({ Key, Value }) => Key === 'Name' && Value === `${name}-api`),
    );
    expect(named).toHaveLength(1);
    return named[0] ?? {};
  }

  async function rootDisk(name: string): Promise<Volume | undefined> {
    const { BlockDeviceMappings = [] } = await instanceOf(name);
    const id = BlockDeviceMappings.map(({ Ebs }) => Ebs?.VolumeId ?? '');
    return (await account.aws<{ Volumes: Volume[] }>('ec2', 'describe-volumes', '--volume-ids', ...id)).Volumes[0];
  }

  /** Of all roles' own policies, those that name a resource. */
  async function statementsAbout(resource: string): Promise<string[]> {
    type Details = { RoleDetailList: { RolePolicyList: { PolicyDocument: Policy }[] }[] };
    const { RoleDetailList } = await account.aws<Details>(
      'iam',
      'get-account-authorization-details',
      '--filter',
      'Role',
    );
    return RoleDetailList.flatMap(({ RolePolicyList }) => RolePolicyList)
      .flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
      .filter((statement) => JSON.stringify(statement.Resource).includes(resource))
      .map(({ Sid }) => Sid);
  }

  async function volumes(name: string): Promise<Volume[]> {
    const filters = ['--filters', `Name=tag:Name,Values=${name}-data`];
    return (await account.aws<{ Volumes: Volume[] }>('ec2', 'describe-volumes', ...filters)).Volumes;
  }
});
