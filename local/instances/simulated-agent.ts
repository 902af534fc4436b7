import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentDisk, AgentWorld, Order } from './agent-world.ts';
import { BackOff } from './back-off.ts';
import { DeadMan } from './dead-man.ts';
import { CurlError, httpRequest, type HttpAnswer, type HttpRequest } from './agent-http.ts';
import { lastBytes, milliseconds, naturalNumber, readDockerCall, readStreamCall } from './order-headers.ts';
import { ship } from './log-shipping.ts';

/** What the agent script does, in this process: the same protocol, word for word. Resolves when the signal is aborted. */
export async function runSimulatedAgent(world: AgentWorld): Promise<void> {
  try {
    await new SimulatedAgent(world).main();
  } catch (error) {
    if (!world.signal.aborted) throw error;
  }
}

const PROBE_URL = /^http:\/\/[A-Za-z0-9/._~%?&=:,+@-]+$/;
// setTimeout fires at once above this.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

class SimulatedAgent {
  readonly #world: AgentWorld;
  readonly #disk: AgentDisk;
  readonly #deadMan: DeadMan;
  #imdsToken: string | undefined;

  constructor(world: AgentWorld) {
    this.#world = world;
    this.#disk = world.disk;
    this.#deadMan = new DeadMan(world);
  }

  async main(): Promise<void> {
    this.#deadMan.arm();
    this.#disk.token ??= randomBytes(32).toString('hex');
    const backOff = new BackOff(this.#world.signal);
    while (!this.#disk.isRegistered && !(await this.#register())) await backOff.sleep();
    for (const number of [...this.#disk.orders.keys()].sort((a, b) => a - b)) {
      const order = this.#disk.orders.get(number);
      if (order !== undefined) await this.#start(order);
    }
    await this.#pollForEver();
  }

  async #register(): Promise<boolean> {
    const { launchSecret, say } = this.#world;
    const documents = [];
    for (const name of ['document', 'signature']) {
      const answer = await this.#imds(`dynamic/instance-identity/${name}`);
      if (answer?.status !== 200) {
        say(`no identity ${name}: the metadata service answers ${answer?.status ?? '000'}`);
        return false;
      }
      documents.push(answer.body.toString());
    }
    const [document = '', signature = ''] = documents;
    const address = await this.#imds('meta-data/public-ipv4');
    const publicIp = address?.status === 200 ? address.body.toString() : '';
    const form = {
      document,
      signature,
      secret: launchSecret,
      token: this.#disk.token ?? '',
      publicIp,
      agent: '3',
      after: `${this.#disk.after}`,
    };
    const status = await this.#api('/register', {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(form).toString(),
      timeoutMs: 30_000,
    }).then(
      ({ status }) => status,
      () => 0,
    );
    say(`registration: ${status}`);
    if (status === 204) this.#disk.isRegistered = true;
    return status === 204;
  }

  async #pollForEver(): Promise<void> {
    const backOff = new BackOff(this.#world.signal);
    let quick = 0;
    for (;;) {
      const begunAt = performance.now();
      const authorization = this.#authorization();
      const answer = await this.#api(`/orders?after=${this.#disk.after}`, {
        headers: authorization,
        timeoutMs: 40_000,
      }).catch(() => undefined);
      await this.#pass();
      if (answer?.status === 200 || answer?.status === 204) this.#deadMan.renew();
      if (answer?.status === 200) {
        await this.#world.beforeOrder?.();
        await this.#pass();
        const order = this.#take(answer);
        if (order === undefined) {
          this.#world.say('an order that makes no sense');
          await backOff.sleep();
        } else {
          backOff.reset();
          await this.#start(order);
        }
      } else if (answer?.status === 204) {
        backOff.reset();
        quick = performance.now() - begunAt < 1000 ? quick + 1 : 0;
        if (quick >= 20) await sleep(1000, undefined, { signal: this.#world.signal });
      } else if (answer?.status === 401 && (await this.#register())) {
        backOff.reset();
      } else {
        if (answer?.status === 410) backOff.slowest();
        await backOff.sleep();
      }
    }
  }

  #take({ headers, body }: HttpAnswer): Order | undefined {
    const plain = Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
    );
    const number = naturalNumber(plain['order-number']);
    if (number === undefined || number <= this.#disk.after) return undefined;
    const order = { number, headers: plain, body };
    this.#disk.orders.set(number, order);
    this.#disk.after = number;
    return order;
  }

