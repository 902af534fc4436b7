import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { whyNoCompose } from '../support/compose.js';
import { until } from '../support/lifecycle.js';
import { type Rehearsal, startRehearsal } from '../support/rehearsal.js';
import { describeWhen } from '../support/when.js';

// Replacing the API's instance, for real but for what only AWS has: Terraform's user data in two "instances" that share the
// host's Docker engine, the compose stack of this checkout, Postgres's data on a volume that is handed over, agents (the
// real script) that look the API's name up again at every poll, and containers that serve meanwhile.
const HELLO = process.env['HELLO_TAG'] ?? 'hello-web:1';
const MINUTES = 60_000;
const JOBS = ['web', 'other'];

type Job = { status: string; activeDeployment: number; endpoints: string[]; instance: { id: string } | null };
type Deployment = { number: number; status: string; attempt: number; instance: { id: string } | null };
type Instance = { id: string; lastSeenAt: string | null };

const reason = whyNoCompose() ?? whyNoHello();

describeWhen(reason === undefined, reason ?? '', 'replacing the API’s instance', () => {
  let aws: Rehearsal;
  let first: string;
  let second: string;
  beforeAll(async () => void (aws = await startRehearsal()), 10 * MINUTES);
  afterAll(() => aws.dispose(), 3 * MINUTES);

  it(
    'a first instance gets everything from S3, starts the stack and deploys',
    async () => {
      first = await aws.launch();
      await untilState(first, 'serving', 10 * MINUTES);
      expect(await services(first)).toEqual(['nginx', 'postgres', 'scheduler']);
      expect(statSync(join(aws.work, first, 'stack/app/.env')).mode & 0o777).toBe(0o600);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(first));
      for (const name of JOBS) await create(name);
      for (const name of JOBS) expect(await settled(name, 1)).toMatchObject({ status: 'active', attempt: 1 });
    },
    12 * MINUTES,
  );

  it(
    'gets the volume back from a second one that cannot serve, and serves the same jobs',
    async () => {
      const before = await everything();
      const api = aws.watch('/v1/jobs/web');
      const containers = watchContainers(before);

      // There the metadata service listens: Postgres and the API start, nginx does not.
      const broken = await aws.launch({ HTTP_PORT: String(aws.port) });
      await untilState(broken, 'failed in boot', 10 * MINUTES);
      await until(() => aws.log(first).includes('the successor gave the data volume back'), MINUTES);
      await untilState(first, 'serving', 2 * MINUTES);

      report('replacing it in vain', await api.stop());
      expect(await containers.stop()).toEqual([]);
      expect(await services(broken)).toEqual([]);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(first));
      expect(await everything()).toEqual({ ...before, launched: [...before.launched, [broken]] });
      await aws.terminate(broken);
    },
    15 * MINUTES,
  );

  it(
    'hands the volume to one that can, which serves the same jobs; agents and containers go on',
    async () => {
      const before = await everything();
      const api = aws.watch('/v1/jobs/web');
      const containers = watchContainers(before);

      second = await aws.launch();
      await untilState(second, 'serving', 10 * MINUTES);
      const served = new Date();
      // Agents that met nobody come back within their longest pause, 22 s.
      await until(async () => (await lastSeen(before)).every((seen) => seen > served), MINUTES);

      report('replacing the API’s instance', await api.stop());
      expect(await containers.stop()).toEqual([]);

      await untilState(first, `released to ${second}`, MINUTES);
      expect(await services(first)).toEqual([]);
      expect(await services(second)).toEqual(['nginx', 'postgres', 'scheduler']);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(second));
      expect(aws.log(second)).not.toContain('formatting');
      // Calls, instances, attempts, containers with their start, agents with their process.
      expect(await everything()).toEqual({ ...before, launched: [...before.launched, [second]] });
    },
    15 * MINUTES,
  );

  it(
    'deploys as before, with the first instance gone',
    async () => {
      await aws.terminate(first);
      const old = (await job('web')).instance?.id;
      expect((await aws.ask('POST', '/v1/jobs/web/deployments', { image: HELLO })).status).toBe(202);
      expect(await settled('web', 2)).toMatchObject({ status: 'active', attempt: 1 });
      // The agent from before the hand-over obeys: its container ends in order, then its instance.
      await until(async () => (await aws.calls('TerminateInstances')).some((ids) => ids.includes(old ?? '')), MINUTES);
      expect(await settled('web', 1)).toMatchObject({ status: 'superseded', attempt: 1 });
      expect(await aws.state(second)).toBe('serving');
    },
    4 * MINUTES,
  );

  /** One outage of seconds it must be, in one piece. */
  function report(what: string, outages: { from: number; to: number }[]): void {
    expect(outages).toHaveLength(1);
    const seconds = outages.map(({ from, to }) => (to - from) / 1000)[0] ?? Infinity;
    process.stdout.write(`${what}: ${seconds.toFixed(1)} s of API downtime\n`);
    expect(seconds).toBeLessThan(90);
  }

  async function create(name: string): Promise<void> {
    const { status, text } = await aws.ask('POST', '/v1/jobs', {
      name,
      image: HELLO,
      ports: [{ container: 8080, host: 8080 }],
      health: { path: '/', port: 8080, intervalSeconds: 1 },
      rollout: { stableSeconds: 1, drainSeconds: 1, stopGraceSeconds: 5 },
    });
    expect({ status, text }).toMatchObject({ status: 201 });
  }

  async function everything() {
    const jobs = await Promise.all(
      JOBS.map(async (name) => {
        const { status, activeDeployment, endpoints, instance } = await job(name);
        const id = instance?.id ?? '';
        const { attempt } = await read<Deployment>(`/v1/jobs/${name}/deployments/1`);
        const [containers, agent] = [await aws.jobContainers(id), await aws.agent(id)];
        return { name, status, activeDeployment, endpoints, id, attempt, containers, agent };
      }),
    );
    return { jobs, launched: await aws.calls('RunInstances'), terminated: await aws.calls('TerminateInstances') };
  }

  /** Asks the jobs' containers themselves. @returns what was not answered */
  function watchContainers({ jobs }: Awaited<ReturnType<typeof everything>>): { stop(): Promise<string[]> } {
    const urls = jobs.flatMap(({ endpoints }) => endpoints.slice(0, 1));
    expect(urls).toHaveLength(JOBS.length);
    const failures: string[] = [];
    const over = new AbortController();
    const watching = (async () => {
      while (!over.signal.aborted) {
        for (const url of urls) {
          const failure = await fetch(url, { signal: AbortSignal.timeout(10_000) }).then(
            ({ ok, status, body }) => body?.cancel().then(() => (ok ? undefined : `${status}`)),
            String,
          );
          if (failure !== undefined) failures.push(`${url}: ${failure}`);
        }
        await new Promise((done) => setTimeout(done, 200));
      }
    })();
    return {
      stop: async () => {
        over.abort();
        await watching;
        return failures;
      },
    };
  }

  async function lastSeen({ jobs }: Awaited<ReturnType<typeof everything>>): Promise<Date[]> {
    const { items } = await read<{ items: Instance[] }>('/v1/instances');
    return jobs.map(({ id }) => new Date(items.find((instance) => instance.id === id)?.lastSeenAt ?? 0));
  }

  async function services(id: string): Promise<string[]> {
    return (await aws.stackOf(id)).map((name) => /[_-]([a-z]+)[_-]1$/.exec(name)?.[1] ?? name).sort();
  }

  const job = async (name: string): Promise<Job> => await read<Job>(`/v1/jobs/${name}`);
  const settled = async (name: string, number: number): Promise<Deployment> =>
    await read<Deployment>(`/v1/jobs/${name}/deployments/${number}?wait=60&until=settled`);

  async function read<T>(path: string): Promise<T> {
    const { status, text } = await aws.ask('GET', path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`);
    return JSON.parse(text) as T;
  }

  async function untilState(id: string, wanted: string, patienceMs: number): Promise<void> {
    let state = '';
    const hasEnded = async (): Promise<boolean> => {
      state = await aws.state(id);
      return state.startsWith(wanted) || state.startsWith('failed');
    };
    await until(hasEnded, patienceMs).catch(() => undefined);
    if (!state.startsWith(wanted)) throw new Error(`${id} is "${state}" and not "${wanted}":\n${logOf(id)}`);
  }

  function logOf(id: string): string {
    const file = join(aws.work, id, 'stack/boot.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '(no log)';
  }
});

/** Built where the base image can be pulled; elsewhere a stand-in of this tag must have been made. */
function whyNoHello(): string | undefined {
  const has = spawnSync('docker', ['image', 'inspect', HELLO], { stdio: 'ignore' }).status === 0;
  const folder = join(import.meta.dirname, 'hello-web');
  if (has || spawnSync('docker', ['build', '-q', '-t', HELLO, folder], { timeout: 300_000 }).status === 0)
    return undefined;
  return `the engine has no image ${HELLO}`;
}
