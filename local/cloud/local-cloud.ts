import { randomBytes, randomInt } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import { join } from 'node:path';
import { claimAddressBlock } from './address-block.ts';
import { createAuthenticator } from './authenticate.ts';
import { handleControl, type Controls } from './control.ts';
import { ecrPasswordOf } from './ecr.ts';
import { createFaults, type Faults } from './faults.ts';
import { isLoopbackOr } from './front-door.ts';
import { identityDocument, openIdentity } from './identity.ts';
import type { CloudInstance } from './instance.ts';
import { openJournal, type Journal } from './journal.ts';
import { clientEnvironment, openKeys, type Keys } from './keys.ts';
import { createCallLog, type Ledger } from './ledger.ts';
import { createMachines } from './machines.ts';
import { createMetadataService, SHARED_PREFIX, type MetadataService } from './metadata-service.ts';
import type { NetworkIds } from './network.ts';
import { createRandom, type Random } from './random.ts';
import type { InstanceRuntime } from './runtime.ts';
import { openObjectStore } from './s3/store.ts';
import { createRequestListener, type ServerOptions } from './server.ts';
import { createWorld, followState, type World } from './world.ts';

export const DEFAULT_REGION = 'us-west-2';

export type CloudOptions = {
  /** EC2 and S3 (path style) on 127.0.0.1; 0 = any. The instances' metadata services use the same port on their addresses. */
  readonly port: number;
  /** Host names, in addition to loopback's, under which clients call: lower case, without port. Default none. */
  readonly hosts?: readonly string[];
  /** Ledger, objects, the keys of clients and the identity key are kept here between runs; none = memory only. One cloud at a time. */
  readonly stateDir?: string;
  /** EC2's published token buckets, or none. Default `ec2`. */
  readonly quotas?: 'ec2' | 'none';
  /** `pending` → `running`, one number or a range to draw from. Default 1500. */
  readonly bootMs?: number | readonly [least: number, most: number];
  /** Describe calls do not see a new instance this long. Default 300. */
  readonly visibilityMs?: number;
  /** Default one hour, then only the ledger knows a terminated instance. */
  readonly terminatedVisibleMs?: number;
  /** Tags of terminated instances are dropped earlier. Default ten minutes. */
  readonly terminatedTagsMs?: number;
  /** Status checks stay `initializing` this long after `running`. Default 10 s (EC2: some minutes). */
  readonly statusCheckMs?: number;
  /** Names of the instance profiles there are; any other is refused at a launch. Default none. */
  readonly profiles?: readonly string[];
  /** Sizes in GiB of volumes in addition to the disks of instances, by id. Default none. */
  readonly volumes?: Readonly<Record<string, number>>;
  /** A snapshot is `pending` this long. Default 2000 (EC2: minutes, and hours for a first one). */
  readonly snapshotMs?: number;
  /** Ids that its network is to have. Default: those of the region. */
  readonly networkIds?: NetworkIds;
  readonly runtime: InstanceRuntime;
  /** Ids, delays and choices are drawn from it. Default: another one each time. */
  readonly seed?: number;
  readonly accountId?: string;
  readonly region?: string;
};

export type LocalCloud = {
  /** http://127.0.0.1:port, for AWS_ENDPOINT_URL */
  readonly endpoint: string;
  /** Verifies /latest/dynamic/instance-identity/signature: RSA-SHA256 over the document's exact bytes. */
  readonly identityCertificatePem: string;
  readonly accountId: string;
  readonly region: string;
  readonly keys: Keys;
  /** Variables by which the AWS SDKs and the AWS CLI find this cloud and sign for it. */
  readonly clientEnvironment: Readonly<Record<string, string>>;
  /** The password that its registries accept for the user `AWS`. */
  readonly ecrPassword: string;
  readonly ledger: Ledger;
  readonly faults: Faults;
  instance(id: string): CloudInstance | undefined;
  /** Ends every guest and the servers, writes the state. Safe to call twice. */
  stop(): Promise<void>;
};

