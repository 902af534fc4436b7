import { CloudError } from './errors.ts';

/** Which types a zone has at all: unlike capacity, what is not offered does not come back with a termination. */
export type Offerings = {
  /** Types by name, or families as `t3.*`; undefined: every type, as at first. */
  set(zone: string, types: readonly string[] | undefined): void;
  has(zone: string, type: string): boolean;
};

export function createOfferings(): Offerings {
  const typesByZone = new Map<string, readonly string[]>();
  return {
    set: (zone, types) => {
      if (types === undefined) typesByZone.delete(zone);
      else typesByZone.set(zone, types);
    },
    has: (zone, type) => {
      const types = typesByZone.get(zone);
      return types === undefined || types.includes(type) || types.includes(type.replace(/\..*/, '.*'));
    },
  };
}

/** EC2's words for a zone that the call named. */
export function notOffered(type: string, zone: string, others: readonly string[]): CloudError {
  const advice =
    others.length === 0
      ? ''
      : ` Please retry your request by not specifying an Availability Zone or choosing ${others.join(', ')}.`;
  const message = `Your requested instance type (${type}) is not supported in your requested Availability Zone (${zone}).${advice}`;
  return new CloudError('Unsupported', message);
}

/** EC2's words where it could choose the zone, and none has the type. */
export function notOfferedAnywhere(): CloudError {
  const message =
    'The requested configuration is currently not supported. Please check the documentation for supported configurations.';
  return new CloudError('Unsupported', message);
}
