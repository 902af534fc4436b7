import {
  type _InstanceType,
  CreateSnapshotCommand,
  CreateTagsCommand,
  DeleteSnapshotCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  DescribeInstanceStatusCommand,
  DescribeSnapshotsCommand,
  DescribeSubnetsCommand,
  EC2Client,
  type Image,
  type Instance,
  RunInstancesCommand,
  type Snapshot,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { AwsError, toAwsError } from './aws-error.js';
import { type Ec2Call, ec2Calls } from './ec2-calls.js';
import {
  type Ami,
  CLUSTER_TAG,
  type Ec2Health,
  type Ec2Instance,
  type Ec2Snapshot,
  type RunInput,
  SNAPSHOT_TAG,
  STACK_TAG,
  type Tag,
} from './ec2-types.js';

export type Ec2Options = {
  readonly region: string;
  /** Bounds a whole call. EC2 needs some seconds for RunInstances of 200 instances. Default: 30 s. */
  readonly timeoutMs?: number;
};

const TIMEOUT_MS = 30_000;
/** A page of 1,000 stalls the event loop for 160 ms (measured on two cores). */
const PAGE = 200;
/** EC2 accepts at most 200 values in a filter. */
const FILTER_VALUES = 200;
/** DescribeInstanceStatus accepts at most 100 ids. */
const STATUS_IDS = 100;

/**
 * What we need of EC2. Endpoint and credentials come from the environment, by the SDK's own rules. Every method throws
 * AwsError. The caller sees to the budgets.
 */
export class Ec2 {
  readonly #mutating: EC2Client;
  readonly #reading: EC2Client;
  readonly #timeoutMs: number;

  constructor({ region, timeoutMs = TIMEOUT_MS }: Ec2Options) {
    const requestHandler = { connectionTimeout: 3_000, requestTimeout: timeoutMs, throwOnRequestTimeout: true };
    // One call, one request: a capacity error is an HTTP 500, which the SDK would repeat at once, three tokens of
    // RunInstances for one answer; and the budget must count each request.
    this.#mutating = new EC2Client({ region, maxAttempts: 1, requestHandler });
    this.#reading = new EC2Client({ region, maxAttempts: 2, requestHandler });
    this.#timeoutMs = timeoutMs;
  }

  async runInstances(input: RunInput, clientToken: string): Promise<Ec2Instance[]> {
    return this.#call({ action: 'RunInstances', launchId: clientToken }, async (options) => {
      const InstanceType = input.InstanceType as _InstanceType;
      const command = new RunInstancesCommand({ ...input, InstanceType, ClientToken: clientToken });
      const answer = await this.#mutating.send(command, options);
      return (answer.Instances ?? []).map(toInstance);
    });
  }

  /** Every instance that carries our cluster tag, terminated ones included, page by page. */
  async *describeByTag(cluster: string): AsyncGenerator<Ec2Instance[]> {
    yield* this.#describePages({ Filters: [{ Name: `tag:${CLUSTER_TAG}`, Values: [cluster] }] });
  }

  /** By filter: an id EC2 does not know is absent from the answer; in InstanceIds it would fail the call. */
  async describeByIds(ids: readonly string[]): Promise<Ec2Instance[]> {
    const found: Ec2Instance[] = [];
    for (const chunk of chunksOf(ids, FILTER_VALUES)) {
      const filter = { Filters: [{ Name: 'instance-id', Values: chunk }] };
      for await (const page of this.#describePages(filter)) found.push(...page);
    }
    return found;
  }

  /** One id that EC2 does not know, or of a zone in outage, fails the call; ids of other zones alone do not. */
  async describeExactly(ids: readonly string[]): Promise<Ec2Instance[]> {
    const answer = await this.#call({ action: 'DescribeInstances' }, (options) =>
      this.#reading.send(new DescribeInstancesCommand({ InstanceIds: [...ids] }), options),
    );
    return (answer.Reservations ?? []).flatMap(({ Instances }) => Instances ?? []).map(toInstance);
  }

  async describeByClientToken(clientToken: string): Promise<Ec2Instance[]> {
    const found: Ec2Instance[] = [];
    const filter = { Filters: [{ Name: 'client-token', Values: [clientToken] }] };
    for await (const page of this.#describePages(filter)) found.push(...page);
    return found;
  }

  /** EC2's checks; an id it does not know is missing from the answer. */
  async describeStatuses(ids: readonly string[]): Promise<Map<string, Ec2Health>> {
    const found = new Map<string, Ec2Health>();
    for (const chunk of chunksOf(ids, STATUS_IDS)) {
      for (const [id, health] of await this.#describeStatusesOf(chunk)) found.set(id, health);
    }
    return found;
  }

  /** Takes effect for all or none: one id EC2 does not know fails the call with `not-found`. */
  async terminate(ids: readonly string[]): Promise<void> {
    await this.#call({ action: 'TerminateInstances', instanceIds: ids }, (options) =>
      this.#mutating.send(new TerminateInstancesCommand({ InstanceIds: [...ids] }), options),
    );
  }

  async createTags(ids: readonly string[], tags: readonly Tag[]): Promise<void> {
    await this.#call({ action: 'CreateTags', instanceIds: ids }, (options) =>
      this.#mutating.send(new CreateTagsCommand({ Resources: [...ids], Tags: [...tags] }), options),
    );
  }

  /** The newest image of Amazon's own whose name matches; null = there is none. */
  async findImage({ name, architecture }: ImageQuery): Promise<Ami | null> {
    const answer = await this.#call({ action: 'DescribeImages' }, (options) =>
      this.#reading.send(
        new DescribeImagesCommand({
          // By name alone EC2 could return a stranger's public image («whoAMI»).
          Owners: ['amazon'],
          Filters: [
            { Name: 'name', Values: [name] },
            { Name: 'architecture', Values: [architecture] },
            { Name: 'state', Values: ['available'] },
          ],
        }),
        options,
      ),
    );
    const images = (answer.Images ?? []).filter(({ ImageOwnerAlias }) => ImageOwnerAlias === 'amazon');
    const newestFirst = images.sort((a, b) => ((a.CreationDate ?? '') < (b.CreationDate ?? '') ? 1 : -1));
    return newestFirst[0] ? toAmi(newestFirst[0]) : null;
  }

  /** Null: there is none that this account may see. EC2 can also report that by a refusal of the kind `invalid`. */
  async describeImage(id: string): Promise<Ami | null> {
    const answer = await this.#call({ action: 'DescribeImages' }, (options) =>
      this.#reading.send(new DescribeImagesCommand({ ImageIds: [id] }), options),
    );
    const [image] = answer.Images ?? [];
    return image ? toAmi(image) : null;
  }

  /** The default VPC's subnets, one a zone, by zone name. */
  async findDefaultSubnets(): Promise<string[]> {
    const answer = await this.#call({ action: 'DescribeSubnets' }, (options) =>
      this.#reading.send(
        new DescribeSubnetsCommand({ Filters: [{ Name: 'default-for-az', Values: ['true'] }] }),
        options,
      ),
    );
    const byZone = (answer.Subnets ?? []).sort((a, b) =>
      (a.AvailabilityZone ?? '') < (b.AvailabilityZone ?? '') ? -1 : 1,
    );
    return byZone.flatMap(({ SubnetId }) => SubnetId ?? []);
  }

  /** Every snapshot that we made for this cluster, of any volume. */
  async describeSnapshots(cluster: string): Promise<Ec2Snapshot[]> {
    const found: Ec2Snapshot[] = [];
    let NextToken: string | undefined;
    do {
      const input = {
        // Any AWS account can make a snapshot public, with our tags on it.
        OwnerIds: ['self'],
        Filters: [
          { Name: `tag:${STACK_TAG}`, Values: [cluster] },
          { Name: 'tag-key', Values: [SNAPSHOT_TAG] },
        ],
        MaxResults: PAGE,
        ...(NextToken && { NextToken }),
      };
      const page = await this.#call({ action: 'DescribeSnapshots' }, (options) =>
        this.#reading.send(new DescribeSnapshotsCommand(input), options),
      );
      found.push(...(page.Snapshots ?? []).map(toSnapshot));
      NextToken = page.NextToken;
    } while (NextToken);
    return found;
  }

  /** Has no ClientToken: each call that EC2 accepts makes a snapshot. @returns its id */
  async createSnapshot(volumeId: string, tags: readonly Tag[]): Promise<string> {
    const TagSpecifications = [{ ResourceType: 'snapshot' as const, Tags: [...tags] }];
    const { SnapshotId = '' } = await this.#call({ action: 'CreateSnapshot' }, (options) =>
      this.#mutating.send(new CreateSnapshotCommand({ VolumeId: volumeId, TagSpecifications }), options),
    );
    return SnapshotId;
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#call({ action: 'DeleteSnapshot' }, (options) =>
      this.#mutating.send(new DeleteSnapshotCommand({ SnapshotId: id }), options),
    );
  }

  close(): void {
    this.#mutating.destroy();
    this.#reading.destroy();
  }

  async *#describePages(input: DescribeInstancesCommandInput): AsyncGenerator<Ec2Instance[]> {
    let NextToken: string | undefined;
    do {
      const page = await this.#call({ action: 'DescribeInstances' }, (options) =>
        this.#reading.send(
          new DescribeInstancesCommand({ ...input, MaxResults: PAGE, ...(NextToken && { NextToken }) }),
          options,
        ),
      );
      yield (page.Reservations ?? []).flatMap(({ Instances }) => Instances ?? []).map(toInstance);
      NextToken = page.NextToken;
    } while (NextToken);
  }

  /** One unknown id fails the whole call: then each id is described alone. */
  async #describeStatusesOf(ids: string[]): Promise<[string, Ec2Health][]> {
    try {
      const answer = await this.#call({ action: 'DescribeInstanceStatus' }, (options) =>
        this.#reading.send(new DescribeInstanceStatusCommand({ InstanceIds: ids, IncludeAllInstances: true }), options),
      );
      return (answer.InstanceStatuses ?? []).map(({ InstanceId, InstanceStatus, SystemStatus }) => [
        InstanceId ?? '',
        toHealth([InstanceStatus?.Status, SystemStatus?.Status]),
      ]);
    } catch (error) {
      if (!(error instanceof AwsError) || error.kind !== 'not-found' || ids.length === 1) {
        if (error instanceof AwsError && error.kind === 'not-found') return [];
        throw error;
      }
      const alone: [string, Ec2Health][] = [];
      for (const id of ids) alone.push(...(await this.#describeStatusesOf([id])));
      return alone;
    }
  }

  async #call<T>(call: Ec2Call, send: (options: { abortSignal: AbortSignal }) => Promise<T>): Promise<T> {
    return ec2Calls.run(call, async () => {
      try {
        return await send({ abortSignal: AbortSignal.timeout(this.#timeoutMs) });
      } catch (error) {
        throw toAwsError(call.action, error);
      }
    });
  }
}

export type ImageQuery = { readonly name: string; readonly architecture: 'x86_64' | 'arm64' };

/** What nearly every AMI of Amazon's own has; EC2 returns that of others. */
const COMMON_ROOT_DEVICE = '/dev/xvda';

function toAmi({ ImageId, RootDeviceName, BlockDeviceMappings = [], Architecture }: Image): Ami {
  const rootDevice = RootDeviceName ?? COMMON_ROOT_DEVICE;
  return {
    id: ImageId ?? '',
    rootDevice,
    rootGiB: BlockDeviceMappings.find(({ DeviceName }) => DeviceName === rootDevice)?.Ebs?.VolumeSize,
    architecture: Architecture ?? null,
  };
}

function toInstance(instance: Instance): Ec2Instance {
  const { StateReason, Placement, Tags } = instance;
  return {
    id: instance.InstanceId ?? '',
    state: instance.State?.Name ?? 'pending',
    stateReason: toStateReason(StateReason?.Code),
    launchedAt: instance.LaunchTime ?? new Date(),
    availabilityZone: Placement?.AvailabilityZone ?? null,
    type: instance.InstanceType ?? null,
    imageId: instance.ImageId ?? null,
    privateIp: instance.PrivateIpAddress ?? null,
    publicIp: instance.PublicIpAddress ?? null,
    tags: toTags(Tags),
  };
}

function toSnapshot({ SnapshotId, VolumeId, State, StartTime, Tags }: Snapshot): Ec2Snapshot {
  return {
    id: SnapshotId ?? '',
    volumeId: VolumeId ?? '',
    state: State ?? 'pending',
    startedAt: StartTime ?? new Date(),
    tags: toTags(Tags),
  };
}

function toTags(tags: Instance['Tags'] = []): Readonly<Record<string, string>> {
  return Object.fromEntries(tags.map(({ Key, Value }) => [Key ?? '', Value ?? '']));
}

/** The code alone: it is shown to users. */
function toStateReason(code: string | undefined): string | null {
  if (code === undefined || code === 'pending') return null;
  return /^[\w.]{1,100}$/.test(code) ? code : null;
}

function toHealth(checks: readonly (string | undefined)[]): Ec2Health {
  if (checks.includes('impaired')) return 'impaired';
  if (checks.every((check) => check === 'ok')) return 'ok';
  return checks.includes('initializing') ? 'initializing' : 'unknown';
}

function* chunksOf<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
