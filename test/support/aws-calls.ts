// Every action that the local cloud knows, with the parameters and in the states that change what an answer has.
import {
  AllocateAddressCommand,
  AssociateAddressCommand,
  CreateSnapshotCommand,
  CreateTagsCommand,
  DeleteSnapshotCommand,
  DescribeAddressesCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeInstanceStatusCommand,
  DescribeSnapshotsCommand,
  DescribeSubnetsCommand,
  DescribeVolumesCommand,
  DisassociateAddressCommand,
  EC2Client,
  GetConsoleOutputCommand,
  ReleaseAddressCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { ECRClient, GetAuthorizationTokenCommand } from '@aws-sdk/client-ecr';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { type TestCloud, until } from '../../local/cloud/test-support.ts';

/** One of `volumes` of the cloud that is called. */
export const VOLUME = 'vol-0123456789abcdef0';

export async function askEverythingOfEc2(test: TestCloud, endpoint: string): Promise<void> {
  const ec2 = new EC2Client(configOf(test, endpoint));
  const tags = (
    ResourceType: 'instance' | 'volume' | 'network-interface' | 'spot-instances-request' | 'elastic-ip' | 'snapshot',
  ) => ({
    ResourceType,
    Tags: [
      { Key: 'job', Value: 'a<b>&"c"' },
      { Key: 'empty', Value: '' },
    ],
  });
  const run = async (input: Partial<RunInstancesCommandInput> = {}): Promise<string> => {
    const least = { ImageId: test.imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 } as const;
    const { Instances = [] } = await ec2.send(new RunInstancesCommand({ ...least, ...input }));
    return Instances[0]?.InstanceId ?? '';
  };
  const stateOf = (id: string) => test.cloud.instance(id)?.state;

  await ec2.send(new DescribeInstancesCommand({}));
  const subnets = await ec2.send(new DescribeSubnetsCommand({ Filters: [{ Name: 'state', Values: ['available'] }] }));
  await ec2.send(new DescribeImagesCommand({ Owners: ['amazon'], MaxResults: 2 }));
  await ec2.send(new DescribeImagesCommand({ Filters: [{ Name: 'root-device-name', Values: ['/dev/sda1'] }] }));

  const full = await run({
    ClientToken: 'full',
    EbsOptimized: true,
    Monitoring: { Enabled: true },
    IamInstanceProfile: { Name: 'job' },
    InstanceInitiatedShutdownBehavior: 'terminate',
    MetadataOptions: { HttpTokens: 'required', HttpEndpoint: 'enabled', InstanceMetadataTags: 'enabled' },
    NetworkInterfaces: [{ DeviceIndex: 0, SubnetId: subnets.Subnets?.[0]?.SubnetId, AssociatePublicIpAddress: true }],
    BlockDeviceMappings: [
      { DeviceName: '/dev/xvda', Ebs: { VolumeSize: 40, VolumeType: 'gp3', Encrypted: true } },
      { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 8 } },
    ],
    TagSpecifications: [tags('instance'), tags('volume'), tags('network-interface')],
  });
  const spot = await run({
    InstanceMarketOptions: { MarketType: 'spot' },
    TagSpecifications: [tags('spot-instances-request')],
  });
  const arm = await run({
    ImageId: test.imageId.replace('recommended', 'arm64/recommended'),
    InstanceType: 't4g.small',
    MinCount: 1,
    MaxCount: 5,
    MetadataOptions: { HttpEndpoint: 'disabled' },
  });
  await test.runtime.booted(full);
  await test.runtime.booted(spot);
  await test.runtime.booted(arm);
  await ec2.send(new DescribeInstancesCommand({ MaxResults: 5 }));
  await ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [full, spot] }));
  await test.cloud.faults.freeze(arm);
  await ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [arm] }));
  await ec2.send(new GetConsoleOutputCommand({ InstanceId: full }));
  await ec2.send(new CreateTagsCommand({ Resources: [full], Tags: [{ Key: 'more', Value: '1' }] }));

  const { AllocationId } = await ec2.send(
    new AllocateAddressCommand({ Domain: 'vpc', TagSpecifications: [tags('elastic-ip')] }),
  );
  const { AssociationId } = await ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId: full }));
  await ec2.send(new DescribeAddressesCommand({ AllocationIds: [AllocationId ?? ''] }));
  await ec2.send(new DescribeInstancesCommand({ InstanceIds: [full] }));
  await ec2.send(new DisassociateAddressCommand({ AssociationId }));
  await ec2.send(new ReleaseAddressCommand({ AllocationId }));

  const made: string[] = [];
  for (const end of ['completed', 'error', 'pending'] as const) {
    test.cloud.faults.endSnapshots(end);
    const input = { VolumeId: VOLUME, Description: 'a "b"', TagSpecifications: [tags('snapshot')] };
    made.push((await ec2.send(new CreateSnapshotCommand(input))).SnapshotId ?? '');
  }
  await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'], MaxResults: 5 }));
  await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: made, Filters: [{ Name: 'status', Values: ['error'] }] }));
  for (const SnapshotId of made) await ec2.send(new DeleteSnapshotCommand({ SnapshotId }));

  await ec2.send(new StopInstancesCommand({ InstanceIds: [full] }));
  await until(() => stateOf(full) === 'stopped', 'stopped');
  await ec2.send(new DescribeInstancesCommand({ InstanceIds: [full] }));
  test.cloud.faults.kill(arm, 'host');
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [full, spot] }));
  await until(() => [full, spot, arm].every((id) => stateOf(id) === 'terminated'), 'terminated');
  test.cloud.faults.endAtLaunch('Client.VolumeLimitExceeded', 1);
  const failed = await run();
  await until(() => stateOf(failed) === 'terminated', 'terminated');
  await ec2.send(new DescribeInstancesCommand({ InstanceIds: [full, spot, arm, failed] }));
  await ec2.send(new DescribeInstanceStatusCommand({ IncludeAllInstances: true }));
  ec2.destroy();
}

