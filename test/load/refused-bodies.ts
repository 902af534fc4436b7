// What large bodies without a token cost others: `node test/load/refused-bodies.ts URL TOKEN` against a running API, or
// the nginx before it. Rounds of 1,000 requests of somebody with a token, in quiet and under attack by turns; prints the
// median of their 99th percentiles, and fails when that of the attacked rounds is more than twice the quiet one and 50 ms.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { median } from '../support/median.ts';

const ROUNDS = 5;
const REQUESTS = 1_000;
const EVERY_MS = 10;
const ATTACKS_PER_SECOND = 50;
const BODY = Buffer.from(`{${Array.from({ length: 95_000 }, (_, n) => `"k${n}":0`).join(',')}}`.slice(0, 1_048_575));
const ALLOWED_MS = 50;

const [url, token = ''] = process.argv.slice(2);
if (url === undefined) throw new Error('usage: node test/load/refused-bodies.ts URL TOKEN');
if (process.send) attack(url);
else await measure(url);

async function measure(url: string): Promise<void> {
  await round(url);
  const quiet: number[] = [];
  const attacked: number[] = [];
  for (let n = 1; n <= ROUNDS; n += 1) {
    quiet.push(await round(url));
    const attacker = fork(import.meta.filename, [url]);
    await once(attacker, 'message');
    attacked.push(await round(url));
    const { answers } = await stop(attacker);
    console.log(`round ${n}: p99 ${ms(quiet.at(-1)!)} quiet, ${ms(attacked.at(-1)!)} under attack; answers ${answers}`);
  }
  const allowed = Math.max(2 * median(quiet), ALLOWED_MS);
  console.log(`median p99: ${ms(median(quiet))} quiet, ${ms(median(attacked))} under attack, ${ms(allowed)} allowed`);
  process.exitCode = median(attacked) <= allowed ? 0 : 1;
}

/** @returns the 99th percentile of what the requests took, in milliseconds; they begin at fixed times. */
async function round(url: string): Promise<number> {
  const agent = new Agent({ keepAlive: true });
  const startedAt = performance.now();
  const took = await Promise.all(
    Array.from({ length: REQUESTS }, async (_, n) => {
      await new Promise((done) => setTimeout(done, Math.max(1, startedAt + n * EVERY_MS - performance.now())));
      const sentAt = performance.now();
      const sent = request(`${url}/v1/jobs?limit=1`, { agent, headers: { authorization: `Bearer ${token}` } }).end();
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      if (answer.statusCode !== 200) throw new Error(`somebody with a token was answered ${answer.statusCode}`);
      await once(answer.resume(), 'end');
      return performance.now() - sentAt;
    }),
  );
  agent.destroy();
  return took.sort((a, b) => a - b)[Math.ceil(0.99 * REQUESTS) - 1]!;
}

/** In a process of its own: sends bodies at fixed times, whatever becomes of those before. */
function attack(url: string): void {
  const answers = new Map<string, number>();
  const note = (what: string): void => void answers.set(what, (answers.get(what) ?? 0) + 1);
  const timer = setInterval(() => {
    const headers = { 'content-type': 'application/json', 'content-length': BODY.length };
    const sent = request(`${url}/v1/jobs`, {
      method: 'POST',
      agent: false,
      headers: { ...headers, connection: 'keep-alive' },
    });
    sent.once('response', (answer) => {
      note(String(answer.statusCode));
      answer.resume();
    });
    sent.once('error', ({ message }) => note(message));
    sent.end(BODY);
  }, 1_000 / ATTACKS_PER_SECOND);
  process.once('message', () => {
    clearInterval(timer);
    process.send?.({ answers: JSON.stringify(Object.fromEntries(answers)) }, () => process.exit());
  });
  process.send?.('attacking');
}

async function stop(attacker: ChildProcess): Promise<{ answers: string }> {
  const told = once(attacker, 'message');
  attacker.send('stop');
  const [message] = (await told) as [{ answers: string }];
  return message;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
