/** Statuses of a deployment, in the order of its life. `succeeded` is for tasks. */
export const DEPLOYMENT_STATUSES = [
  'queued',
  'deploying',
  'active',
  'draining',
  'superseded',
  'stopped',
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type DeploymentStatus = (typeof DEPLOYMENT_STATUSES)[number];

export const DEPLOYMENT_TRIGGERS = ['api', 'rollback', 'restart', 'start', 'schedule', 'adopt'] as const;
export type DeploymentTrigger = (typeof DEPLOYMENT_TRIGGERS)[number];

/** Which status may follow which. Nothing leaves a status without an entry. */
export const DEPLOYMENT_TRANSITIONS: Readonly<Record<DeploymentStatus, readonly DeploymentStatus[]>> = {
  queued: ['deploying', 'failed', 'cancelled'],
  deploying: ['active', 'failed', 'cancelled', 'succeeded'],
  // Back to deploying: its instance was lost while its predecessor still served, and the predecessor took over again.
  active: ['draining', 'deploying', 'stopped', 'succeeded', 'failed'],
  draining: ['superseded', 'stopped', 'active'],
  superseded: [],
  stopped: [],
  succeeded: [],
  failed: [],
  cancelled: [],
};

export function isEnded(status: DeploymentStatus): boolean {
  return DEPLOYMENT_TRANSITIONS[status].length === 0;
}

export function mayBecome(from: DeploymentStatus, to: DeploymentStatus): boolean {
  return DEPLOYMENT_TRANSITIONS[from].includes(to);
}

/** Statuses from which a cancel is accepted: everything before active. */
export function isCancellable(status: DeploymentStatus): boolean {
  return status === 'queued' || status === 'deploying';
}
