import { CloudError } from '../errors.ts';
import { readFilters, readPage, type Filters } from '../filters.ts';
import type { CloudInstance } from '../instance.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import { wireTime } from '../xml.ts';
import { isVisible, namedInstances, refuseMoreThan, type Action } from './action.ts';
import { refuseZonesOut } from './zones-out.ts';
import { reservationItem, stateItem } from './instance-xml.ts';

export const describeInstances: Action = {
  parameters: ['InstanceId', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const tagsOf = ({ id }: CloudInstance) => world.tags.of(id);
    const found = selectInstances(params, world).filter(readFilters(params, FILTERS, tagsOf));
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
  parameters: ['InstanceId', 'IncludeAllInstances', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const isAll = params.boolean('IncludeAllInstances') ?? false;
    refuseMoreThan(MOST_STATUS_IDS, 'InstanceId', params.list('InstanceId'));
    const found = selectInstances(params, world).filter((instance) => isAll || instance.state === 'running');
    const { page, nextToken } = readPage(params, found, (instance) => instance.sequence, PAGE_LIMITS);
    confirm();
    return { instanceStatusSet: page.map((instance) => statusItem(world, instance)), nextToken };
  },
};

type Check = 'ok' | 'impaired' | 'initializing' | 'not-applicable';

const MOST_STATUS_IDS = 100;
const PAGE_LIMITS = { least: 5, most: 1000 };

const FILTERS: Filters<CloudInstance> = {
  'availability-zone': ({ spec }) => spec.availabilityZone,
  'client-token': ({ clientToken }) => clientToken,
  'image-id': ({ spec }) => spec.imageId,
  'instance-id': ({ id }) => id,
  'instance-lifecycle': ({ spec }) => (spec.market === 'spot' ? 'spot' : undefined),
  'instance-state-name': ({ state }) => state,
  'instance-type': ({ spec }) => spec.instanceType,
  'ip-address': ({ publicIp }) => publicIp,
  'launch-time': ({ pendingAt }) => wireTime(new Date(pendingAt)),
  'private-ip-address': ({ privateIp, state }) => (state === 'terminated' ? undefined : privateIp),
  'subnet-id': ({ spec, state }) => (state === 'terminated' ? undefined : spec.subnetId),
};

function selectInstances(params: Params, world: World): CloudInstance[] {
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
  return candidates;
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
