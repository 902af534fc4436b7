import type { Random } from '../../local/cloud/random.ts';
import { httpRequest } from '../../local/instances/agent-http.ts';
import { INSTANCE_TYPES } from './house.ts';
import { JobHistory, type DeploymentView, type JobView, type Operation, type Outcome } from './history.ts';
import { wait } from './wait.ts';

export type ClientOptions = {
  readonly name: string;
  readonly random: Random;
  readonly urls: readonly string[];
  /** Mean pause between two requests. */
  readonly thinkMs: number;
  /** Its first request comes within so long. */
  readonly startWithinMs: number;
  readonly signal: AbortSignal;
  /** Resolves once every transaction of Postgres that had begun by now has ended; rejects when that takes too long. */
  readonly settled: () => Promise<void>;
  readonly onOutcome: (operation: Operation, outcome: Outcome) => void;
};

type Answer = { readonly outcome: Outcome; readonly status: number; readonly body: unknown };

/** Longer than any pause of a process and any statement: what is not answered by then was never carried out. */
const TIMEOUT_MS = 60_000;
const LOOK_UP_LIMIT_MS = 180_000;
const BAD_IMAGES = ['sim/exit:3', 'sim/unhealthy:1', 'sim/missing:1'];
const IMAGE = 'chaos/web';
const PORT = 8080;

/** Sends requests for one job name, one after the other, until the signal: so their order is known. */
export async function runClient(options: ClientOptions): Promise<JobHistory> {
  const { random, signal } = options;
  const history = new JobHistory(options.name);
  let serial = 0;
  await wait(random.fraction() * options.startWithinMs, signal);
  while (!signal.aborted) {
    serial += 1;
    await ask(options, history, choose(history, random), serial);
    // Some requests follow at once, into whatever the one before has started.
    const isQuick = random.fraction() < 0.3;
    await wait(isQuick ? random.between(0, 3_000) : -Math.log(1 - random.fraction()) * options.thinkMs, signal);
  }
  return history;
}

/** What every job is: quick to replace, so that a run sees many lives. */
export function definition(random: Random) {
  const first = random.between(0, INSTANCE_TYPES.length - 1);
  const second = (first + random.between(1, INSTANCE_TYPES.length - 1)) % INSTANCE_TYPES.length;
  const types = [INSTANCE_TYPES[first], INSTANCE_TYPES[second]];
  const instance = { types, market: random.fraction() < 0.2 ? 'spot' : 'on-demand' };
  return {
    ports: [{ container: PORT, host: PORT }],
    health: { path: '/', port: PORT, intervalSeconds: 1, timeoutSeconds: 1, startPeriodSeconds: 20 },
    rollout: { stableSeconds: 1, drainSeconds: 1, stopGraceSeconds: 2, deadlineSeconds: 300 },
    instance,
  };
}

export function isBadImage(image: string): boolean {
  return BAD_IMAGES.includes(image);
}

function choose(history: JobHistory, random: Random): Operation {
  if (history.wanted === 'gone') return 'create';
  const weights: readonly (readonly [Operation, number])[] =
    history.wanted === 'stopped'
      ? [
          ['start', 5],
          ['deploy', 3],
          ['delete', 2],
        ]
      : [
          ['deploy', 34],
          ['cancel', 14],
          ['rollback', 12],
          ['restart', 10],
          ['stop', 10],
          ['start', 4],
          ['delete', 8],
        ];
  let left = random.fraction() * weights.reduce((sum, [, weight]) => sum + weight, 0);
  return weights.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'deploy';
}

