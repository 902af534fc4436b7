import type { PullFailure } from '../../docker/order-answer.js';
import { domainOf, parseImageReference } from '../../jobs/image-reference.js';
import type { AttemptFacts, DeploymentFacts, OrderFacts } from './plan-facts.js';
import { imageToPull } from './plan-image.js';
import { after, dockerUnavailable, type Failure, messageOf } from './plan-order.js';
import type { Reason } from './plan-reasons.js';

/** What follows from the latest pull, which has an answer. */
export type Pulled =
  | { readonly kind: 'done' }
  | { readonly kind: 'again'; readonly at: Date; readonly reason: Reason; readonly message: string }
  | ({ readonly kind: 'failed' } & Failure);

/** Pulls that Docker did not answer, or failed for its own reason. Each has Docker's own retries in addition. */
const TRIES = 3;
/** Half a minute of names that do not resolve, or ports without a listener: nearly always a wrong name. */
const UNREACHABLE_TRIES = 5;
const FIRST_PAUSE_SECONDS = 2;
/** A registry's trouble is over in minutes, and a rate limit of pulls recovers gradually. */
const LONGEST_PAUSE_SECONDS = 60;

/** @param tries pulls so far */
export function planPull(attempt: AttemptFacts, deployment: DeploymentFacts, pull: OrderFacts, tries: number): Pulled {
  const answeredAt = pull.answeredAt ?? pull.createdAt;
  if (pull.status === 0) {
    const failure = dockerUnavailable('pull', pull);
    return tries < TRIES ? { kind: 'again', at: answeredAt, ...failure } : { kind: 'failed', ...failure };
  }
  const { pullFailure, retryAfterSeconds = 0 } = pull.answer;
  if (pullFailure === undefined && pull.status === 200) return { kind: 'done' };

  const reason = reasonOf(pull);
  const message = `${imageToPull(deployment)}: ${messageOf(pull)}`;
  const pause = Math.min(FIRST_PAUSE_SECONDS * 2 ** (tries - 1), LONGEST_PAUSE_SECONDS);
  const at = after(answeredAt, Math.max(pause, retryAfterSeconds));
  if (mayTryAgain(reason, tries) && at < endOf(attempt, deployment)) return { kind: 'again', at, reason, message };
  const count = tries > 1 ? ` (${tries} tries)` : '';
  return { kind: 'failed', reason, message: `${message}${count}${remedyOf(reason, deployment)}` };
}

/** Given also where a role may not pull from ECR: a stored login for the host is used first. */
function remedyOf(reason: Reason, { image }: DeploymentFacts): string {
  if (reason !== 'image-unauthorized') return '';
  return `. PUT /v1/registries/${domainOf(parseImageReference(image).name)} stores a login for it`;
}

/** Docker answers 500 when the registry refuses before there is any progress to report. */
function reasonOf({ status, answer }: OrderFacts): Reason {
  const reason = REASON_OF[answer.pullFailure ?? 'other'];
  return status === 404 && reason === 'image-pull-failed' ? 'image-not-found' : reason;
}

const REASON_OF: Readonly<Record<PullFailure, Reason>> = {
  'not-found': 'image-not-found',
  unauthorized: 'image-unauthorized',
  busy: 'registry-busy',
  unreachable: 'registry-unreachable',
  other: 'image-pull-failed',
};

function mayTryAgain(reason: Reason, tries: number): boolean {
  if (reason === 'registry-busy') return true;
  if (reason === 'registry-unreachable') return tries < UNREACHABLE_TRIES;
  return reason === 'image-pull-failed' && tries < TRIES;
}

/** The deadline of the deployment; of an active one, that of this attempt. */
function endOf(attempt: AttemptFacts, { deadlineAt, definition }: DeploymentFacts): Date {
  return deadlineAt ?? after(attempt.assignedAt ?? attempt.createdAt, definition.rollout.deadlineSeconds);
}
