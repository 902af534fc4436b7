import { EC2Client, RunInstancesCommand, type RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import { S3Client } from '@aws-sdk/client-s3';
import { startLocalCloud, type CloudOptions, type LocalCloud } from './local-cloud.ts';
import type { BootedInstance, HaltReason, InstanceRuntime } from './runtime.ts';
import { until as untilTrue } from '../until.ts';

/** For specs: a cloud with a runtime that only records its calls, and real SDK clients without retries. */
export type TestCloud = {
  readonly cloud: LocalCloud;
  readonly runtime: RecordingRuntime;
  readonly ec2: EC2Client;
  readonly s3: S3Client;
  readonly imageId: string;
  run(input?: Partial<RunInstancesCommandInput>): Promise<string[]>;
  stop(): Promise<void>;
};

export type RecordingRuntime = InstanceRuntime & {
  readonly boots: BootedInstance[];
  readonly halts: { readonly id: string; readonly how: HaltReason }[];
  /** The newest boot of an instance, as soon as it has had so many. */
  booted(id: string, times?: number): Promise<BootedInstance>;
  failNextBoot(): void;
};

/** The current x86_64 image; ids depend on names only. */
export const ECS_IMAGE_NAME = 'al2023-ami-ecs-hvm-2023.0.20260105-kernel-6.1-x86_64';

export async function startTestCloud(options: Partial<CloudOptions> = {}): Promise<TestCloud> {
  const runtime = createRecordingRuntime();
  const cloud = await startLocalCloud({ port: 0, bootMs: 5, visibilityMs: 0, seed: 7, runtime, ...options });
  const config = {
    endpoint: cloud.endpoint,
    region: 'us-west-2',
    credentials: cloud.keys,
    maxAttempts: 1,
  };
  const ec2 = new EC2Client(config);
  const s3 = new S3Client({ ...config, forcePathStyle: true });
  const imageId = IMAGE_ID;
  return {
    cloud,
    runtime,
    ec2,
    s3,
    imageId,
    run: async (input = {}) => {
      const defaults = { ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 } as const;
      const { Instances = [] } = await ec2.send(new RunInstancesCommand({ ...defaults, ...input }));
      return Instances.map(({ InstanceId }) => InstanceId ?? '');
    },
    stop: async () => {
      ec2.destroy();
      s3.destroy();
      await cloud.stop();
    },
  };
}

/** Waits for a state of the cloud that no event announces. */
export async function until(condition: () => boolean, what: string, limitMs = 5000): Promise<void> {
  await untilTrue(condition, limitMs, () => `not within ${limitMs} ms: ${what}`);
}

const IMAGE_ID = 'resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id';

function createRecordingRuntime(): RecordingRuntime {
  const boots: BootedInstance[] = [];
  const halts: { id: string; how: HaltReason }[] = [];
  let isNextBootFailing = false;
  return {
    boots,
    halts,
    boot: async (instance) => {
      if (isNextBootFailing) {
        isNextBootFailing = false;
        throw new Error('no such guest');
      }
      boots.push(instance);
      return Promise.resolve();
    },
    halt: async (id, how) => {
      halts.push({ id, how });
      return Promise.resolve();
    },
    freeze: async () => Promise.resolve(),
    thaw: async () => Promise.resolve(),
    booted: async (id, times = 1) => {
      const ofInstance = (): BootedInstance[] => boots.filter((boot) => boot.id === id);
      await until(() => ofInstance().length >= times, `boot ${times} of ${id}`);
      const boot = ofInstance().at(-1);
      if (boot === undefined) throw new Error(`${id} never booted`);
      return boot;
    },
    failNextBoot: () => {
      isNextBootFailing = true;
    },
  };
}
