import { CloudError } from '../errors.ts';
import { STATE_REASONS, type CloudInstance } from '../instance.ts';
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
      if (!['running', 'stopping', 'stopped'].includes(instance.state)) {
        const message = `The instance '${instance.id}' is not in a state from which it can be stopped.`;
        throw new CloudError('IncorrectInstanceState', message);
      }
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
