/** Every type of event there is: what it is about, and what happened to that. */
export const EVENT_TYPES = [
  'job.created',
  'job.changed',
  'job.stop-requested',
  'job.delete-requested',
  'job.deleted',
  'job.degraded',
  'job.recovered',
  'deployment.created',
  'deployment.cancel-requested',
  'deployment.deploying',
  'deployment.active',
  'deployment.draining',
  'deployment.superseded',
  'deployment.stopped',
  'deployment.succeeded',
  'deployment.failed',
  'deployment.cancelled',
  'attempt.waiting',
  'attempt.assigned',
  'attempt.pulling',
  'attempt.starting',
  'attempt.healthy',
  'attempt.unrouting',
  'attempt.stopping',
  'attempt.ended',
  'route.switched',
  'route.cleared',
  'route.hosts-changed',
  'instance.launched',
  'instance.registered',
  'instance.quarantined',
  'instance.adopted',
  'instance.retiring',
  'instance.terminated',
  'instance.gone',
  'snapshot.completed',
  'snapshot.failed',
  'snapshot.deleted',
  'token.created',
  'token.revoked',
  'registry.set',
  'registry.deleted',
  'webhook.created',
  'webhook.changed',
  'webhook.secret-rotated',
  'webhook.pinged',
  'webhook.redelivered',
  'webhook.disabled',
  'webhook.deleted',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** What only an admin may read elsewhere. */
const ADMIN_ONLY = /^(token|registry|webhook)\./;

/** SQL. @param type of an event */
export function isForAdminsSql(type: string): string {
  return `(${type} ~ '${ADMIN_ONLY.source}')`;
}

/** @param pattern a type, all of a kind as `deployment.*`, or `*` */
export function typesLike(pattern: string): EventType[] {
  if (pattern === '*') return [...EVENT_TYPES];
  const kind = pattern.endsWith('.*') ? pattern.slice(0, -1) : undefined;
  return EVENT_TYPES.filter((type) => type === pattern || (kind !== undefined && type.startsWith(kind)));
}

/** Of some types, or of all (null), those that a caller may see; null = all. */
export function visibleTypes(types: readonly EventType[] | null, isAdmin: boolean): readonly EventType[] | null {
  if (isAdmin) return types;
  return (types ?? EVENT_TYPES).filter((type) => !ADMIN_ONLY.test(type));
}
