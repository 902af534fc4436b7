import { insufficientCapacity } from '../capacity.ts';
import { CloudError } from '../errors.ts';
import type { CloudInstance, StateReason } from '../instance.ts';
import { fingerprintOf, refuseSpentToken } from '../launches.ts';
import { noFreeAddresses, type Subnet } from '../network.ts';
import { notOffered, notOfferedAnywhere } from '../offerings.ts';
import type { World } from '../world.ts';
import type { Action, Call } from './action.ts';
import { LAUNCH_PARAMETERS, readLaunchRequest, type LaunchRequest } from './launch-request.ts';
import { reservationItem } from './instance-xml.ts';

export const runInstances: Action = {
  parameters: LAUNCH_PARAMETERS,
  run: (call) => {
    const { params, world } = call;
    const request = readLaunchRequest(params, world);
    const fingerprint = fingerprintOf(params.canonical(['ClientToken', 'DryRun', 'Action', 'Version']));
    const earlier = findEarlier(world, request, fingerprint);
    if (earlier !== undefined) {
      call.confirm();
      call.note(earlier);
      return reservationItem(world, earlier, earlier[0]?.reservationId ?? '');
    }
    const { subnet, count } = chooseOffer(world, request);
    call.confirm();
    // Charged for what is launched; a repeat with the same token launches nothing and is free.
    world.buckets.takeResources('RunInstances', count);
    return launch(call, request, { subnet, count, fingerprint });
  },
};

function findEarlier(world: World, request: LaunchRequest, fingerprint: string): CloudInstance[] | undefined {
  const { clientToken, tokenScope } = request;
  const record = clientToken === undefined ? undefined : world.launches.find(clientToken, tokenScope, fingerprint);
  if (record === undefined) return undefined;
  const instances = record.instanceIds.flatMap((id) => world.instances.get(id) ?? []);
  refuseSpentToken(instances);
  return instances;
}

/** As many as fit, MinCount at least, all in one subnet. @throws the error of the first subnet when none can take them */
function chooseOffer(world: World, request: LaunchRequest): { subnet: Subnet; count: number } {
  const subnets = offeringSubnets(world, request);
  const offers = subnets.map((subnet) => {
    const capacity = world.capacity.free(offerIn(request, subnet));
    const addresses = world.network.freeAddresses(subnet.id);
    return { subnet, capacity, addresses, count: Math.min(request.most, capacity, addresses) };
  });
  const fitting = offers.find(({ count }) => count >= request.least);
  if (fitting !== undefined) return fitting;
  const [first] = offers;
  if (first === undefined)
    throw new CloudError('MissingInput', 'No subnets found for the default VPC. Please specify a subnet.');
  if (first.capacity >= request.least) throw noFreeAddresses(first.subnet.id);
  const others = world.network.subnets.filter(
    (other) =>
      world.offerings.has(other.availabilityZone, request.spec.instanceType) &&
      world.capacity.free(offerIn(request, other)) >= request.least,
  );
  throw insufficientCapacity(
    offerIn(request, first.subnet),
    others.map((other) => other.availabilityZone),
  );
}

/** The subnets that suit the call, in zones that offer the type. @throws Unsupported when none does */
function offeringSubnets({ network, offerings }: World, { subnetIds, isZoneNamed, spec }: LaunchRequest): Subnet[] {
  const offering = network.subnets.filter((subnet) => offerings.has(subnet.availabilityZone, spec.instanceType));
  const fitting = subnetIds.flatMap((id) => offering.find((subnet) => subnet.id === id) ?? []);
  if (fitting.length > 0 || subnetIds.length === 0) return fitting;
  if (!isZoneNamed) throw notOfferedAnywhere();
  const zone = network.subnets.find((subnet) => subnet.id === subnetIds[0])?.availabilityZone ?? '';
  throw notOffered(
    spec.instanceType,
    zone,
    offering.map((subnet) => subnet.availabilityZone),
  );
}

function launch(
  call: Call,
  request: LaunchRequest,
  { subnet, count, fingerprint }: { subnet: Subnet; count: number; fingerprint: string },
) {
  const { world } = call;
  const reservationId = world.newId('r');
  const instances = Array.from({ length: count }, (_, index) =>
    createInstance(world, request, { subnet, reservationId, index }),
  );
  if (request.clientToken !== undefined) {
    const { clientToken: token, tokenScope: scope } = request;
    world.launches.add({ token, scope, fingerprint, reservationId, instanceIds: instances.map(({ id }) => id) });
  }
  const endsWith = takeEndAtLaunch(world);
  for (const instance of instances) world.machines.start(instance, endsWith);
  call.note(instances);
  return reservationItem(world, instances, reservationId);
}

function takeEndAtLaunch({ settings }: World): StateReason | undefined {
  const { endAtLaunch } = settings;
  if (endAtLaunch === undefined) return undefined;
  endAtLaunch.callsLeft -= 1;
  if (endAtLaunch.callsLeft <= 0) settings.endAtLaunch = undefined;
  return endAtLaunch.reason;
}

function createInstance(
  world: World,
  request: LaunchRequest,
  { subnet, reservationId, index }: { subnet: Subnet; reservationId: string; index: number },
): CloudInstance {
  const now = new Date();
  const id = world.newId('i');
  const privateIp = world.network.takeAddress(subnet.id);
  const isSpot = request.spec.market === 'spot';
  const instance: CloudInstance = {
    id,
    sequence: world.nextSequence(),
    reservationId,
    launchIndex: index,
    clientToken: request.clientToken,
    networkInterfaceId: world.newId('eni'),
    spotRequestId: isSpot ? `sir-${world.random.hex(8)}` : undefined,
    privateIp,
    spec: {
      ...request.spec,
      subnetId: subnet.id,
      availabilityZone: subnet.availabilityZone,
      blockDevices: request.blockDevices.map((device) => ({ ...device, volumeId: world.newId('vol') })),
    },
    userData: request.userData,
    launchedAt: now.toISOString(),
    state: 'pending',
    stateReason: undefined,
    pendingAt: now.toISOString(),
    runningAt: undefined,
    terminatedAt: undefined,
    publicIp: undefined,
    bootCount: 0,
    isFrozen: false,
    spotActionAt: undefined,
    visibleAtMs: now.getTime() + world.settings.visibilityMs,
    history: [],
  };
  world.instances.set(id, instance);
  world.capacity.take(offerIn(request, subnet), id);
  if (request.tags.size > 0) world.tags.set(id, request.tags);
  return instance;
}

function offerIn({ spec }: LaunchRequest, subnet: Subnet) {
  return { type: spec.instanceType, subnet: subnet.id, zone: subnet.availabilityZone, market: spec.market };
}