/** EC2, IMDSv2 and S3 on loopback. Instances of an earlier run on the same state folder are read as terminated. */
export async function startLocalCloud(options: CloudOptions): Promise<LocalCloud> {
  const { runtime, stateDir } = options;
  const region = options.region ?? DEFAULT_REGION;
  const accountId = options.accountId ?? '000000000000';
  const listener = Promise.withResolvers<RequestListener>();
  // The world needs the port (addresses follow from it) before the first request can be answered.
  const server = createServer((request, response) => void listener.promise.then((listen) => listen(request, response)));
  // Longer than any client's pool keeps a connection: else a request meets a connection that is just being closed.
  server.keepAliveTimeout = 75_000;
  const port = await listen(server, options.port);
  const endpoint = `http://127.0.0.1:${port}`;
  const undo: (() => Promise<void> | void)[] = [() => close(server)];
  try {
    const block = await claimAddressBlock(port);
    undo.push(() => block.release());
    const journal = await openJournal(stateDir);
    undo.push(() => journal.close());
    const identity = await openIdentity(stateDir);
    const keys = await openKeys(stateDir);
    const store = await openObjectStore(stateDir === undefined ? undefined : join(stateDir, 's3'));
    await runtime.open?.({ id: cloudId(journal, port, stateDir), port, endpoint });

    const random = createRandom(options.seed ?? randomInt(2 ** 32));
    const metadata = createMetadataService(port, {
      region,
      document: (instance) => identityDocument(instance, accountId, region),
      signature: (document) => identity.sign(document),
      tags: (instance) => world.tags.of(instance.id),
      securityGroupNames: () => world.network.securityGroups.map((group) => group.name),
    });
    const machines = createMachines({
      runtime,
      bootDelayMs: () => drawBootDelay(options.bootMs ?? DEFAULT_BOOT_MS, random),
      openMetadata: metadata.open,
      closeMetadata: metadata.close,
      onState: (instance) => {
        writeState(journal, instance);
        followState(world, instance);
      },
    });
    const world: World = createWorld({
      region,
      accountId,
      quotas: options.quotas ?? 'ec2',
      settings: settingsOf(options),
      random,
      blockBase: block.base,
      networkIds: options.networkIds ?? {},
      journal,
      machines,
    });
    const calls = createCallLog(
      journal.earlier.flatMap((entry) => (entry.kind === 'call' ? [entry.call] : [])),
      (call) => journal.append({ kind: 'call', call }),
    );
    const ledger: Ledger = { instances: () => [...world.instances.values()], calls: calls.calls };
    const faultPlan = createFaults(world);
    listener.resolve(
      createRequestListener({
        world,
        store,
        faultPlan,
        calls,
        authenticate: createAuthenticator(keys, region),
        isOurName: isLoopbackOr(options.hosts ?? []),
        flush: journal.flush,
        handleOwn: ownPaths(metadata, { faults: faultPlan.faults, ledger, token: keys.controlToken }),
      }),
    );

    let stopped: Promise<void> | undefined;
    return {
      endpoint,
      identityCertificatePem: identity.certificatePem,
      accountId,
      region,
      keys,
      clientEnvironment: { ...clientEnvironment(keys, region), AWS_ENDPOINT_URL: endpoint },
      ecrPassword: ecrPasswordOf({ accountId, region }),
      ledger,
      faults: faultPlan.faults,
      instance: (id) => world.instances.get(id),
      stop: () => {
        stopped ??= stopAll(async () => {
          await machines.close();
          metadata.closeAll();
          await runtime.close?.();
        }, undo);
        return stopped;
      },
    };
  } catch (error) {
    await stopAll(async () => {}, undo);
    throw error;
  }
}

const DEFAULT_BOOT_MS = 1500;
const HOUR_MS = 3_600_000;

function settingsOf(options: CloudOptions): World['settings'] {
  return {
    visibilityMs: options.visibilityMs ?? 300,
    terminatedVisibleMs: options.terminatedVisibleMs ?? HOUR_MS,
    terminatedTagsMs: options.terminatedTagsMs ?? HOUR_MS / 6,
    statusCheckMs: options.statusCheckMs ?? 10_000,
    profiles: options.profiles ?? [],
    volumes: options.volumes ?? {},
    snapshotMs: options.snapshotMs ?? 2_000,
    snapshotEnd: 'completed',
    // EC2's default quota of elastic addresses per region.
    addressLimit: options.quotas === 'none' ? Infinity : 5,
  };
}

function drawBootDelay(bootMs: NonNullable<CloudOptions['bootMs']>, random: Random): number {
  return typeof bootMs === 'number' ? bootMs : random.between(bootMs[0], bootMs[1]);
}

/** Left-over containers carry it: it has to be found again by the next run, whatever its port. */
function cloudId(journal: Journal, port: number, stateDir: string | undefined): string {
  const known = journal.earlier.find((entry) => entry.kind === 'cloud');
  if (known !== undefined) return known.id;
  const id = stateDir === undefined ? `port-${port}` : randomBytes(6).toString('hex');
  journal.append({ kind: 'cloud', id });
  journal.flush();
  return id;
}

function writeState(journal: Journal, instance: CloudInstance): void {
  const { id, state, stateReason: reason, history } = instance;
  const at = history.at(-1)?.at ?? instance.launchedAt;
  if (history.length === 1) journal.append({ kind: 'instance', instance: { ...instance, userData: '' } });
  else journal.append({ kind: 'state', id, state, at, reason });
}

function ownPaths(metadata: MetadataService, controls: Controls): ServerOptions['handleOwn'] {
  return (request, response) => {
    const path = request.url ?? '/';
    if (path.startsWith(SHARED_PREFIX)) metadata.handleShared(request, response);
    else if (path.startsWith('/_local/')) handleControl(request, response, controls);
    else return false;
    return true;
  };
}

async function stopAll(first: () => Promise<void>, undo: readonly (() => Promise<void> | void)[]): Promise<void> {
  await first();
  for (const step of undo.toReversed()) await step();
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === 'EADDRINUSE';
      reject(isTaken ? new Error(`port ${port} of 127.0.0.1 is in use`, { cause: error }) : error);
    });
    server.listen(port, '127.0.0.1', () => resolve());
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
