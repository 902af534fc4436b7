import { openHouse, type House } from '../chaos/house.ts';
import { type AgentProxy, startAgentProxy } from './agent-proxy.ts';
import { lookAround, memoryOf } from './aftermath.ts';
import { createDraw, type Draw } from './draw.ts';
import { checkAnswer, parse } from './check-answer.ts';
import { checkRaw } from './check-raw.ts';
import { makeRequest } from './make-request.ts';
import type { Sources } from './sources.ts';
import { ADMIN_TOKEN, prepare, startAgents } from './prepare.ts';
import { drawRawCase, parseAnswers, sendRaw } from './raw.ts';
import { type FuzzRequest, toCurl } from './request.ts';
import { createSender, type Sender } from './send.ts';
import { shrink } from './shrink.ts';
import { collectionsOf, type Play, playStory } from './stories.ts';
import { type Coverage, coverageOf, type Finding, Tally } from './tally.ts';

export type FuzzOptions = {
  readonly seed: number;
  readonly requests: number;
  /** Senders at once. */
  readonly senders: number;
  /** No new request after so long, however many there were. */
  readonly limitSeconds: number;
  /** For data and logs. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
};

export type FuzzResult = {
  readonly requests: number;
  readonly seconds: number;
  readonly findings: readonly Finding[];
  readonly byStatus: readonly (readonly [string, number])[];
  readonly coverage: readonly Coverage[];
  readonly slowest: string;
  readonly memoryMiB: number | undefined;
  readonly agents: number;
};

/** Under load of others; the API’s own answers take milliseconds. */
const ANSWER_LIMIT_MS = 15_000;

/** Sends random requests to the built service, as a process of its own, and checks every answer. */
export async function runFuzz(options: FuzzOptions): Promise<FuzzResult> {
  const { seed, directory, say } = options;
  const proxy = await startAgentProxy();
  const house = await openHouse({
    directory,
    seed,
    replicas: 1,
    workers: 1,
    env: {
      ADMIN_TOKEN,
      PUBLIC_URL: proxy.url,
      // Senders say by X-Forwarded-For where they are: wrong tokens lock out one address, not the whole run.
      TRUST_PROXY: 'true',
      RATE_LIMIT: '1000000',
      MAX_JOBS: '300',
      MAX_INSTANCES: '40',
      // What is kept for ever is noticed: the process would end.
      NODE_OPTIONS: '--max-old-space-size=256',
    },
  }).catch(async (error: unknown) => {
    await proxy.stop();
    throw error;
  });
  const url = house.replicas[0]?.url ?? '';
  const sender = createSender(url, ANSWER_LIMIT_MS);
  try {
    proxy.forwardTo(url);
    const sources = await prepare(url, proxy, seed);
    await startAgents(url, proxy);
    const run = new Run(url, sources, sender);
    const startedAt = performance.now();
    await run.play(options, house.replicas[0]?.process?.pid);
    const seconds = (performance.now() - startedAt) / 1000;
    say(`${run.tally.requests} requests sent, looking around`);
    const left = await lookAround({ house, operations: sources.document.operations, url, token: ADMIN_TOKEN });
    for (const fault of left.faults) run.tally.find('afterwards', fault, `see ${directory}`);
    return resultOf(run, { seconds, memoryMiB: left.memoryMiB, agents: proxy.tokens.length });
  } finally {
    sender.close();
    await stop(house, proxy);
  }
}

function resultOf({ tally, sources }: Run, others: Pick<FuzzResult, 'seconds' | 'memoryMiB' | 'agents'>): FuzzResult {
  return {
    ...others,
    requests: tally.requests,
    findings: tally.findings,
    byStatus: tally.byStatus(),
    coverage: coverageOf(sources.document, tally),
    slowest: `${tally.slowest} in ${Math.round(tally.slowestMs)} ms`,
  };
}

class Run {
  readonly url: string;
  readonly sources: Sources;
  readonly tally = new Tally();
  readonly #sender: Sender;
  #left = 0;
  #endsAtMs = 0;

  constructor(url: string, sources: Sources, sender: Sender) {
    this.url = url;
    this.sources = sources;
    this.#sender = sender;
  }

  async play(
    { seed, requests, senders, limitSeconds, signal, say }: FuzzOptions,
    pid: number | undefined,
  ): Promise<void> {
    this.#left = requests;
    signal.addEventListener('abort', () => (this.#left = 0));
    this.#endsAtMs = performance.now() + limitSeconds * 1000;
    const progress = setInterval(() => {
      const { requests: sent, findings } = this.tally;
      void memoryOf(pid).then((memory) => say(`${sent} requests, ${findings.length} findings, ${memory ?? '?'} MiB`));
    }, 15_000);
    await Promise.all(Array.from({ length: senders }, (_, index) => this.#playOne(createDraw(seed * 1_000 + index))));
    clearInterval(progress);
  }

  async #playOne(draw: Draw): Promise<void> {
    const { document } = this.sources;
    const collections = collectionsOf(document.operations);
    while (this.#left > 0 && performance.now() < this.#endsAtMs) {
      const what = draw.weigh([
        [90, 'request'],
        [3, 'story'],
        [2, 'raw'],
      ] as const);
      if (what === 'story') {
        const jobs = collections.filter(({ make }) => make.path === '/v1/jobs');
        const collection = draw.pick(draw.chance(0.5) ? jobs : collections);
        await playStory(draw, this.sources, collection, {
          authorization: `Bearer ${ADMIN_TOKEN}`,
          play: (request) => this.#send(draw, request),
        });
      } else if (what === 'raw') await this.#sendRaw(draw);
      else {
        const operation = draw.pick(document.operations);
        const faults = draw.pick([0, 0, 0.03, 0.1, 0.3]);
        await this.#send(draw, makeRequest(draw, this.sources, operation, { faults }));
      }
    }
  }

  async #send(draw: Draw, request: FuzzRequest): ReturnType<Play> {
    this.#left -= 1;
    const { document, known, callers } = this.sources;
    const timed = await this.#sender.send(request, draw);
    this.tally.addTimed(request, timed);
    const { outcome } = timed;
    const fault = checkAnswer(document, request, outcome);
    if (fault !== undefined) await this.#report(draw, request, fault);
    if (!('body' in outcome)) return { status: undefined, body: undefined };
    const body = parse(outcome.body);
    if (request.operation && outcome.status < 300) {
      known.learn(request.operation, body, outcome.headers);
      const token = (body as { token?: unknown } | null)?.token;
      if (typeof token === 'string' && callers.found.length < 20) callers.found.push(token);
    }
    return { status: outcome.status, body };
  }

  async #report(draw: Draw, request: FuzzRequest, fault: string): Promise<void> {
    const where = request.operation?.id ?? 'elsewhere';
    const finding = this.tally.find(where, fault, toCurl(request, this.url));
    if (!finding) return;
    const smallest = await shrink(request, async (candidate) => {
      const { outcome } = await this.#sender.send(candidate, draw);
      return checkAnswer(this.sources.document, candidate, outcome) === fault;
    });
    this.tally.replace(finding, { ...finding, repeat: toCurl(smallest, this.url) });
  }

  async #sendRaw(draw: Draw): Promise<void> {
    this.#left -= 1;
    const wanted = drawRawCase(draw, ADMIN_TOKEN);
    const outcome = await sendRaw(this.url, wanted);
    const [first] = parseAnswers(outcome.bytes).answers;
    this.tally.add('raw', first ? String(first.status) : outcome.isClosed ? 'closed' : 'left open');
    const fault = checkRaw(this.sources.document, wanted, outcome);
    const bytes = Buffer.concat(wanted.steps.filter((step) => Buffer.isBuffer(step)));
    if (fault !== undefined) this.tally.find('raw', `${wanted.name}: ${fault}`, `nc < ${bytes.toString('base64')}`);
  }
}

async function stop(house: House, proxy: AgentProxy): Promise<void> {
  // The agents first: they would call a proxy that is gone.
  await house.stop();
  await proxy.stop();
}
