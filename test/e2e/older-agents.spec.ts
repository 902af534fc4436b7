import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCurl } from '../../local/instances/testing/agents-under-test.ts';
import { type Deployment, type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { createScriptRuntime } from '../support/script-runtime.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

// Instances live longer than API versions: each script we ever gave out works with the API of today.
const FOLDER = join(import.meta.dirname, '../agents');
const OLDER = readdirSync(FOLDER).sort();

describeWhen(hasCurl(), 'this machine has no curl', 'an older agent', () => {
  let stack: Stack;
  let script = '';

  beforeAll(async () => {
    const runtime = createScriptRuntime((userData) => withScript(userData, script));
    stack = await startStack({ runtime, cloud: { quotas: 'none' } });
  }, 60_000);
  afterAll(() => stack.stop(), 60_000);

  const job = () => stack.call<Job>('GET', '/v1/jobs/web');
  const deployment = (number: number) => stack.call<Deployment>('GET', `/v1/jobs/web/deployments/${number}`);

  it.each(OLDER)(
    '%s serves, is healed, replaced and ended, with what logs it can ship',
    async (name) => {
      script = readFileSync(join(FOLDER, name), 'utf8');
      const ships = name !== 'agent-v1.sh';
      await stack.call('POST', '/v1/jobs', { name: 'web', image: 'hello-web:1', ...WEB });
      expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active', attempt: 1 });
      const first = (await job()).instance?.id ?? '';
      const answers = () =>
        stack.query<{ purpose: string; status: number }>(
          `SELECT purpose, result_status AS status FROM orders WHERE instance_id = $1 AND kind = 'logs' ORDER BY number`,
          [first],
        );
      if (!ships) await until(async () => (await answers())[0]?.status === 0);

      await stack.call('POST', '/v1/jobs/web/deployments', { image: 'hello-web:2' });
      expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
      await until(async () => (await deployment(1)).status === 'superseded');
      expect(await answers()).toEqual([
        // One that follows is answered when Docker refuses only: the flush takes its place.
        { purpose: 'follow-logs', status: ships ? null : 0 },
        { purpose: 'flush-logs', status: ships ? 200 : 0 },
      ]);
      await until(() => stack.cloud.instance(first)?.state === 'terminated');

      const second = (await job()).instance?.id ?? '';
      stack.cloud.faults.kill(second, 'hand');
      await until(async () => {
        const { status, instance } = await job();
        return status === 'running' && instance !== null && instance.id !== second;
      });
      expect((await deployment(2)).attempt).toBe(2);
      await stack.call('POST', '/v1/jobs/web/deployments', { image: 'sim/exit:3' });
      expect(await settled(stack, 'web', 3)).toMatchObject({
        status: 'failed',
        reason: 'container-exited',
        exitCode: 3,
      });
      await remove(stack, 'web');
      const complete = await stack.query(`SELECT id FROM attempts WHERE logs_complete_at IS NOT NULL`);
      expect(complete.length > 0).toBe(ships);
    },
    // 33 s alone, but more than 120 where two other workers use both cores (2026-12-02): most of it is processes that start.
    300_000,
  );
});

/** The user-data of an instance that was launched when this script was ours. */
function withScript(userData: string, script: string): string {
  return userData.replace(
    /(<<'END_OF_AGENT_SCRIPT'\n)[\s\S]*(\nEND_OF_AGENT_SCRIPT\n)/,
    (_, begin: string, end: string) => `${begin}${script.trimEnd()}${end}`,
  );
}
