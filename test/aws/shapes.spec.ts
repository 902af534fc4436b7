// The local cloud and our own calls before AWS's models of its APIs, as Python's botocore carries them: what does not fit is wrong.
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { EC2_ACTIONS } from '../../local/cloud/ec2/dispatch.ts';
import { S3_ACTIONS } from '../../local/cloud/s3/operation.ts';
import { startTestCloud, type TestCloud } from '../../local/cloud/test-support.ts';
import {
  askEverythingOfEc2,
  askEverythingOfEcr,
  askEverythingOfS3,
  provokeErrors,
  VOLUME,
} from '../support/aws-calls.ts';
import { compareWithModels, type Comparison, whyNoModels } from '../support/aws-shapes.ts';
import { makeOurCalls, ourActions } from '../support/our-aws-calls.ts';
import { type RecordedCall, type RecordingProxy, startRecordingProxy } from '../support/recording-proxy.ts';
import { describeWhen } from '../support/when.ts';

const reason = whyNoModels();

describeWhen(reason === undefined, reason ?? '', "by AWS's models", () => {
  let test: TestCloud;
  let proxy: RecordingProxy;
  beforeAll(async () => {
    const volumes = { [VOLUME]: 40 };
    test = await startTestCloud({ quotas: 'none', statusCheckMs: 0, profiles: ['job'], volumes, snapshotMs: 0 });
    proxy = await startRecordingProxy(test.cloud.endpoint);
  });
  afterAll(async () => {
    await proxy.close();
    await test.stop();
  });

  const callsOf = async (act: () => Promise<void>): Promise<RecordedCall[]> => {
    const before = proxy.calls.length;
    await act();
    return proxy.calls.slice(before);
  };

  it.each([
    ['EC2', askEverythingOfEc2, EC2_ACTIONS],
    ['ECR', askEverythingOfEcr, ['GetAuthorizationToken']],
    ['S3', askEverythingOfS3, S3_ACTIONS],
  ] as const)('the local cloud answers every action of %s that it knows as that does', async (_, ask, actions) => {
    const comparisons = compareWithModels(await callsOf(() => ask(test, proxy.url)));
    expect(faultsOf(comparisons)).toEqual([]);
    expect(new Set(comparisons.map(({ operation }) => operation))).toEqual(new Set(actions));
  });

  it('the local cloud refuses as each service does', async () => {
    const calls = await callsOf(() => provokeErrors(test, proxy.url));
    const refused = calls.map(({ service, response: { status } }) => (status < 300 ? 'none' : `${service} ${status}`));
    expect([...new Set(refused)].sort()).toEqual(
      ['ec2 400', 'ec2 401', 'ec2 403', 'ec2 503', 'ecr 400', 'none']
        .concat(['s3 301', 's3 400', 's3 403', 's3 404', 's3 412', 's3 503']), // prettier-ignore
    );
    expect(faultsOf(compareWithModels(calls))).toEqual([]);
  });

  it('every call of ours is one that AWS takes', async () => {
    const comparisons = compareWithModels(await callsOf(() => makeOurCalls(test, proxy.url)));
    expect(faultsOf(comparisons)).toEqual([]);
    expect(new Set(comparisons.map(({ operation }) => operation))).toEqual(new Set(await ourActions()));
  });

  it('the comparison finds what is wrong', async () => {
    const calls = await callsOf(() => makeOurCalls(test, proxy.url));
    const launch = calls.find(({ request }) => Buffer.from(request.body, 'base64').includes('Action=RunInstances'));
    const list = calls.find(({ request }) => request.query.includes('list-type'));
    const answered = (call: RecordedCall | undefined, from: string | RegExp, to: string) =>
      changed(call, 'response', from, to);
    const asked = (call: RecordedCall | undefined, from: string | RegExp, to: string) =>
      changed(call, 'request', from, to);
    const table: [RecordedCall, string][] = [
      [answered(launch, '<instanceId>', '<ipv5Address>x</ipv5Address><instanceId>'), 'instancesSet.ipv5Address: the answer has no such element'],
      [answered(launch, '<name>pending</name>', '<name>hanging</name>'), "instanceState.name: 'hanging' is none of"],
      [answered(launch, /\.000Z<\/launchTime>/, '.123Z</launchTime>'), 'not how the service writes a timestamp'],
      [answered(launch, '<code>0</code>', '<code>zero</code>'), 'the parser refuses it: invalid literal'],
      [answered(launch, 'false</ebsOptimized>', 'no</ebsOptimized>'), "ebsOptimized: 'no' is not how the service writes"],
      [answered(launch, '</launchTime>', '</launchTime><launchTime>2026-01-01T00:00:00.000Z</launchTime>'), 'the parser refuses it: Invalid timestamp'],
      [answered(launch, '<ownerId>', '<ownerId>1</ownerId><ownerId>'), 'ownerId: comes twice'],
      [answered(launch, /RunInstancesResponse/g, 'Answer'), 'the document is'],
      [answered(list, '<KeyCount>', '<Keys>1</Keys><KeyCount>'), 'ListBucketResult.Keys: the answer has no such element'],
      [answered(list, 'STANDARD', 'PLAIN'), "'PLAIN' is none of"],
      [asked(launch, 'MinCount=1&', ''), 'Missing required parameter in input: "MinCount"'],
      [asked(launch, 'MinCount=1', 'MinCount=one'), 'Invalid type for parameter MinCount'],
      [asked(launch, 'MinCount=1', 'MinCount=1&LeastCount=1'), 'LeastCount: the operation has no such parameter'],
      [asked(launch, 'ResourceType=volume', 'ResourceType=disk'), "'disk' is none of the values"],
      [asked(launch, 'TagSpecification.2.', 'TagSpecification.7.'), "items are numbered ['1', '7'"],
    ]; // prettier-ignore
    for (const [{ faults }, [, expected]] of pairs(compareWithModels(table.map(([call]) => call)), table)) {
      expect(faults.join('\n')).toContain(expected);
    }
  });
});

function faultsOf(comparisons: readonly Comparison[]): string[] {
  return [...new Set(comparisons.flatMap(({ operation, faults }) => faults.map((fault) => `${operation} ${fault}`)))];
}

function changed(
  call: RecordedCall | undefined,
  side: 'request' | 'response',
  from: string | RegExp,
  to: string,
): RecordedCall {
  if (call === undefined) throw new Error('there is no such call');
  const before = Buffer.from(call[side].body, 'base64').toString();
  const after = before.replace(from, to);
  if (after === before) throw new Error(`nothing to change: ${String(from)} in ${before}`);
  return { ...call, [side]: { ...call[side], body: Buffer.from(after).toString('base64') } };
}

function pairs<A, B>(first: readonly A[], second: readonly B[]): [A, B][] {
  return first.map((one, index) => [one, second[index]!]);
}
