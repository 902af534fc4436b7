import { setTimeout as sleep } from 'node:timers/promises';
import type { Deployment, Job } from '../client/index.js';
import { answerOf, findAnswer } from './answers.js';
import { shown } from './duration.js';
import { eventsOf } from './event-stream.js';
import type { Exit } from './exit-codes.js';
import { Failure } from './failure.js';
import { type Goal, isReached, outcomeOf } from './outcome.js';
import type { Session } from './session.js';
import { progressOf, whyLines } from './views.js';

export type Watch = { readonly goal: Goal; readonly timeoutSeconds: number };
export type DeploymentName = { readonly job: string; readonly number: number };

/** As long as the API parks a request. */
const LONGEST_POLL_SECONDS = 60;
/** Events show when to look; this is for changes without one, like why it waits. */
const LOOK_EVERY_MS = 5_000;

/** Waits, shows the progress meanwhile, and prints the outcome. @throws Failure unless it went well */
export async function awaitOutcome(session: Session, name: DeploymentName, watch: Watch): Promise<void> {
  const begun = performance.now();
  const deployment = await withProgress(session, name, () => waitFor(session, name, watch));
  printOutcome(session, deployment, outcomeOf(deployment, watch.goal), performance.now() - begun);
}

/** The deployment once it reached the goal, or as it is when the time is over. */
export async function waitFor(
  session: Session,
  name: DeploymentName,
  { goal, timeoutSeconds }: Watch,
): Promise<Deployment> {
  const deadline = performance.now() + timeoutSeconds * 1_000;
  for (;;) {
    const query = { wait: pollSeconds(deadline), until: goal };
    const deployment = await answerOf(
      session.scheduler.deployments.get({ path: { name: name.job, number: name.number }, query }),
    );
    if (isReached(deployment, goal) || query.wait === 0) return deployment;
  }
}

/** Until nothing of a stopped job runs, not even what was draining. @throws Failure when the time is over, or it is started */
export async function untilStopped(session: Session, name: string, timeoutSeconds: number): Promise<void> {
  const deadline = performance.now() + timeoutSeconds * 1_000;
  for (;;) {
    const query = { wait: pollSeconds(deadline), until: 'stopped' } as const;
    const job = await answerOf(session.scheduler.jobs.get({ path: { name }, query }));
    if (job.desiredState !== 'stopped')
      throw new Failure('conflict', `${name} was stopped, and is wanted ${job.desiredState} since`);
    if (WITHOUT_INSTANCE.includes(job.status)) return;
    if (query.wait === 0) throw timedOut(`${name} is still ${job.status}`);
  }
}
const WITHOUT_INSTANCE: readonly Job['status'][] = ['stopped', 'idle', 'failed', 'succeeded'];

/** Until a deleted job is gone. @throws Failure when the time is over */
export async function untilGone(session: Session, name: string, timeoutSeconds: number): Promise<void> {
  const deadline = performance.now() + timeoutSeconds * 1_000;
  for (;;) {
    const wait = pollSeconds(deadline);
    const job = await findAnswer(session.scheduler.jobs.get({ path: { name }, query: { wait, until: 'gone' } }));
    if (job === undefined) return;
    if (wait === 0) throw timedOut(`${name} is still ${job.status}`);
  }
}

function pollSeconds(deadline: number): number {
  const left = Math.ceil((deadline - performance.now()) / 1_000);
  return Math.min(Math.max(left, 0), LONGEST_POLL_SECONDS);
}

function timedOut(message: string): Failure {
  return new Failure('timed-out', message, { details: ['what was begun goes on'] });
}

async function withProgress<T>(session: Session, name: DeploymentName, wait: () => Promise<T>): Promise<T> {
  const done = new AbortController();
  const looking = session.isQuiet
    ? undefined
    : showProgress(session, name, AbortSignal.any([done.signal, session.signal]));
  try {
    return await wait();
  } catch (error) {
    if (session.signal.aborted) session.terminal.note(goesOn(name));
    throw error;
  } finally {
    done.abort();
    await looking;
  }
}

/** A line whenever something changed. It is only for the eye: the wait reports what goes wrong. */
async function showProgress(session: Session, name: DeploymentName, signal: AbortSignal): Promise<void> {
  const { scheduler, terminal } = session;
  const begun = performance.now();
  const events = listen({ ...session, signal }, name);
  let last = '';
  while (!signal.aborted) {
    const changed = events.next();
    const { data } = await scheduler.deployments.get({ path: { name: name.job, number: name.number }, signal });
    const line = data === undefined || isReached(data, 'settled') ? last : progressOf(data);
    if (line !== last) terminal.note(`${shown(performance.now() - begun).padStart(6)}  ${line}`);
    last = line;
    await Promise.race([changed, sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined)]);
  }
  await events.ended;
}

/** `next` resolves with the next event of the deployment; without a stream of them, never. */
function listen(
  session: Session,
  { job, number }: DeploymentName,
): { next: () => Promise<void>; ended: Promise<void> } {
  let heard = Promise.withResolvers<undefined>();
  const read = async (): Promise<void> => {
    const events = eventsOf(session, { path: '/v1/events', query: { job, deployment: number } });
    while (!(await events.next()).done) heard.resolve(undefined);
  };
  return {
    next: async () => {
      heard = Promise.withResolvers<undefined>();
      await heard.promise;
    },
    ended: read().catch(() => undefined),
  };
}

function printOutcome({ terminal, isJson }: Session, deployment: Deployment, outcome: Exit, tookMs: number): void {
  const name = `${deployment.job} #${deployment.number}`;
  if (isJson) terminal.json(deployment);
  if (outcome === 'ok') {
    const where = deployment.instance ? ` on ${deployment.instance.id}` : '';
    const again = deployment.copiedFrom === null ? '' : `, again what #${deployment.copiedFrom} ran`;
    const status = terminal.style('green', deployment.status);
    if (!isJson) terminal.out(`${name} ${status}${where} after ${shown(tookMs)}${again}`);
    return;
  }
  const isOver = outcome !== 'timed-out';
  const message = isOver ? `${name} ${deployment.status}` : `${name} is still ${progressOf(deployment)}`;
  throw new Failure(outcome, message, { details: isOver ? whyLines(deployment) : [goesOn(deployment)] });
}

function goesOn({ job, number }: DeploymentName): string {
  return `${job} #${number} goes on: scheduler wait ${job} ${number}`;
}
