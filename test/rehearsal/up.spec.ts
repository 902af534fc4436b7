import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { DescribeSecurityGroupRulesCommand } from '@aws-sdk/client-ec2';
import { GetObjectCommand, paginateListObjectsV2 } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { type Balancer, HEALTH_CHECK, startBalancer } from '../support/balancer.ts';
import { docker, whyNoCompose, whyNotIn } from '../support/compose.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { expectOneOutage, type Outcome, putOnLoad } from '../support/load.ts';
import { jobsOf, servicesOf, untilState, watchContainers } from '../support/rehearsal-jobs.ts';
import { placeOf } from '../support/rehearsal-place.ts';
import { type Answer, type Rehearsal, startRehearsal } from '../support/rehearsal.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

// A first evening on AWS, as far as it goes without AWS: `scheduler-deploy up` with Terraform's real provider makes the stack
// in an account that moto plays, and what moto boots nothing of is booted here: the user data that EC2 was given, byte for
// byte, beside the very objects of the bucket (test/support/rehearsal.ts). The apply waits until that serves. A quarter of an hour: no part of CI.
const MINUTES = 60_000;
/** With three zones, as the local cloud has. */
const REGION = 'eu-west-1';
const BUCKET = `scheduler-api-123456789012-${REGION}`;
const DOMAIN = 'scheduler.example.com';
/** Of the default VPC. */
const VPC = '172.31';
const USERS = '203.0.113.7/32';

const { isReady, whyNot } = await findHelloEngine();
const reason = whyNoCompose() ?? (isReady ? undefined : whyNot) ?? whyNoAccount() ?? whyNotIn(VPC);

