/**
 * Why a deployment or an attempt has its status: one code for row, response, log line, test and manual. `cause` decides
 * what follows before a deployment is active: a `user` cause fails it, an `infrastructure` cause costs the attempt, and
 * a fresh instance is tried.
 */
export const REASONS = {
  // Before an instance
  'waiting-for-instance': { cause: 'progress', text: 'an instance is on its way' },
  'waiting-for-capacity': { cause: 'progress', text: 'EC2 has nothing to give right now' },
  'capacity-unavailable': { cause: 'user', text: 'EC2 had nothing to give for as long as the job is willing to wait' },
  'launch-refused': { cause: 'user', text: 'EC2 refuses to launch what the job asks for' },
  // On an instance
  'agent-unresponsive': { cause: 'infrastructure', text: 'the agent did not fetch its first order in time' },
  'instance-terminated': { cause: 'infrastructure', text: 'the instance was terminated' },
  'instance-stopped': { cause: 'infrastructure', text: 'the instance was stopped' },
  'instance-gone': { cause: 'infrastructure', text: 'the instance no longer exists' },
  'instance-unreachable': { cause: 'infrastructure', text: 'neither the agent nor EC2 gave a sign of life' },
  'spot-interrupted': { cause: 'infrastructure', text: 'EC2 takes the spot instance back' },
  'docker-unavailable': { cause: 'infrastructure', text: 'Docker on the instance did not answer' },
  'image-not-found': { cause: 'user', text: 'the image does not exist' },
  'image-unauthorized': { cause: 'user', text: 'the registry refuses to give the image' },
  'image-pull-failed': { cause: 'user', text: 'the image could not be pulled' },
  'registry-busy': { cause: 'user', text: 'the registry is in trouble, or refuses so many pulls' },
  'registry-unreachable': { cause: 'user', text: 'the registry could not be reached' },
  'pull-timed-out': { cause: 'user', text: 'pulling the image took too long' },
  'address-draining': {
    cause: 'progress',
    text: 'another job’s callers may still be led to the instance’s address for a while',
  },
  'container-create-failed': { cause: 'user', text: 'Docker refused to create the container' },
  'container-start-failed': { cause: 'user', text: 'Docker could not start the container' },
  'container-exited': { cause: 'user', text: 'the container exited' },
  'out-of-memory': { cause: 'user', text: 'the container used more memory than there is for it' },
  'route-unreachable': { cause: 'user', text: 'callers of the job’s address cannot get to the container' },
  'health-check-failed': { cause: 'user', text: 'the health check did not pass' },
  'crash-looping': { cause: 'user', text: 'the container keeps exiting' },
  'exits-at-once': { cause: 'user', text: 'the container ends by itself, with code 0' },
  // Of the deployment
  'deadline-exceeded': { cause: 'user', text: 'it was not active within rollout.deadlineSeconds' },
  'attempts-exhausted': { cause: 'infrastructure', text: 'instances were lost again and again' },
  'superseded-by-newer': { cause: 'request', text: 'a newer deployment took its place' },
  'cancel-requested': { cause: 'request', text: 'it was cancelled' },
  'stop-requested': { cause: 'request', text: 'the job was stopped' },
  'delete-requested': { cause: 'request', text: 'the job was deleted' },
  'successor-lost': { cause: 'progress', text: 'its successor was lost before it had drained' },
  'predecessor-serves': { cause: 'progress', text: 'it was lost while its predecessor still served' },
  healing: { cause: 'progress', text: 'a fresh instance takes over' },
  'not-needed': { cause: 'request', text: 'another attempt serves' },
} as const satisfies Record<string, { cause: Cause; text: string }>;

export type Cause = 'user' | 'infrastructure' | 'request' | 'progress';
export type Reason = keyof typeof REASONS;

export function causeOf(reason: Reason): Cause {
  return REASONS[reason].cause;
}

export function isReason(code: string): code is Reason {
  return Object.hasOwn(REASONS, code);
}