export async function askEverythingOfEcr(test: TestCloud, endpoint: string): Promise<void> {
  const ecr = new ECRClient(configOf(test, endpoint));
  await ecr.send(new GetAuthorizationTokenCommand({}));
  ecr.destroy();
}

export async function askEverythingOfS3(test: TestCloud, endpoint: string): Promise<void> {
  const s3 = new S3Client({ ...configOf(test, endpoint), forcePathStyle: true });
  const Bucket = 'everything';
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new HeadBucketCommand({ Bucket }));
  await s3.send(new ListBucketsCommand({}));
  await s3.send(new ListObjectsV2Command({ Bucket }));

  const Key = 'a/ä b+c&d.txt';
  for (const ChecksumAlgorithm of [undefined, 'CRC32C', 'CRC64NVME', 'SHA256'] as const) {
    const { ETag } = await s3.send(
      new PutObjectCommand({ Bucket, Key, Body: 'some text', ...described(), ChecksumAlgorithm }),
    );
    await s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED', IfMatch: ETag }));
    await s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
  }
  await s3.send(new GetObjectCommand({ Bucket, Key, Range: 'bytes=2-3' }));
  await s3.send(new PutObjectCommand({ Bucket, Key: 'plain', Body: 'x', IfNoneMatch: '*' }));
  await s3.send(new GetObjectCommand({ Bucket, Key: 'plain' }));

  const first = await s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 1, EncodingType: 'url' }));
  await s3.send(new ListObjectsV2Command({ Bucket, ContinuationToken: first.NextContinuationToken }));
  await s3.send(new ListObjectsV2Command({ Bucket, Delimiter: '/', StartAfter: 'a', Prefix: '', FetchOwner: true }));
  for (const gone of [Key, 'plain']) await s3.send(new DeleteObjectCommand({ Bucket, Key: gone }));
  s3.destroy();
}