describeWhen(reason === undefined, reason ?? '', 'scheduler-deploy up, and what it makes boots', () => {
  let account: AwsAccount;
  let aws: Rehearsal | undefined;
  let balancer: Balancer;
  let jobs: ReturnType<typeof jobsOf>;
  let first: string;
  beforeAll(async () => {
    account = await startAccount(null, { region: REGION, bucket: BUCKET });
    balancer = await startBalancer();
  }, 10 * MINUTES);
  afterAll(async () => {
    await aws?.dispose();
    await balancer.stop();
    await account.dispose();
  }, 3 * MINUTES);

  it(
    'from credentials to a deployed job',
    async () => {
      const output = await up({}, async (userData) => {
        const place = placeOf(gunzipSync(userData).toString(), await objectsOf(account));
        aws = await startRehearsal({ ...place, vpc: VPC });
        first = await aws.launch(userData);
        await untilState(aws, first, 'serving', 10 * MINUTES);
      });
      const { place, work } = rehearsal();
      expect(output).toMatch(/url {10}http:\/\/[\d.]+\n/);
      expect(readFileSync(join(work, first, 'stack/stack'))).toEqual(gunzipSync(await userDataOf(account)));
      expect(await servicesOf(rehearsal(), first)).toEqual(['nginx', 'postgres', 'scheduler']);

      // The token that `up` made and nobody else knows.
      expect(place.adminToken).toMatch(/^[0-9a-f]{64}$/);
      jobs = jobsOf(rehearsal());
      await jobs.create('web');
      expect(await jobs.settled('web', 1)).toMatchObject({ status: 'active', attempt: 1 });
      const { instance } = await jobs.job('web');
      const answer = await fetch(`http://${instance?.privateIp ?? ''}:8080/`, { signal: AbortSignal.timeout(10_000) });
      expect(await answer.json()).toMatchObject({ hello: 'world' });
    },
    20 * MINUTES,
  );

  it(
    'switches TLS on: users are served by one door or the other, and agents notice nothing',
    async () => {
      const before = await jobs.everything(['web']);
      const containers = watchContainers(before);
      await account.aws('route53', 'create-hosted-zone', '--name', 'example.com', '--caller-reference', 'a');
      const doors = followDoors(account);
      await until(() => doors.areOpen().http);
      const load = putOnLoad([{ name: 'user', perSecond: 20, call: async () => await comeIn(doors.areOpen()) }]);

      let second = '';
      let byOldDoor: Answer | undefined;
      const output = await up({ TF_VAR_api_domain: DOMAIN }, async (userData) => {
        second = await rehearsal().launch(userData);
        const address = await rehearsal().addressOf(second);
        balancer.register(address);
        await untilState(rehearsal(), second, 'serving', 10 * MINUTES);
        await until(() => rehearsal().publicAddress() === address);
        byOldDoor = await rehearsal().ask('GET', '/v1/jobs/web');
      });
      const served = new Date();
      await until(async () => (await jobsByTls().lastSeen(before)).every((seen) => seen > served), MINUTES);
      const answers = await load.stop();
      await doors.stop();

      expect(output).toContain(`url          https://${DOMAIN}\n`);
      expectOneOutage('switching TLS on, with a stand-in in the load balancer’s place', answers);
      // While users could come in by both, the old door led to the new instance already; it closed once https was answered.
      expect(byOldDoor).toMatchObject({ status: 200 });
      const good = answers.filter(({ isGood }) => isGood);
      const ways = good.map(({ what }) => what).filter((way, index, all) => way !== all[index - 1]);
      expect(ways).toEqual(['by http', 'by https']);
      const byTls = good.find(({ what }) => what === 'by https');
      expect(doors.closedAt()).toBeGreaterThan(byTls?.to ?? Infinity);
      expect(doors.areOpen()).toEqual({ http: false, https: true });
      expect(await targets()).toEqual([(await account.instances()).map(({ InstanceId }) => InstanceId)]);

      const nginx = (await nginxOf(second)).filter(({ scheme }) => scheme === 'https');
      // nginx believes the balancer who called, and by what.
      expect(nginx.find(({ path }) => path === '/v1/jobs/web')).toMatchObject({ client: '127.0.0.1', host: DOMAIN });
      const { headers } = await askByTls('GET', '/v1/jobs/web');
      expect(headers['strict-transport-security']).toBe('max-age=31536000');
      const settings = readFileSync(join(rehearsal().work, second, 'stack/app/.env'), 'utf8');
      expect(settings).toMatch(new RegExp(`^PUBLIC_URL=https://${DOMAIN}$`, 'm'));

      // Calls, instances, containers with their start, agents with their process; and none had to say who it is again.
      expect(await containers.stop()).toEqual([]);
      expect(await jobsByTls().everything(['web'])).toEqual({ ...before, launched: [...before.launched, [second]] });
      expect((await nginxOf(second)).filter(({ path }) => path === '/agent/v1/register')).toEqual([]);

      await rehearsal().terminate(first);
      expect((await askByTls('POST', '/v1/jobs/web/deployments', { image: HELLO_IMAGE })).status).toBe(202);
      expect(await jobsByTls().settled('web', 2)).toMatchObject({ status: 'active', attempt: 1 });
    },
    20 * MINUTES,
  );

  const rehearsal = (): Rehearsal => {
    if (aws === undefined) throw new Error('nothing was booted');
    return aws;
  };
  const jobsByTls = () => jobsOf(rehearsal(), askByTls);

  /** @param boot of the instance that is made, for real; the apply goes on when it has ended. @returns what was printed */
  async function up(
    environment: Record<string, string>,
    boot: (userData: Uint8Array) => Promise<void>,
  ): Promise<string> {
    const booted: { failure: Error | undefined } = { failure: new Error('no instance was made') };
    account.beforeServing(async () => {
      booted.failure = await userDataOf(account)
        .then(boot)
        .then(
          () => undefined,
          (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
        );
    });
    const settings = { TF_STATE_BUCKET: '', DEPLOY_YES: '1', POLL_SECONDS: '3', ...environment };
    const output = await account.mustDeploy(['up'], settings);
    if (booted.failure !== undefined) throw booted.failure;
    return output;
  }

  /** By https where that is answered, else by the door that was there before. */
  async function comeIn({ http, https }: { http: boolean; https: boolean }): Promise<Outcome> {
    const byTls = https ? await askByTls('GET', '/v1/jobs/web') : { status: 0, text: 'https is closed' };
    if (byTls.status === 200) return { isGood: true, what: 'by https' };
    const plain = http ? await rehearsal().ask('GET', '/v1/jobs/web') : { status: 0, text: 'http is closed' };
    if (plain.status === 200) return { isGood: true, what: 'by http' };
    return { isGood: false, what: `neither by https (${byTls.status}) nor by http (${plain.status})` };
  }

  async function askByTls(
    method: string,
    path: string,
    body?: object,
  ): Promise<Answer & { headers: Record<string, string | string[] | undefined> }> {
    const headers = {
      host: DOMAIN,
      authorization: `Bearer ${rehearsal().place.adminToken}`,
      ...(body && { 'content-type': 'application/json' }),
    };
    const { port, certificate: ca } = balancer;
    const where = { host: '127.0.0.1', port, ca, checkServerIdentity: () => undefined, agent: false, timeout: 70_000 };
    return await new Promise((done) => {
      const failed = (error: Error): void => done({ status: 0, text: error.message, headers: {} });
      const call = request({ ...where, method, path, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response
          .on('error', failed)
          .on('end', () => done({ status: response.statusCode ?? 0, text, headers: response.headers }));
      });
      call.on('timeout', () => call.destroy(new Error('no answer'))).on('error', failed);
      call.end(body && JSON.stringify(body));
    });
  }

  /** Of the balancer that Terraform made, which the stand-in is like; one list a target group. */
  async function targets(): Promise<(string | undefined)[][]> {
    type Groups = { TargetGroups: { TargetGroupArn: string }[] };
    type Health = { TargetHealthDescriptions: { Target: { Id: string; Port: number } }[] };
    const { TargetGroups } = await account.aws<Groups>('elbv2', 'describe-target-groups');
    expect(TargetGroups).toMatchObject([
      {
        Port: 80,
        HealthCheckPath: HEALTH_CHECK.path,
        HealthCheckIntervalSeconds: HEALTH_CHECK.seconds,
        HealthCheckTimeoutSeconds: HEALTH_CHECK.timeoutSeconds,
        HealthyThresholdCount: HEALTH_CHECK.healthy,
        UnhealthyThresholdCount: HEALTH_CHECK.unhealthy,
      },
    ]);
    const group = TargetGroups[0]?.TargetGroupArn ?? '';
    const { TargetHealthDescriptions } = await account.aws<Health>(
      'elbv2',
      'describe-target-health',
      '--target-group-arn',
      group,
    );
    return [TargetHealthDescriptions.map(({ Target }) => Target.Id)];
  }

  async function nginxOf(id: string): Promise<{ path: string; scheme: string; client: string; host: string }[]> {
    const name = (await rehearsal().stackOf(id)).find((container) => container.includes('nginx')) ?? '';
    return (await docker('logs', name))
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { path: string; scheme: string; client: string; host: string });
  }
});