  async #start(order: Order): Promise<void> {
    const kind = order.headers['order-kind'] ?? '';
    if (order.hasBegun && order.result === undefined) {
      this.#refuse(order, 'unknown: the agent ended while it carried this out');
    }
    if (order.result !== undefined) this.#background(this.#sendForEver(order));
    else if (kind === 'probe') {
      const before = this.#disk.probe;
      this.#disk.probe = order.number;
      if (before !== undefined && before !== order.number) this.#disk.orders.delete(before);
      this.#background(this.#followProbe(order));
    } else if (kind === 'logs' || kind === 'stream') this.#background(this.#ship(order));
    else if (kind === 'watch-spot') this.#background(this.#watchSpot(order));
    else if (order.headers['order-mode'] === 'background') this.#background(this.#carryOut(order, kind));
    else await this.#carryOut(order, kind);
  }

  async #carryOut(order: Order, kind: string): Promise<void> {
    const once = order.headers['order-once'] ?? '';
    if (once !== '' && once !== 'yes') {
      this.#refuse(order, 'malformed Order-Once');
      this.#background(this.#sendForEver(order));
      return;
    }
    order.hasBegun = once === 'yes';
    if (kind === 'docker') await this.#callDocker(order);
    else if (kind === 'dead-man') {
      const minutes = naturalNumber(order.headers['dead-man-minutes']);
      if (minutes === undefined) this.#refuse(order, 'malformed Dead-Man-Minutes');
      else {
        this.#disk.renews = order.headers['dead-man-renews'] === 'yes';
        this.#deadMan.set(minutes);
        this.#result(order, { status: 200 });
      }
    } else if (kind === 'shutdown') {
      this.#result(order, { status: 200 });
      await this.#send(order);
      this.#world.shutdown('-h', 'now');
    } else this.#refuse(order, 'unknown order kind');
    this.#background(this.#sendForEver(order));
  }

  async #callDocker(order: Order): Promise<void> {
    const call = readDockerCall(order.headers);
    if (typeof call === 'string') {
      this.#refuse(order, call);
      return;
    }
    // eslint-disable-next-line @typescript-eslint/no-unused-vars -- the simulated engine reads JSON, whatever it is called
    const { seconds, maxBytes, type, ...request } = call;
    const tooLate = new AbortController();
    const signal = AbortSignal.any([this.#world.signal, tooLate.signal]);
    const timer = setTimeout(() => tooLate.abort(), Math.min(seconds * 1000, LONGEST_TIMER_MS));
    const aborted = new Promise<undefined>((resolve) => {
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    const work = this.#world.engine({ ...request, body: order.body, signal }).catch(() => undefined);
    const answer = await Promise.race([work, aborted]);
    clearTimeout(timer);
    await this.#pass();
    if (answer === undefined) this.#result(order, { status: 0, error: `curl ${signal.aborted ? 28 : 7}` });
    else this.#result(order, { status: answer.status, body: lastBytes(answer.body, maxBytes) });
  }

  async #followProbe(order: Order): Promise<void> {
    const { headers, number } = order;
    const url = PROBE_URL.test(headers['probe-url'] ?? '') ? headers['probe-url'] : undefined;
    const [intervalMs, timeoutMs] = [milliseconds(headers['probe-interval']), milliseconds(headers['probe-timeout'])];
    const [retries, grace] = [naturalNumber(headers['probe-retries']), naturalNumber(headers['probe-start-period'])];
    if (!url || intervalMs === undefined || timeoutMs === undefined || retries === undefined || grace === undefined) {
      this.#refuse(order, 'malformed probe');
      return this.#sendForEver(order);
    }
    const { signal, say } = this.#world;
    const backOff = new BackOff(signal);
    let graceEnds = performance.now() + grace * 1000;
    let state = '';
    let reported = '';
    let failures = 0;
    while (this.#disk.probe === number) {
      const { status, detail } = await this.#probe(url, timeoutMs);
      await this.#pass();
      if (status >= 200 && status < 400) {
        state = 'healthy';
        failures = graceEnds = 0;
      } else failures = performance.now() < graceEnds ? 0 : failures + 1;
      if (failures > 0 && failures >= retries) state = 'unhealthy';
      if (state !== reported) {
        const post = { headers: { 'result-status': String(status), 'probe-state': state }, body: Buffer.from(detail) };
        if (!(await this.#post(number, post))) {
          await backOff.sleep();
          continue;
        }
        reported = state;
        backOff.reset();
        say(`probe: ${state}, ${detail}`);
      }
      await sleep(intervalMs, undefined, { signal });
    }
  }

  async #probe(url: string, timeoutMs: number): Promise<{ status: number; detail: string }> {
    const target = new URL(url);
    target.port = String(this.#world.portOf(Number(target.port || 80)));
    try {
      const { status } = await httpRequest(target.href, { timeoutMs, signal: this.#world.signal, isSingleUse: true });
      return { status, detail: `HTTP ${status}` };
    } catch (error) {
      const code = error instanceof CurlError ? error.code : 56;
      const why = code === 7 ? 'connection refused' : code === 28 ? 'timed out' : 'failed';
      return { status: 0, detail: `${why} (curl ${code})` };
    }
  }

  async #ship(order: Order): Promise<void> {
    const { number } = order;
    const { engine, signal } = this.#world;
    const { streams, orders } = this.#disk;
    const kind = order.headers['order-kind'] ?? '';
    const call = readStreamCall(order.headers);
    if (typeof call === 'string') {
      this.#refuse(order, call);
      return this.#sendForEver(order);
    }
    const { name, type, ...request } = call;
    const before = orders.get(streams.get(name) ?? 0);
    if (before?.since !== undefined) order.since ??= before.since;
    streams.set(name, number);
    const outcome = await ship(order, {
      ...request,
      sinceHeader: `${kind}-since`,
      engine,
      signal,
      isCurrent: () => streams.get(name) === number,
      pass: () => this.#pass(),
      upload: (query, body) =>
        this.#api(`/orders/${number}/${kind}?${query}`, {
          method: 'POST',
          headers: { ...this.#authorization(), 'content-type': type },
          body,
          timeoutMs: 60_000,
          isSingleUse: true,
        }),
    });
    if (!outcome) {
      orders.delete(number);
      return;
    }
    this.#result(order, outcome);
    return this.#sendForEver(order);
  }

  async #watchSpot(order: Order): Promise<void> {
    for (;;) {
      const answer = await this.#imds('meta-data/spot/instance-action');
      if (answer?.status === 200) {
        this.#result(order, { status: 200, body: answer.body });
        return this.#sendForEver(order);
      }
      await sleep(5000, undefined, { signal: this.#world.signal });
    }
  }

  #refuse(order: Order, why: string): void {
    this.#result(order, { status: 0, error: why, body: Buffer.from(`${why}\n`) });
  }

  #result(order: Order, { status, error, body }: { status: number; error?: string; body?: Buffer }): void {
    this.#world.say(`order ${order.number}, ${order.headers['order-kind'] ?? ''}: ${status} ${error ?? ''}`);
    const headers = { 'result-status': String(status), ...(error !== undefined && { 'result-error': error }) };
    order.result = { headers, body: body ?? Buffer.alloc(0) };
  }

  async #sendForEver(order: Order): Promise<void> {
    const backOff = new BackOff(this.#world.signal);
    while (this.#disk.orders.has(order.number) && !(await this.#send(order))) await backOff.sleep();
  }

  async #send(order: Order): Promise<boolean> {
    if (order.result === undefined || !(await this.#post(order.number, order.result))) return false;
    this.#disk.orders.delete(order.number);
    return true;
  }

  /** True when nothing is left to send: stored, or refused for good. */
  async #post(number: number, { headers, body }: { headers: Record<string, string>; body: Buffer }): Promise<boolean> {
    const type = { 'content-type': 'application/octet-stream' };
    const answer = await this.#api(`/orders/${number}/result`, {
      method: 'POST',
      headers: { ...this.#authorization(), ...headers, ...type },
      body,
      timeoutMs: 30_000,
    }).catch(() => undefined);
    return [204, 404, 409, 410].includes(answer?.status ?? 0);
  }

  async #api(path: string, request: ApiRequest): Promise<HttpAnswer> {
    await this.#pass();
    const { apiUrl, pins, signal, uplink } = this.#world;
    const isRepeatable = typeof request.body !== 'object' || Buffer.isBuffer(request.body);
    const send = () => httpRequest(`${apiUrl}/agent/v1${path}`, { ...request, pins, signal });
    return uplink.send(send, signal, isRepeatable);
  }

  /** IMDSv2; the token is requested once, and again when it has expired. */
  async #imds(path: string): Promise<HttpAnswer | undefined> {
    const { metadataEndpoint, signal } = this.#world;
    await this.#pass();
    const base = `${metadataEndpoint}/latest`;
    const limits = { timeoutMs: 5000, signal };
    try {
      if (this.#imdsToken === undefined) {
        const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '21600' };
        const { status, body } = await httpRequest(`${base}/api/token`, { method: 'PUT', headers, ...limits });
        if (status !== 200) return undefined;
        this.#imdsToken = body.toString();
      }
      const answer = await httpRequest(`${base}/${path}`, {
        headers: { 'x-aws-ec2-metadata-token': this.#imdsToken },
        ...limits,
      });
      if (answer.status === 401) this.#imdsToken = undefined;
      return answer;
    } catch {
      return undefined;
    }
  }

  #authorization(): Record<string, string> {
    return { authorization: `Bearer ${this.#disk.token ?? ''}` };
  }

  /** Waits until the guest is not frozen. @throws when the machine went down */
  async #pass(): Promise<void> {
    await this.#world.gate.pass();
    this.#world.signal.throwIfAborted();
  }

  #background(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.#world.signal.aborted) this.#world.say(`simulated agent: ${String(error)}`);
    });
  }
}

type ApiRequest = Omit<HttpRequest, 'signal'>;
