import { CloudError } from '../errors.ts';
import { readFilters, readPage, tagFilterValues } from '../filters.ts';
import { STATE_CODES, type CloudInstance } from '../instance.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import { wireTime } from '../xml.ts';
import { isVisible, namedInstances, refuseMoreThan, type Action } from './action.ts';
import { refuseZonesOut } from './zones-out.ts';
import { profileArn, reservationItem, shownReason, stateItem } from './instance-xml.ts';

export const describeInstances: Action = {
  parameters: ['InstanceId', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const found = selectInstances(params, world, instanceValues);
    const { page, nextToken } = readPage(params, found, (instance) => instance.sequence, PAGE_LIMITS);
    confirm();
    const reservations = Map.groupBy(page, (instance) => instance.reservationId);
    return {
      reservationSet: [...reservations].map(([id, instances]) => reservationItem(world, instances, id)),
      nextToken,
    };
  },
};

export const describeInstanceStatus: Action = {
  parameters: ['InstanceId', 'Filter', 'IncludeAllInstances', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const isAll = params.boolean('IncludeAllInstances') ?? false;
    refuseMoreThan(MOST_STATUS_IDS, 'InstanceId', params.list('InstanceId'));
    const found = selectInstances(params, world, statusValues).filter(
      (instance) => isAll || instance.state === 'running',
    );
    const { page, nextToken } = readPage(params, found, (instance) => instance.sequence, PAGE_LIMITS);
    confirm();
    return { instanceStatusSet: page.map((instance) => statusItem(world, instance)), nextToken };
  },
};

type Check = 'ok' | 'impaired' | 'initializing' | 'not-applicable';
type Values = (instance: CloudInstance, world: World) => readonly string[];

const MOST_STATUS_IDS = 100;
const PAGE_LIMITS = { least: 5, most: 1000 };

const INSTANCE_FILTERS: Readonly<Record<string, Values>> = {
  architecture: ({ spec }) => [spec.architecture],
  'availability-zone': ({ spec }) => [spec.availabilityZone],
  'client-token': ({ clientToken }) => optional(clientToken),
  hypervisor: () => ['xen'],
  'iam-instance-profile.arn': ({ spec }, world) =>
    spec.profile === undefined ? [] : [profileArn(world, spec.profile)],
  'iam-instance-profile.name': ({ spec }) => optional(spec.profile?.split('/').at(-1)),
  'image-id': ({ spec }) => [spec.imageId],
  'instance-id': ({ id }) => [id],
  'instance-lifecycle': ({ spec }) => (spec.market === 'spot' ? ['spot'] : []),
  'instance-state-code': ({ state }) => [String(STATE_CODES[state])],
  'instance-state-name': ({ state }) => [state],
  'instance-type': ({ spec }) => [spec.instanceType],
  'instance.group-id': ({ spec }) => spec.securityGroupIds,
  'ip-address': ({ publicIp }) => optional(publicIp),
  'launch-index': ({ launchIndex }) => [String(launchIndex)],
  'launch-time': ({ pendingAt }) => [wireTime(new Date(pendingAt))],
  'metadata-options.http-tokens': () => ['required'],
  'network-interface.network-interface-id': ({ networkInterfaceId }) => [networkInterfaceId],
  'owner-id': (_, world) => [world.accountId],
  'private-ip-address': ({ privateIp, state }) => (state === 'terminated' ? [] : [privateIp]),
  'reservation-id': ({ reservationId }) => [reservationId],
  'root-device-name': ({ spec }) => [spec.rootDevice],
  'root-device-type': () => ['ebs'],
  'spot-instance-request-id': ({ spotRequestId }) => optional(spotRequestId),
  'state-reason-code': (instance) => optional(shownReason(instance)?.code),
  'subnet-id': ({ spec, state }) => (state === 'terminated' ? [] : [spec.subnetId]),
  tenancy: () => ['default'],
  'virtualization-type': () => ['hvm'],
  'vpc-id': ({ spec, state }) => (state === 'terminated' ? [] : [spec.vpcId]),
};

const STATUS_FILTERS: Readonly<Record<string, Values>> = {
  'availability-zone': ({ spec }) => [spec.availabilityZone],
  'instance-state-code': ({ state }) => [String(STATE_CODES[state])],
  'instance-state-name': ({ state }) => [state],
  'instance-status.reachability': (instance, world) => [reachability(checkOf(world, instance))],
  'instance-status.status': (instance, world) => [checkOf(world, instance)],
  'system-status.reachability': (instance, world) => [reachability(systemCheckOf(world, instance))],
  'system-status.status': (instance, world) => [systemCheckOf(world, instance)],
};

type NamedValues = (world: World, instance: CloudInstance | undefined, name: string) => readonly string[] | undefined;

function selectInstances(params: Params, world: World, values: NamedValues): CloudInstance[] {
  const ids = params.list('InstanceId');
  if (ids.length > 0 && params.has('MaxResults')) {
    const message = 'The parameter instancesSet cannot be used with the parameter maxResults';
    throw new CloudError('InvalidParameterCombination', message);
  }
  const candidates =
    ids.length > 0
      ? namedInstances(world, ids)
      : [...world.instances.values()].filter((instance) => isVisible(world, instance));
  refuseZonesOut(world, ids.length > 0 ? candidates : undefined);
  return candidates.filter(
    readFilters<CloudInstance | undefined>(params, (instance, name) => values(world, instance, name), undefined),
  );
}

function instanceValues(
  world: World,
  instance: CloudInstance | undefined,
  name: string,
): readonly string[] | undefined {
  const read = Object.hasOwn(INSTANCE_FILTERS, name) ? INSTANCE_FILTERS[name] : undefined;
  if (instance === undefined) return read === undefined ? tagFilterValues(new Map(), name) : [];
  return read === undefined ? tagFilterValues(world.tags.of(instance.id), name) : read(instance, world);
}

function statusValues(world: World, instance: CloudInstance | undefined, name: string): readonly string[] | undefined {
  const read = Object.hasOwn(STATUS_FILTERS, name) ? STATUS_FILTERS[name] : undefined;
  if (read === undefined) return undefined;
  return instance === undefined ? [] : read(instance, world);
}

function statusItem(world: World, instance: CloudInstance) {
  return {
    instanceId: instance.id,
    availabilityZone: instance.spec.availabilityZone,
    instanceState: stateItem(instance.state),
    systemStatus: checkItem(systemCheckOf(world, instance)),
    instanceStatus: checkItem(checkOf(world, instance)),
    eventsSet: [],
  };
}

function checkOf(world: World, instance: CloudInstance): Check {
  if (instance.state !== 'running') return 'not-applicable';
  if (instance.isFrozen) return 'impaired';
  const upForMs = Date.now() - Date.parse(instance.runningAt ?? instance.pendingAt);
  return upForMs < world.settings.statusCheckMs ? 'initializing' : 'ok';
}

/** The host stays healthy when only the guest hangs; that is what the two checks tell apart. */
function systemCheckOf(world: World, instance: CloudInstance): Check {
  const check = checkOf(world, instance);
  return check === 'impaired' ? 'ok' : check;
}

function checkItem(check: Check) {
  if (check === 'not-applicable') return { status: check };
  return { status: check, details: [{ name: 'reachability', status: reachability(check) }] };
}

function reachability(check: Check): string {
  return { ok: 'passed', impaired: 'failed', initializing: 'initializing', 'not-applicable': 'not-applicable' }[check];
}

function optional(value: string | undefined): readonly string[] {
  return value === undefined ? [] : [value];
}