/** Of the newest instance, as EC2 has them. */
async function userDataOf(account: AwsAccount): Promise<Buffer> {
  const newest = (await account.instances()).at(-1)?.InstanceId ?? '';
  return Buffer.from(await account.userData(newest), 'base64');
}

/** What an instance reads of the bucket. */
async function objectsOf({ s3 }: AwsAccount): Promise<Map<string, Buffer>> {
  const objects = new Map<string, Buffer>();
  for (const Prefix of ['bundles/', 'secrets/']) {
    for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, { Bucket: BUCKET, Prefix })) {
      for (const { Key = '' } of Contents) {
        const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
        objects.set(Key, Buffer.from((await Body?.transformToByteArray()) ?? []));
      }
    }
  }
  return objects;
}

/** Which of the users' doors the security groups leave open, as Terraform changes them. */
function followDoors({ ec2 }: AwsAccount) {
  let open = { http: false, https: false };
  let closedAt = Infinity;
  const over = new AbortController();
  const following = (async () => {
    while (!over.signal.aborted) {
      const { SecurityGroupRules = [] } = await ec2.send(new DescribeSecurityGroupRulesCommand({}));
      const ports = SecurityGroupRules.filter(({ CidrIpv4 }) => CidrIpv4 === USERS).map(({ FromPort }) => FromPort);
      const now = { http: ports.includes(80), https: ports.includes(443) };
      if (open.http && !now.http) closedAt = performance.now();
      open = now;
      await new Promise((done) => setTimeout(done, 200));
    }
  })();
  return {
    areOpen: () => open,
    closedAt: () => closedAt,
    stop: async () => {
      over.abort();
      await following;
    },
  };
}
