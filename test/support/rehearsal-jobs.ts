import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HELLO_IMAGE } from './hello-image.ts';
import { EventSource } from './event-source.ts';
import type { Answer, Rehearsal } from './rehearsal.ts';
import { repeat } from './repeat.ts';
import { until } from '../../local/until.ts';

const MINUTES = 60_000;
const PAUSE_MS = 200;
const PROGRAM = `
  let n = 0;
  setInterval(() => console.log('n ' + (n += 1)), 100);
  require('node:http').createServer((request, response) => response.end('{}')).listen(8080);
  process.on('SIGTERM', () => process.exit(0));`;
/** Definition of a job that prints numbers, and answers. */
export const COUNTING = { command: ['node', '-e', PROGRAM] };

export type Job = {
  status: string;
  activeDeployment: number;
  instance: { id: string; privateIp: string } | null;
  env: Record<string, string>;
};
export type Deployment = {
  number: number;
  status: string;
  attempt: number;
  instance: { id: string } | null;
  createdAt: string;
  activeAt: string | null;
};
type Instance = { id: string; lastSeenAt: string | null };
export type Ask = (method: string, path: string, body?: object) => Promise<Answer>;
type Everything = {
  jobs: { name: string; privateIp: string; id: string }[];
  launched: string[][];
  terminated: string[][];
};

/** What the specs of a rehearsal do with jobs, as users of the API do it. */
export function jobsOf(aws: Rehearsal, ask: Ask = aws.ask) {
  const read = async <T>(path: string): Promise<T> => {
    const { status, text } = await untilNotBusy(async () => await ask('GET', path));
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`);
    return JSON.parse(text) as T;
  };
  const job = async (name: string): Promise<Job> => await read<Job>(`/v1/jobs/${name}`);
  return {
    job,
    create: async (name: string, definition: object = {}): Promise<void> => {
      const { status, text } = await ask('POST', '/v1/jobs', {
        name,
        image: HELLO_IMAGE,
        ports: [{ container: 8080, host: 8080 }],
        health: { path: '/', port: 8080, intervalSeconds: 1 },
        rollout: { stableSeconds: 1, drainSeconds: 1, stopGraceSeconds: 5 },
        ...definition,
      });
      if (status !== 201) throw new Error(`POST ${name}: ${status} ${text}`);
    },
    settled: async (name: string, number: number): Promise<Deployment> =>
      await read<Deployment>(`/v1/jobs/${name}/deployments/${number}?wait=60&until=settled`),
    /** Of these jobs, with their containers and agents: what no replacement of the API may change. */
    everything: async (names: readonly string[]): Promise<Everything> => ({
      jobs: await Promise.all(
        names.map(async (name) => {
          const { status, activeDeployment, instance } = await job(name);
          const { id, privateIp } = instance ?? { id: '', privateIp: '' };
          const { attempt } = await read<Deployment>(`/v1/jobs/${name}/deployments/1`);
          const [containers, agent] = [await aws.jobContainers(id), await aws.agent(id)];
          return { name, status, activeDeployment, privateIp, id, attempt, containers, agent };
        }),
      ),
      launched: await aws.calls('RunInstances'),
      terminated: await aws.calls('TerminateInstances'),
    }),
    lastSeen: async ({ jobs }: Everything): Promise<Date[]> => {
      const { items } = await read<{ items: Instance[] }>('/v1/instances');
      return jobs.map(({ id }) => new Date(items.find((instance) => instance.id === id)?.lastSeenAt ?? 0));
    },
  };
}

/** Repeats what a full API rejects a second later, as its answer says; for a minute at most. */
async function untilNotBusy(call: () => Promise<Answer>): Promise<Answer> {
  const end = Date.now() + MINUTES;
  for (;;) {
    const answer = await call();
    if (![429, 503].includes(answer.status) || Date.now() > end) return answer;
    await new Promise((done) => setTimeout(done, 1000));
  }
}

/** Calls the jobs' containers themselves, whose addresses are of loopback. @returns what was not answered */
export function watchContainers({ jobs }: Everything): { stop(): Promise<string[]> } {
  const urls = jobs.map(({ privateIp }) => `http://${privateIp}:8080/`);
  const failures: string[] = [];
  const watching = repeat(async () => {
    for (const url of urls) {
      const failure = await fetch(url, { signal: AbortSignal.timeout(10_000) }).then(
        ({ ok, status, body }) => body?.cancel().then(() => (ok ? undefined : `${status}`)),
        String,
      );
      if (failure !== undefined) failures.push(`${url}: ${failure}`);
    }
  }, PAUSE_MS);
  return { stop: () => watching.stop().then(() => failures) };
}

export type Follower = {
  /** Numbers of the lines, in the order in which they came. */
  readonly numbers: readonly number[];
  /** How often it had to come again. */
  returns(): number;
  /** Resolves once so many more lines came. */
  more(count: number): Promise<void>;
  stop(): Promise<void>;
};

/** Follows what a counting job prints, and comes again with the last id it got, as clients of event streams do. */
export function followNumbers(aws: Rehearsal, job: string): Follower {
  const numbers: number[] = [];
  let returns = -1;
  let source: EventSource | undefined;
  let last: string | undefined;
  const following = repeat(async () => {
    const { place } = aws;
    const headers = { authorization: `Bearer ${place.adminToken}`, host: place.apiName };
    const url = `http://${aws.publicAddress() ?? ''}/v1/jobs/${job}/logs?follow=true&tail=0`;
    try {
      source = await EventSource.open(url, { headers, ...(last !== undefined && { lastEventId: last }) });
      returns += 1;
      for (let event = await source.next(); event; event = await source.next()) {
        if (event.event !== 'line') continue;
        numbers.push(Number(/^n (\d+)$/.exec((JSON.parse(event.data) as { text: string }).text)?.[1]));
        last = event.id ?? last;
      }
    } catch {
      // Broken off, or no answer: it tries again.
    }
  }, PAUSE_MS);
  return {
    numbers,
    returns: () => returns,
    more: async (count) => {
      const wanted = numbers.length + count;
      await until(() => numbers.length >= wanted, MINUTES);
    },
    stop: async () => {
      const stopped = following.stop();
      source?.close();
      await stopped;
    },
  };
}

/** Services of an instance's stack that run. */
export async function servicesOf(aws: Rehearsal, id: string): Promise<string[]> {
  return (await aws.stackOf(id)).map((name) => /[_-]([a-z]+)[_-]1$/.exec(name)?.[1] ?? name).sort();
}

/** @throws Error with the log when it ends otherwise */
export async function untilState(aws: Rehearsal, id: string, wanted: string, patienceMs: number): Promise<void> {
  let state = '';
  const hasEnded = async (): Promise<boolean> => {
    state = await aws.state(id);
    return state.startsWith(wanted) || state.startsWith('failed');
  };
  await until(hasEnded, patienceMs).catch(() => undefined);
  if (state.startsWith(wanted)) return;
  const file = join(aws.work, id, 'stack/boot.log');
  throw new Error(
    `${id} is "${state}" and not "${wanted}":\n${existsSync(file) ? readFileSync(file, 'utf8') : '(no log)'}`,
  );
}
