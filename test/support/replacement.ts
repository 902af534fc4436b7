import { statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { whyNoCompose } from './compose.ts';
import { findHelloEngine, HELLO_IMAGE } from './hello-image.ts';
import { type Answered, type Kind, toOutcome } from './load.ts';
import { COUNTING, followNumbers, jobsOf, servicesOf, untilState, watchContainers } from './rehearsal-jobs.ts';
import { ownUserData } from './rehearsal-place.ts';
import { type Answer, type Rehearsal, startRehearsal } from './rehearsal.ts';
import { describeWhen } from './when.ts';
import { until } from '../../local/until.ts';

const MINUTES = 60_000;
const JOBS = ['web', 'other'];

const { isReady, whyNot } = await findHelloEngine();
const reason = whyNoCompose() ?? (isReady ? undefined : whyNot);

export type Users = {
  /** They call in these kinds until `stop`, which resolves with all their answers. */
  start(kinds: readonly Kind[]): { stop(): Promise<Answered[]> };
  check(what: string, answers: readonly Answered[]): void;
};

/**
 * Replacing the API's instance, for real except what only AWS has: user data in two "instances" that share the host's
 * Docker engine, the compose stack of this checkout, Postgres's data on a volume that is handed over, agents (the real
 * script) that look the API's name up again at every poll, and containers that serve meanwhile. The user data are the
 * rehearsal's own here; in test/rehearsal/up.spec.ts Terraform's.
 */
export function rehearseReplacement(name: string, users: Users): void {
  describeWhen(reason === undefined, reason ?? '', name, () => tests(users));
}

function tests(users: Users): void {
  let aws: Rehearsal;
  let jobs: ReturnType<typeof jobsOf>;
  let first: string;
  let second: string;
  /** A test that failed leaves none behind. */
  const running: { stop(): Promise<unknown> }[] = [];
  const untilItsEnd = <T extends { stop(): Promise<unknown> }>(one: T): T => {
    running.push(one);
    return one;
  };
  afterEach(async () => {
    await Promise.all(running.splice(0).map(async (one) => await one.stop()));
  }, 2 * MINUTES);
  beforeAll(async () => {
    aws = await startRehearsal();
    jobs = jobsOf(aws);
  }, 10 * MINUTES);
  afterAll(() => aws.dispose(), 3 * MINUTES);

  it(
    'a first instance gets everything from S3, starts the stack and deploys',
    async () => {
      first = await launch();
      await untilState(aws, first, 'serving', 10 * MINUTES);
      expect(await servicesOf(aws, first)).toEqual(['nginx', 'postgres', 'scheduler']);
      expect(statSync(join(aws.work, first, 'stack/app/.env')).mode & 0o777).toBe(0o600);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(first));
      expect(aws.publicAddress()).toBe(await aws.addressOf(first));
      await jobs.create('web');
      await jobs.create('other', COUNTING);
      for (const name of JOBS) expect(await jobs.settled(name, 1)).toMatchObject({ status: 'active', attempt: 1 });
    },
    12 * MINUTES,
  );

  it(
    'gets the volume back from a second one that cannot serve, and serves the same jobs',
    async () => {
      const before = await jobs.everything(JOBS);
      const load = untilItsEnd(putOnUsers());
      const containers = untilItsEnd(watchContainers(before));

      // There the metadata service listens: Postgres and the API start, nginx does not.
      const broken = await launch({ HTTP_PORT: String(aws.port) });
      await untilState(aws, broken, 'failed in boot', 10 * MINUTES);
      await until(() => aws.log(first).includes('the successor gave the data volume back'), MINUTES);
      await untilState(aws, first, 'serving', 2 * MINUTES);

      users.check('replacing it in vain', await load.stop());
      expect(await containers.stop()).toEqual([]);
      expect(await servicesOf(aws, broken)).toEqual([]);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(first));
      expect(await jobs.everything(JOBS)).toEqual({ ...before, launched: [...before.launched, [broken]] });
      await aws.terminate(broken);
    },
    15 * MINUTES,
  );

  it(
    'hands the volume to one that can, while users call: nothing is lost, and agents and containers go on',
    async () => {
      const before = await jobs.everything(JOBS);
      const load = untilItsEnd(putOnUsers());
      const containers = untilItsEnd(watchContainers(before));
      const follower = untilItsEnd(followNumbers(aws, 'other'));
      await follower.more(10);

      second = await launch();
      await until(() => aws.log(second).includes(`waiting for the data volume of ${first}`), 10 * MINUTES);
      await jobs.create('late', { rollout: { stableSeconds: 5, drainSeconds: 1 } });
      await untilState(aws, second, 'serving', 10 * MINUTES);
      const served = new Date();
      // Agents that got no answer come back within their longest pause, 22 s.
      await until(async () => (await jobs.lastSeen(before)).every((seen) => seen > served), MINUTES);
      const late = await jobs.settled('late', 1);
      await follower.more(10);

      users.check('replacing the API’s instance', await load.stop());
      // What was acknowledged is there.
      expect(Number((await jobs.job('web')).env['WRITTEN'])).toBeGreaterThanOrEqual(load.acknowledged());
      expect(await containers.stop()).toEqual([]);
      await follower.stop();
      expect(follower.returns()).toBeGreaterThan(0);
      expect(follower.numbers).toEqual(follower.numbers.map((_, index) => (follower.numbers[0] ?? 0) + index));
      const asked = new RegExp(`^(\\S+) ${second} asks for the data volume$`, 'm').exec(aws.log(first))?.[1] ?? '';
      expect(late).toMatchObject({ status: 'active', attempt: 1 });
      expect(new Date(late.createdAt) < new Date(asked)).toBe(true);
      expect(new Date(late.activeAt ?? 0) > new Date(asked)).toBe(true);

      await untilState(aws, first, `released to ${second}`, MINUTES);
      expect(await servicesOf(aws, first)).toEqual([]);
      expect(await servicesOf(aws, second)).toEqual(['nginx', 'postgres', 'scheduler']);
      expect(await aws.apiAddress()).toBe(await aws.addressOf(second));
      expect(aws.publicAddress()).toBe(await aws.addressOf(second));
      expect(aws.log(second)).not.toContain('formatting');
      // Calls, instances, attempts, containers with their start, agents with their process.
      const launched = [...before.launched, [second], [late.instance?.id]];
      expect(await jobs.everything(JOBS)).toEqual({ ...before, launched });
    },
    15 * MINUTES,
  );

  it(
    'deploys as before, with the first instance gone',
    async () => {
      await aws.terminate(first);
      const old = (await jobs.job('web')).instance?.id;
      expect((await aws.ask('POST', '/v1/jobs/web/deployments', { image: HELLO_IMAGE })).status).toBe(202);
      expect(await jobs.settled('web', 2)).toMatchObject({ status: 'active', attempt: 1 });
      // The agent from before the hand-over carries out orders: its container ends in order, then its instance.
      await until(async () => (await aws.calls('TerminateInstances')).some((ids) => ids.includes(old ?? '')), MINUTES);
      expect(await jobs.settled('web', 1)).toMatchObject({ status: 'superseded', attempt: 1 });
      expect(await aws.state(second)).toBe('serving');
    },
    4 * MINUTES,
  );

  const launch = async (settings: Record<string, string> = {}): Promise<string> =>
    await aws.launch(gzipSync(ownUserData(settings)));

  /** What people, dashboards and pipelines call of an API, up to 50 times a second. */
  function putOnUsers() {
    let [written, acknowledged] = [0, 0];
    const get = (name: string, perSecond: number, path: string) => ({
      name,
      perSecond,
      call: async () => toOutcome(await aws.ask('GET', path)),
    });
    const write = async (): Promise<Answer> => {
      written += 1;
      const number = written;
      const answer = await aws.ask('PATCH', '/v1/jobs/web', { env: { WRITTEN: String(number) } });
      if (answer.status === 200) acknowledged = Math.max(acknowledged, number);
      return answer;
    };
    const load = users.start([
      get('read', 28, '/v1/jobs/web'),
      get('list', 15, '/v1/jobs'),
      get('history', 6, '/v1/jobs/web/deployments'),
      { name: 'write', perSecond: 1, call: async () => toOutcome(await write()) },
    ]);
    return { ...load, acknowledged: () => acknowledged };
  }
}
