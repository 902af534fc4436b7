import { RunInstancesCommand } from '@aws-sdk/client-ec2';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
const BUCKET = 'the-bucket';

const reason = whyNoAccount();

// The deploy container and its AWS CLI are real; moto is AWS.
describeWhen(reason === undefined, reason ?? '', 'the deploy container’s commands for a running stack', () => {
  let account: AwsAccount;
  beforeAll(async () => void (account = await startAccount({ ADMIN_TOKEN: 'old', LOG_LEVEL: 'debug' })), 10 * MINUTES);
  afterAll(async () => await account.dispose(), MINUTES);

  it(
    'secrets changes a line of the file, and S3 keeps the version before',
    async () => {
      const { VersionId: before } = await head('secrets/.env');
      const set = await account.deploy(['secrets', 'set', 'ADMIN_TOKEN'], {}, 'a new one\n');
      expect(set.output).toMatch(
        /set ADMIN_TOKEN in s3:\/\/the-bucket\/secrets\/\.env; a deployment takes it into use/,
      );
      expect(set.output).not.toContain('a new one');
      expect(await account.read('secrets/.env')).toBe("ADMIN_TOKEN='a new one'\nLOG_LEVEL=debug\n");
      expect((await head('secrets/.env')).VersionId).not.toBe(before);
      const got = await account.deploy(['secrets', 'get', 'ADMIN_TOKEN']);
      // Standard output comes first in it.
      expect(got.output).toMatch(/^a new one\nscheduler-deploy: as /);
    },
    MINUTES,
  );

  it(
    'rotate-agent-keys makes the next key the one in use',
    async () => {
      const none = await account.deploy(['rotate-agent-keys']);
      expect(none).toMatchObject({ code: 1, output: expect.stringContaining('the first deployment makes them') });
      for (const name of ['current', 'next']) await account.write(`secrets/agent-keys/${name}.pem`, name);
      await launch('serving');
      expect(await account.mustDeploy(['rotate-agent-keys'])).toContain('rotated the keys');
      expect(await account.read('secrets/agent-keys/current.pem')).toBe('next');
      expect(await account.read('secrets/agent-keys/next.pem')).toMatch(
        /^-----BEGIN PRIVATE KEY-----\n[^]*-----END CERT/,
      );
    },
    MINUTES,
  );

  it(
    'logs has the instance that serves run one command',
    async () => {
      const serves = await launch('serving');
      await launch('failed in boot, line 7');
      await account.mustDeploy(['logs', 'nginx', '20']);
      const { Commands } = await account.aws<{ Commands: object[] }>('ssm', 'list-commands');
      expect(Commands).toEqual([
        expect.objectContaining({
          DocumentName: 'AWS-RunShellScript',
          InstanceIds: [serves],
          Parameters: {
            commands: [expect.stringMatching(/^cd \/opt\/scheduler\/app [^]* logs --no-color --tail=20 nginx /)],
            executionTimeout: ['60'],
          },
        }),
      ]);
    },
    2 * MINUTES,
  );

  /** An instance of the API, and what it says of its boot. */
  async function launch(state: string): Promise<string> {
    account.boots({ states: [state] });
    const before = account.booted.length;
    const { Instances = [] } = await account.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-0debdebdebdebdebd',
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [
          {
            ResourceType: 'instance',
            Tags: [
              { Key: 'scheduler-api:stack', Value: 'scheduler' },
              { Key: 'Name', Value: 'scheduler-api' },
            ],
          },
        ],
      }),
    );
    while (account.booted.length === before) await new Promise((done) => setTimeout(done, 100));
    return Instances[0]?.InstanceId ?? '';
  }

  async function head(Key: string): Promise<{ VersionId?: string | undefined }> {
    return await account.s3.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
  }
});
