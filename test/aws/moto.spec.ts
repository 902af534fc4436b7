// Nobody here wrote moto; what test/support/moto_server.py adds to it is tested here.
import { afterEach, expect, it } from '@jest/globals';
import {
  CreateSecurityGroupCommand,
  CreateVpcCommand,
  DescribeSecurityGroupsCommand,
  EC2Client,
  RevokeSecurityGroupEgressCommand,
} from '@aws-sdk/client-ec2';
import { startMoto, whyNoMoto } from '../support/moto.ts';
import { startStallingProxy } from '../support/stalling-proxy.ts';
import { describeWhen } from '../support/when.ts';

const MINUTE = 60_000;
const EVERYTHING = { IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] };
const reason = whyNoMoto();

describeWhen(reason === undefined, reason ?? '', 'moto', () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it(
    'carries a call out once whose answer was lost, as each later attempt has the same answer',
    async () => {
      const moto = await startMoto();
      cleanups.push(() => moto.stop());
      const proxy = await startStallingProxy(Number(new URL(moto.endpoint).port));
      cleanups.push(() => proxy.close());
      const ec2 = new EC2Client({
        endpoint: proxy.url,
        region: 'us-west-2',
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      });
      cleanups.push(() => ec2.destroy());
      const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.1.0.0/16' }));
      const named = { GroupName: 'a', Description: 'a', VpcId: Vpc?.VpcId };
      const { GroupId = '' } = await ec2.send(new CreateSecurityGroupCommand(named));
      // As Terraform's provider does for each new group.
      const revoke = { GroupId, IpPermissions: [EVERYTHING] };
      proxy.loseAnswerOf('RevokeSecurityGroupEgress');
      await ec2.send(new RevokeSecurityGroupEgressCommand(revoke));
      expect(proxy.stalled()).toBe(1);
      const { SecurityGroups } = await ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [GroupId] }));
      expect(SecurityGroups?.[0]?.IpPermissionsEgress).toEqual([]);
      // Another call is answered by what is there.
      const again = ec2.send(new RevokeSecurityGroupEgressCommand(revoke));
      await expect(again).rejects.toMatchObject({ name: 'InvalidPermission.NotFound' });
    },
    2 * MINUTE,
  );
});