/** Refusals of each kind; the caller gets no exception. */
export async function provokeErrors(test: TestCloud, endpoint: string): Promise<void> {
  const { faults } = test.cloud;
  const config = configOf(test, endpoint);
  const ec2 = new EC2Client(config);
  const stranger = new EC2Client({
    ...config,
    credentials: { accessKeyId: 'AKIALOCALEXAMPLE0000', secretAccessKey: 'x' },
  });
  const ecr = new ECRClient(config);
  const s3 = new S3Client({ ...config, forcePathStyle: true });
  const launch = { ImageId: test.imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 } as const;
  const Bucket = 'errors';
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key: 'there', Body: 'x' }));

  const refused = [
    () => ec2.send(new RunInstancesCommand({ ...launch, IamInstanceProfile: { Name: 'a<b>&c' } })),
    () => ec2.send(new DescribeVolumesCommand({})),
    () => stranger.send(new DescribeInstancesCommand({})),
    () => s3.send(new PutObjectCommand({ Bucket: 'Wrong_Name', Key: 'a', Body: 'x' })),
    () => s3.send(new CreateBucketCommand({ Bucket: 'wrong..name' })),
    () => s3.send(new GetObjectCommand({ Bucket, Key: 'missing' })),
    () => s3.send(new HeadObjectCommand({ Bucket, Key: 'missing' })),
    () => s3.send(new PutObjectCommand({ Bucket, Key: 'there', Body: 'y', IfNoneMatch: '*' })),
  ];
  for (const ask of refused) await ask().then(complain, ignore);
  for (const answer of ['redirect', 'malformed'] as const) {
    faults.moveBucket(Bucket, 'eu-central-1', answer);
    await s3.send(new GetObjectCommand({ Bucket, Key: 'there' })).then(complain, ignore);
    await s3.send(new HeadBucketCommand({ Bucket })).then(complain, ignore);
  }
  faults.clear();
  faults.limitListing(Bucket, 'logs/');
  await s3.send(new ListObjectsV2Command({ Bucket })).then(complain, ignore);
  faults.loseZone('us-west-2a');
  await ec2.send(new DescribeInstancesCommand({})).then(complain, ignore);
  faults.setOfferings('us-west-2b', []);
  const inZone = { Placement: { AvailabilityZone: 'us-west-2b' } };
  await ec2.send(new RunInstancesCommand({ ...launch, ...inZone })).then(complain, ignore);
  faults.setOfferings('us-west-2b');
  faults.throttle('DescribeInstances', 60_000);
  await ec2.send(new DescribeInstancesCommand({})).then(complain, ignore);
  faults.failNext('GetObject', { code: 'SlowDown' });
  await s3.send(new GetObjectCommand({ Bucket, Key: 'there' })).then(complain, ignore);
  for (const action of ['RunInstances', 'GetAuthorizationToken', 'PutObject']) faults.denyAction(action);
  await ec2.send(new RunInstancesCommand(launch)).then(complain, ignore);
  await ecr.send(new GetAuthorizationTokenCommand({})).then(complain, ignore);
  await s3.send(new PutObjectCommand({ Bucket, Key: 'there', Body: 'x' })).then(complain, ignore);
  faults.clear();
  await s3.send(new DeleteObjectCommand({ Bucket, Key: 'there' }));
  for (const client of [ec2, stranger, ecr, s3]) client.destroy();
}

function configOf(test: TestCloud, endpoint: string) {
  return { endpoint, region: test.cloud.region, credentials: test.cloud.keys, maxAttempts: 1 };
}

/** What is stored with an object and returned again. */
function described() {
  return {
    ContentType: 'text/plain',
    ContentLanguage: 'en',
    ContentDisposition: 'inline',
    CacheControl: 'no-store',
    Metadata: { by: 'me' },
  };
}

function complain(): void {
  throw new Error('what should be refused was not');
}

function ignore(error: Error): void {
  if (error.message.startsWith('what should')) throw error;
}
