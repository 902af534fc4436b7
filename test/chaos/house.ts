import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startLocalCloud, type LocalCloud } from '../../local/cloud/local-cloud.ts';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { freePort } from '../../local/ports.ts';
import { startBalancer } from './balancer.ts';
import { ContainerRecords } from './container-records.ts';
import { ChaosPostgres } from './database.ts';
import { Replica } from './replica.ts';

/** What a run needs. The cloud and its agents live in this process and are never disturbed: checks rely on them. */
export type House = {
  readonly cloud: LocalCloud;
  readonly containers: ContainerRecords;
  readonly postgres: ChaosPostgres;
  readonly replicas: readonly Replica[];
  /** How processes ended that were not killed. */
  readonly ownEnds: readonly string[];
  /** One a replica. */
  readonly logFiles: readonly string[];
  stop(): Promise<void>;
};

export type HouseOptions = {
  /** For data and logs; made when it is not there. */
  readonly directory: string;
  readonly seed: number;
  readonly replicas: number;
  /** WEB_CONCURRENCY of each. */
  readonly workers: number;
  /** Default: 200 to 1,500. */
  readonly bootMs?: number;
  /** Modules loaded into each process before the program. */
  readonly preload?: readonly string[];
  /** ADDRESS_STALE_SECONDS; default: as the program is shipped. */
  readonly staleSeconds?: number;
  /** Settings over those of the house. */
  readonly env?: Readonly<Record<string, string>>;
};

export async function openHouse(options: HouseOptions): Promise<House> {
  const { directory, seed, replicas: count, workers, staleSeconds, preload = [] } = options;
  await mkdir(directory, { recursive: true });
  // Postgres does not run as root, and must get to its folder.
  await chmod(directory, 0o755);
  const undo: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse())
      await step().catch((error: unknown) => {
        console.error(error);
      });
  };
  try {
    const postgres = await ChaosPostgres.start(directory);
    undo.push(() => postgres.stop());
    const containers = new ContainerRecords();
    const cloud = await startLocalCloud({
      port: 0,
      seed,
      bootMs: options.bootMs ?? [200, 1_500],
      visibilityMs: VISIBILITY_MS,
      statusCheckMs: 2_000,
      volumes: { [DATA_VOLUME]: 40 },
      runtime: createSimulatedRuntime({ onContainer: (id, event) => containers.add(id, event) }),
    });
    undo.push(() => cloud.stop());
    const certificate = join(directory, 'identity.pem');
    await writeFile(certificate, cloud.identityCertificatePem);
    const ports: number[] = [];
    for (let index = 0; index < count; index += 1) ports.push(await freePort());
    const balancer = await startBalancer(ports);
    undo.push(() => balancer.stop());
    const ownEnds: string[] = [];
    const env = {
      DATABASE_URL: postgres.url,
      ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
      PUBLIC_URL: balancer.url,
      ...cloud.clientEnvironment,
      IDENTITY_CERTIFICATES: certificate,
      WEB_CONCURRENCY: String(workers),
      DATA_VOLUME_ID: DATA_VOLUME,
      JOBS_URL: 'http://jobs.test',
      ...(staleSeconds !== undefined && { ADDRESS_STALE_SECONDS: String(staleSeconds) }),
      ...options.env,
    };
    const logFiles = ports.map((_, index) => join(directory, `replica-${index}.log`));
    const replicas = ports.map(
      (port, index) =>
        new Replica({
          name: `replica-${index}`,
          port,
          env,
          preload,
          logFile: logFiles[index] ?? '',
          onOwnEnd: (how) => ownEnds.push(`replica-${index}: ${how} at ${new Date().toISOString()}`),
        }),
    );
    undo.push(async () => {
      await Promise.all(replicas.map((replica) => replica.kill()));
    });
    for (const replica of replicas) replica.start();
    await Promise.all(replicas.map((replica) => replica.untilReady()));
    return { cloud, containers, postgres, replicas, ownEnds, logFiles, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** EC2 is eventually consistent on a good day, too. */
export const VISIBILITY_MS = 300;
export const DATA_VOLUME = 'vol-0123456789abcdef0';

/** What jobs need: each of them lists two, the second when there is none of the first. */
export const INSTANCE_TYPES = ['t3.small', 't3.medium', 't3.large', 'm5.large'];
