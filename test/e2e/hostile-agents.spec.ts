import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { startHostileAgents, type HostileAgents } from '../support/hostile-agents.ts';
import { settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { median } from '../support/median.ts';
import { until } from '../../local/until.ts';

/** `HOSTILE_AGENTS=20 HOSTILE_ROUNDS=5` measures what the acceptance asks for; `npm test` looks whether anything stands still. */
const AGENTS = Number(process.env['HOSTILE_AGENTS'] ?? 5);
const ROUNDS = Number(process.env['HOSTILE_ROUNDS'] ?? 1);
const DEPLOYMENTS = Number(process.env['HOSTILE_DEPLOYMENTS'] ?? 4);
/** Between two changes of mind of one agent; each is as long as an answer may be, and makes its job due. */
const PAUSE_MS = 500;
const MOST_OVER_QUIET_MS = 200;
const MOST_TIMES_QUIET = 1.25;
/** With few deployments a second more or less is chance: then only what stands still is noticed. */
const isMeasured = ROUNDS > 1;

const LIAR = { ...WEB, image: 'hostile:1', rollout: { ...WEB.rollout, stableSeconds: 600, deadlineSeconds: 3_600 } };
const HONEST = { ...WEB, image: 'hello-web:1' };

describe(`${AGENTS} agents that answer with whatever costs most`, () => {
  let agents: HostileAgents;
  let stack: Stack;
  let count = 0;

  beforeAll(async () => {
    agents = await startHostileAgents();
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      cloud: { quotas: 'none' },
      env: { PUBLIC_URL: agents.url, MAX_LAUNCHES_PER_MINUTE: '1000' },
    });
    agents.forwardTo(stack.url);
    for (let n = 0; n < AGENTS; n++) await stack.call('POST', '/v1/jobs', { name: `liar-${n}`, ...LIAR });
    await until(async () => (await started()) === AGENTS, 120_000);
  }, 240_000);
  afterAll(async () => {
    await stack.stop();
    await agents.stop();
  }, 120_000);

  it(
    'hold up neither passes nor others',
    async () => {
      const quiet: Measured[] = [];
      const attacked: Measured[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        quiet.push(await measure());
        agents.attack(PAUSE_MS);
        // Deployments that begin under attack: their pulls and descriptions are lies from the first answer on.
        for (let n = 0; n < Math.min(AGENTS, 5); n++) {
          await stack.call('POST', '/v1/jobs', { name: `late-${round}-${n}`, ...LIAR });
        }
        attacked.push(await measure());
        agents.rest();
        for (let n = 0; n < Math.min(AGENTS, 5); n++) await stack.call('DELETE', `/v1/jobs/late-${round}-${n}`);
        await until(() => readyIn(5_000), 60_000);
      }
      const report = { agents: agents.agents, mebibytes: Math.round(agents.sentBytes / 1_048_576), quiet, attacked };
      if (isMeasured) process.stderr.write(`${JSON.stringify(report)}\n`);

      expect(agents.agents).toBeGreaterThanOrEqual(AGENTS);
      expect(agents.sentBytes).toBeGreaterThan(1_048_576);
      const overQuiet = median(attacked.map((one) => one.passMs)) - median(quiet.map((one) => one.passMs));
      expect(overQuiet).toBeLessThanOrEqual(MOST_OVER_QUIET_MS);
      const times = median(attacked.map((one) => one.activeMs)) / median(quiet.map((one) => one.activeMs));
      expect(times).toBeLessThanOrEqual(isMeasured ? MOST_TIMES_QUIET : 10);
      expect(stack.logs()).not.toContain('job could not be planned');
      // What they said is kept small, whatever they sent.
      const [kept] = await stack.query<{ answer: number; body: number }>(
        `SELECT max(octet_length(answer::text))::int AS answer, max(octet_length(result_body))::int AS body FROM orders`,
      );
      expect(kept?.answer).toBeLessThan(262_144);
      expect(kept?.body).toBeLessThanOrEqual(262_144);
    },
    (ROUNDS * 120 + 60) * 1000,
  );

  type Measured = { readonly passMs: number; readonly activeMs: number; readonly passes: number };

  /** Of deployments of others, one after the other: how long until active, and how long passes took meanwhile. */
  async function measure(): Promise<Measured> {
    const before = await passes();
    const times: number[] = [];
    for (let n = 0; n < DEPLOYMENTS; n++) {
      const name = `honest-${count++}`;
      const began = performance.now();
      await stack.call('POST', '/v1/jobs', { name, ...HONEST });
      expect(await settled(stack, name, 1, 60_000)).toMatchObject({ status: 'active' });
      times.push(performance.now() - began);
      await stack.call('DELETE', `/v1/jobs/${name}`);
    }
    const after = await passes();
    const counts = after.map(({ le, count: total }, index) => ({ le, count: total - (before[index]?.count ?? 0) }));
    return { passMs: medianOf(counts) * 1000, activeMs: median(times), passes: counts.at(-1)?.count ?? 0 };
  }

  async function passes(): Promise<{ le: number; count: number }[]> {
    const line = /^scheduler_pass_duration_seconds_bucket\{(?=[^}]*pass="job")[^}]*le="([^"]+)"[^}]*\} (\d+)$/gm;
    return [...(await stack.text('/metrics')).matchAll(line)].map(([, le, total]) => ({
      le: le === '+Inf' ? Infinity : Number(le),
      count: Number(total),
    }));
  }

  async function started(): Promise<number> {
    const [row] = await stack.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM attempts WHERE phase = 'healthy'`,
    );
    return row?.count ?? 0;
  }

  async function readyIn(ms: number): Promise<boolean> {
    const began = performance.now();
    return (await stack.status('GET', '/health/ready')) === 200 && performance.now() - began < ms;
  }
});

/** Of a histogram's cumulated counts: within its bucket as if it were spread evenly. */
function medianOf(buckets: readonly { readonly le: number; readonly count: number }[]): number {
  const half = (buckets.at(-1)?.count ?? 0) / 2;
  const index = buckets.findIndex(({ count }) => count >= half);
  const [below, found] = [buckets[index - 1] ?? { le: 0, count: 0 }, buckets[index]];
  if (!found || found.le === Infinity) return below.le;
  const share = found.count === below.count ? 0 : (half - below.count) / (found.count - below.count);
  return below.le + share * (found.le - below.le);
}
