import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { hasCurl } from '../../local/instances/testing/agents-under-test.ts';
import { alive, type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { printedBy } from '../support/printed.ts';
import { createScriptRuntime } from '../support/script-runtime.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

// Counted lines from a container to the API, whatever breaks on the way.
const PRINTS = { name: 'counter', image: 'sim/print:50', ...WEB };

for (const [name, isPossible, createRuntime] of [
  ['the simulated agent', true, createSimulatedRuntime],
  ['agent.sh', hasCurl(), createScriptRuntime],
] as const) {
  describeWhen(isPossible, 'this machine has no curl', `what a container prints, by ${name}`, () => {
    let stack: Stack;

    beforeAll(async () => {
      stack = await startStack({ runtime: createRuntime(), cloud: { quotas: 'none' } });
    }, 60_000);
    afterEach(() => remove(stack, 'counter'), 60_000);
    afterAll(() => stack.stop(), 60_000);

    const hasPrinted = async (number: number) =>
      await until(async () => (await printedBy(stack, 'counter')).includes(`line ${number}`));
    const counted = async () => {
      const lines = await printedBy(stack, 'counter');
      const numbers = lines.slice(1, -1);
      expect(numbers).toEqual(numbers.map((_, index) => `line ${index + 1}`));
      expect([lines[0], lines.at(-1)]).toEqual(['listening', 'bye']);
      // A follower learns that nothing more comes.
      expect(await printedBy(stack, 'counter', { deployment: '1', follow: 'true' })).toEqual(lines);
      return numbers.length;
    };

    it('is there to the last line, each once and in order, though API and agent are killed meanwhile', async () => {
      await stack.call('POST', '/v1/jobs', PRINTS);
      await settled(stack, 'counter', 1);
      const { instance } = await stack.call<Job>('GET', '/v1/jobs/counter');
      await hasPrinted(100);
      await stack.kill(0, 'SIGKILL');
      await stack.restart(0);
      await hasPrinted(400);
      await stack.cloud.faults.killAgent(instance?.id ?? '');
      await hasPrinted(700);
      await stack.kill(0, 'SIGTERM');
      await stack.restart(0);
      await hasPrinted(1000);
      await stack.call('POST', '/v1/jobs/counter/stop');
      await until(() => alive(stack).length === 0);
      expect(await counted()).toBeGreaterThanOrEqual(1000);
      const complete = await stack.query(`SELECT number FROM attempts WHERE logs_complete_at IS NOT NULL`);
      expect(complete).toEqual([{ number: 1 }]);
    }, 180_000);

    it('is there when its container fails at once, too, and its instance is gone', async () => {
      await stack.call('POST', '/v1/jobs', { ...PRINTS, image: 'sim/exit:3' });
      expect(await settled(stack, 'counter', 1)).toMatchObject({ status: 'failed', reason: 'container-exited' });
      await until(() => alive(stack).length === 0);
      expect(await printedBy(stack, 'counter')).toEqual(['sim: exits 3 after 0 ms', 'sim: exit 3']);
    }, 60_000);

    it('is there to a last line without a newline: crashed and started again, superseded, stopped, failed', async () => {
      const words = 'panic: caf\u00e9\r';
      // To the last byte of Docker's buffer: only the end of the log tells that no more of the line comes.
      const long = 'x'.repeat(16_384);
      const deploy = (image: string, env: Record<string, string>) =>
        stack.call('POST', '/v1/jobs/counter/deployments', { image, env });
      const linesOf = async (deployment: number, stream: string) =>
        (await printedBy(stack, 'counter', { deployment: String(deployment), stream })).map((line) =>
          line === long ? '(long)' : line,
        );

      const env = { LAST_WORDS: words, EXIT_AFTER: '4', EXIT_CODE: '3' };
      await stack.call('POST', '/v1/jobs', { ...PRINTS, image: 'hello-web:1', env });
      await settled(stack, 'counter', 1);
      await until(async () => (await linesOf(1, 'stdout')).filter((line) => line === 'listening').length > 1);
      await deploy('hello-web:1', { LAST_WORDS: long, EXIT_AFTER: '3600' });
      expect(await settled(stack, 'counter', 2)).toMatchObject({ status: 'active' });
      await until(() => alive(stack).length === 1);
      await stack.call('POST', '/v1/jobs/counter/stop');
      await until(() => alive(stack).length === 0);
      await deploy('sim/exit:3', { LAST_WORDS: long });
      expect(await settled(stack, 'counter', 3)).toMatchObject({ status: 'failed' });
      await until(() => alive(stack).length === 0);

      const said = words.slice(0, -1);
      // Not joined with what the program said when Docker started it again.
      expect((await linesOf(1, 'stdout')).join()).toMatch(
        new RegExp(`^listening,${said}(,listening(,bye)?,${said})+$`),
      );
      expect((await linesOf(1, 'stderr')).slice(0, 2)).toEqual(['sim: exit 3', said]);
      expect(await linesOf(2, 'stdout')).toEqual(['listening', 'bye', '(long)']);
      expect(await linesOf(2, 'stderr')).toEqual(['(long)']);
      expect(await linesOf(3, 'stdout')).toEqual(['sim: exits 3 after 0 ms', '(long)']);
      expect(await linesOf(3, 'stderr')).toEqual(['sim: exit 3', '(long)']);
    }, 120_000);
  });
}
