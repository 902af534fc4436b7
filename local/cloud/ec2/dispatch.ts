import { CloudError } from '../errors.ts';
import type { CloudInstance } from '../instance.ts';
import { Params } from '../params.ts';
import type { World } from '../world.ts';
import { escapeXml, toXml } from '../xml.ts';
import type { Action } from './action.ts';
import {
  allocateAddress,
  associateAddress,
  describeAddresses,
  disassociateAddress,
  releaseAddress,
} from './addresses.ts';
import { describeInstances, describeInstanceStatus } from './describe-instances.ts';
import { describeImages } from './images.ts';
import { getConsoleOutput, stopInstances, terminateInstances } from './instance-actions.ts';
import { describeSubnets } from './network.ts';
import { runInstances } from './run-instances.ts';
import { createSnapshot, deleteSnapshot, describeSnapshots } from './snapshots.ts';
import { createTags } from './tags.ts';

export type Ec2Request = {
  readonly pairs: URLSearchParams;
  readonly requestId: string;
};

export type Ec2Answer = { readonly body: string; readonly instances: readonly CloudInstance[] };

/** @throws CloudError */
export function answerEc2(world: World, { pairs, requestId }: Ec2Request): Ec2Answer {
  const name = pairs.get('Action');
  if (name === null || name === '')
    throw new CloudError('MissingAction', 'The request must contain the parameter Action');
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    throw new CloudError('InvalidAction', `The action ${name} is not valid for this web service.`);
  }
  const params = Params.parse(pairs);
  world.buckets.takeCall(
    name,
    NARROWING.some((parameter) => params.has(parameter)),
  );
  const unknown = params.names().find((parameter) => !COMMON.has(parameter) && !action.parameters.includes(parameter));
  if (unknown !== undefined) {
    throw new CloudError('UnknownParameter', `The parameter ${unknown} is not recognized`);
  }
  const isDryRun = params.boolean('DryRun') ?? false;
  let instances: readonly CloudInstance[] = [];
  const answer = action.run({
    params,
    world,
    confirm: () => {
      if (isDryRun) throw new CloudError('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.');
    },
    note: (noted) => {
      instances = noted;
    },
  });
  const body = toXml(`${name}Response`, { requestId, ...answer }, ` xmlns="${NAMESPACE}"`);
  return { body: XML_HEADER + body, instances };
}

export function ec2ErrorBody({ code, message }: CloudError, requestId: string): string {
  const error = `<Error><Code>${escapeXml(code)}</Code><Message>${escapeXml(message)}</Message></Error>`;
  return `${XML_HEADER}<Response><Errors>${error}</Errors><RequestID>${requestId}</RequestID></Response>`;
}

const XML_HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n';
const NAMESPACE = 'http://ec2.amazonaws.com/doc/2016-11-15/';
const COMMON = new Set(['Action', 'Version', 'DryRun']);
/** With any of them a describe call comes from the larger bucket. */
const NARROWING = [
  'Filter',
  'MaxResults',
  'InstanceId',
  'ImageId',
  'SubnetId',
  'AllocationId',
  'PublicIp',
  'Owner',
  'SnapshotId',
  'RestorableBy',
];

const ACTIONS: Readonly<Record<string, Action>> = {
  AllocateAddress: allocateAddress,
  AssociateAddress: associateAddress,
  CreateSnapshot: createSnapshot,
  CreateTags: createTags,
  DeleteSnapshot: deleteSnapshot,
  DescribeAddresses: describeAddresses,
  DescribeImages: describeImages,
  DescribeInstances: describeInstances,
  DescribeInstanceStatus: describeInstanceStatus,
  DescribeSnapshots: describeSnapshots,
  DescribeSubnets: describeSubnets,
  DisassociateAddress: disassociateAddress,
  GetConsoleOutput: getConsoleOutput,
  ReleaseAddress: releaseAddress,
  RunInstances: runInstances,
  StopInstances: stopInstances,
  TerminateInstances: terminateInstances,
};

/** Everything of EC2 that the local cloud answers. */
export const EC2_ACTIONS = Object.keys(ACTIONS);
