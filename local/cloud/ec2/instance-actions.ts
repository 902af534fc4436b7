import { CloudError } from '../errors.ts';
import { STATE_REASONS, type CloudInstance, type InstanceState } from '../instance.ts';
import { insufficientCapacity } from '../capacity.ts';
import { namedInstances, requiredInstances, type Action, type Call } from './action.ts';
import { stateItem } from './instance-xml.ts';

export const terminateInstances: Action = {
  parameters: ['InstanceId', 'Force', 'SkipOsShutdown'],
  run: (call) => {
    const instances = requiredInstances(call);
    return changeStates(call, 'TerminateInstances', instances, (instance) => {
      call.world.machines.terminate(instance, STATE_REASONS.byUser);
    });
  },
};

export const stopInstances: Action = {
  parameters: ['InstanceId', 'Force', 'SkipOsShutdown'],
  run: (call) => {
    const instances = requiredInstances(call);
    for (const instance of instances) {
      refuseState(instance, ['running', 'stopping', 'stopped'], 'stopped');
      if (instance.spec.market === 'spot') {
        const message = `You can't stop the Spot Instance '${instance.id}' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.`;
        throw new CloudError('UnsupportedOperation', message);
      }
    }
    return changeStates(call, 'StopInstances', instances, (instance) => {
      call.world.machines.stop(instance, STATE_REASONS.byUser);
    });
  },
};

export const startInstances: Action = {
  parameters: ['InstanceId'],
  run: (call) => {
    const { world } = call;
    const instances = requiredInstances(call);
    for (const instance of instances) refuseState(instance, ['stopped', 'pending', 'running'], 'started');
    for (const instance of instances) {
      if (instance.state === 'stopped' && world.capacity.free(offerOf(instance)) < 1) {
        throw insufficientCapacity(offerOf(instance), []);
      }
    }
    return changeStates(call, 'StartInstances', instances, (instance) => {
      if (instance.state !== 'stopped') return;
      world.capacity.take(offerOf(instance), instance.id);
      world.machines.start(instance);
    });
  },
};

export const rebootInstances: Action = {
  parameters: ['InstanceId'],
  run: (call) => {
    const instances = requiredInstances(call);
    for (const instance of instances) refuseState(instance, ['running'], 'rebooted');
    call.confirm();
    for (const instance of instances) call.world.machines.reboot(instance);
    return { return: true };
  },
};

export const getConsoleOutput: Action = {
  parameters: ['InstanceId', 'Latest'],
  run: ({ params, world, confirm }) => {
    const id = params.required('InstanceId');
    namedInstances(world, [id]);
    confirm();
    const text = world.machines.console(id);
    return { instanceId: id, timestamp: new Date(), output: Buffer.from(text).toString('base64') };
  },
};

export function offerOf({ spec }: CloudInstance) {
  return { type: spec.instanceType, subnet: spec.subnetId, zone: spec.availabilityZone, market: spec.market };
}

function changeStates(
  call: Call,
  action: string,
  instances: readonly CloudInstance[],
  change: (instance: CloudInstance) => void,
) {
  call.confirm();
  call.world.buckets.takeResources(action, instances.length);
  const items = instances.map((instance) => {
    const previous = instance.state;
    change(instance);
    return { instanceId: instance.id, currentState: stateItem(instance.state), previousState: stateItem(previous) };
  });
  return { instancesSet: items };
}

function refuseState(instance: CloudInstance, allowed: readonly InstanceState[], what: string): void {
  if (allowed.includes(instance.state)) return;
  const message = `The instance '${instance.id}' is not in a state from which it can be ${what}.`;
  throw new CloudError('IncorrectInstanceState', message);
}