async function ask(options: ClientOptions, history: JobHistory, operation: Operation, serial: number): Promise<void> {
  const { name, random } = options;
  const image = random.fraction() < 0.12 ? pick(BAD_IMAGES, random) : `${IMAGE}:${name}.${serial}`;
  const greeting = `${name}.${serial}`;
  const job = `/v1/jobs/${name}`;
  const settle = async (method: string, path: string, body?: object): Promise<Answer> => {
    const answer = await send(options, method, path, body);
    const problem = (answer.body ?? {}) as { type?: string; code?: string; detail?: string };
    history.note(operation, answer.outcome, `${answer.status} ${codeOf(problem)} ${JSON.stringify(body ?? path)}`);
    options.onOutcome(operation, answer.outcome);
    if (answer.outcome === 'unknown') await lookUp(options, history, operation, image);
    return answer;
  };
  const isDone = ({ outcome }: Answer): boolean => outcome === 'accepted';

  switch (operation) {
    case 'create': {
      const body = { name, image, env: { GREETING: greeting }, ...definition(random) };
      const answer = await settle('POST', '/v1/jobs', body);
      if (isDone(answer)) history.created(answer.body as JobView, image, greeting);
      return;
    }
    case 'deploy': {
      const isPlain = random.fraction() < 0.5;
      const body = isPlain ? { image } : { image, env: { GREETING: greeting } };
      const answer = await settle('POST', `${job}/deployments`, body);
      if (isDone(answer))
        history.deployed(answer.body as DeploymentView, { image, greeting: isPlain ? null : greeting });
      return;
    }
    case 'cancel': {
      const number = Math.max(1, history.lastNumber);
      const answer = await settle('POST', `${job}/deployments/${number}/cancel`);
      if (isDone(answer)) history.cancelled(answer.body as DeploymentView);
      return;
    }
    case 'rollback':
    case 'restart':
    case 'start': {
      const answer = await settle('POST', `${job}/${operation}`, operation === 'rollback' ? {} : undefined);
      if (isDone(answer)) history.deployed(answer.body as DeploymentView, null);
      return;
    }
    case 'stop': {
      if (isDone(await settle('POST', `${job}/stop`))) history.stopped();
      return;
    }
    case 'delete': {
      if (isDone(await settle('DELETE', job))) history.deleted();
      return;
    }
  }
}

/** A request whose connection broke may still be under way in Postgres: only when nothing is can its outcome be read. */
async function lookUp(options: ClientOptions, history: JobHistory, operation: Operation, image: string): Promise<void> {
  const deadline = performance.now() + LOOK_UP_LIMIT_MS;
  const path = `/v1/jobs/${history.name}`;
  while (performance.now() < deadline) {
    try {
      await options.settled();
      const job = await send(options, 'GET', path);
      const deployments = await send(options, 'GET', `${path}/deployments?limit=200`);
      const isThere = job.outcome === 'accepted' && deployments.outcome === 'accepted';
      if (isThere || (job.status === 404 && deployments.status === 404)) {
        const { items } = (deployments.body ?? {}) as { items?: DeploymentView[] };
        history.resolve(operation, image, isThere ? (job.body as JobView) : undefined, items ?? []);
        return;
      }
    } catch {
      // Postgres is away: it comes back.
    }
    await wait(500);
  }
  history.unknown.push(operation);
}

/** To any process that takes the connection, as from behind a load balancer. */
async function send({ urls, random }: ClientOptions, method: string, path: string, body?: object): Promise<Answer> {
  const first = random.between(0, urls.length - 1);
  for (let index = 0; index < urls.length; index += 1) {
    const url = urls[(first + index) % urls.length] ?? '';
    try {
      const { status, body: bytes } = await httpRequest(`${url}${path}`, {
        method,
        ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
        timeoutMs: TIMEOUT_MS,
        signal: NEVER,
        isSingleUse: true,
      });
      const outcome = status < 300 ? 'accepted' : status < 500 ? 'refused' : 'unknown';
      return { outcome, status, body: parse(bytes.toString()) };
    } catch (error) {
      // 7: refused before anything was sent.
      if ((error as { code?: number }).code !== 7) return { outcome: 'unknown', status: 0, body: undefined };
    }
  }
  return { outcome: 'unsent', status: 0, body: undefined };
}

const NEVER = new AbortController().signal;

function codeOf({ type, code }: { type?: string; code?: string }): string {
  return code ?? type?.split(/[/#:]/).at(-1) ?? '';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pick(items: readonly string[], random: Random): string {
  return items[random.between(0, items.length - 1)] ?? '';
}
