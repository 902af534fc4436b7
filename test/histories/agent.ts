import { goodBody, goodStatus } from '../support/planner-world.ts';
import type { OrderRow } from './rows.ts';
import type { Weather } from './weather.ts';

/** What an agent needs of the world around it. */
export type AgentHost = {
  readonly weather: () => Weather;
  readonly nowMs: () => number;
  /** As long as its instance runs. */
  after(ms: number, happen: () => void): void;
  /** Whether our API can be reached from there now. */
  isHeard(): boolean;
  /** @returns whether no further try to register is needed */
  register(): boolean;
  deliver(order: OrderRow, answer: Answer): void;
  shutDown(): void;
};

export type Answer = {
  readonly status: number;
  readonly body: Uint8Array;
  readonly probeState?: 'healthy' | 'unhealthy';
};

type ContainerState = 'created' | 'running' | 'restarting' | 'exited';

const BOOT_DEAD_MAN_MS = 15 * 60_000;
const RETRY_MS = 5_000;
const RESTART_MS = 2_000;
const SLOW_EXIT_MS = 20_000;
const POLL_MS = 25_000;
const NOTICE_MS = 120_000;

/** The agent of one instance and its Docker: carries out orders, keeps what it cannot deliver, and ends itself when forgotten. */
export class ModelAgent {
  isRegistered = false;
  container: { attemptId: string; state: ContainerState; isKeptUp: boolean } | null = null;
  /** Every container it ever had an order to create: never those of two attempts. */
  readonly attemptIds = new Set<string>();
  private readonly taken = new Set<OrderRow>();
  private readonly waits: OrderRow[] = [];
  private probe: OrderRow | null = null;
  private probeAnswer: Answer | null = null;
  private spotWatch: OrderRow | null = null;
  private deadMan = { fromMs: 0 };

  constructor(private readonly host: AgentHost) {}

  boot(): void {
    this.arm(BOOT_DEAD_MAN_MS);
    this.tryRegister();
  }

  /** New orders, or a way to us again. Orders are repeated until answered, so none is lost. */
  poll(orders: readonly OrderRow[]): void {
    if (!this.isRegistered || !this.host.isHeard() || this.host.weather().agents === 'take-nothing') return;
    for (const order of orders) {
      if (this.taken.has(order)) continue;
      this.taken.add(order);
      order.takenAt ??= new Date(this.host.nowMs());
      this.carryOut(order);
    }
  }

  /** @param isByHand Docker does not start again what somebody stopped */
  exit(isByHand = false): void {
    const { container } = this;
    if (container?.state !== 'running') return;
    const isRestarted = container.isKeptUp && !isByHand;
    container.state = isRestarted ? 'restarting' : 'exited';
    this.tellProbe('unhealthy');
    for (const wait of this.waits.splice(0)) this.answer(wait, 200, '{"StatusCode":1}');
    if (!isRestarted) return;
    this.host.after(RESTART_MS, () => {
      if (container.state === 'restarting') this.run();
    });
  }

  /** Its health check turns. */
  turn(state: 'healthy' | 'unhealthy'): void {
    if (this.container?.state === 'running') this.tellProbe(state);
  }

  noticeSpot(): void {
    if (this.spotWatch) this.answer(this.spotWatch, 200, '{"action":"terminate"}');
    this.spotWatch = null;
  }

  private takeBack(): void {
    if (!this.spotWatch) return;
    this.noticeSpot();
    this.host.after(NOTICE_MS, () => this.host.shutDown());
  }

  private tryRegister(): void {
    if (this.host.isHeard() && this.host.register()) return;
    this.host.after(RETRY_MS, () => this.tryRegister());
  }

  private carryOut(order: OrderRow): void {
    const { spec, purpose } = order;
    if (spec.kind === 'dead-man') {
      this.arm(spec.minutes > 0 ? spec.minutes * 60_000 : Infinity, spec.renews);
      return this.answer(order);
    }
    if (purpose === 'watch-spot') return void (this.spotWatch = order);
    // Answered only when there is no container to follow any more.
    if (purpose === 'follow-logs') return;
    if (purpose === 'probe') return this.startProbe(order);
    this.host.after(this.host.weather().agentMs, () => this.finish(order));
  }

  private finish(order: OrderRow): void {
    const { docker } = this.host.weather();
    const { purpose, attemptId } = order;
    if (docker === 'absent') return this.answer(order, 0, '');
    if (docker === 'refuses') return this.answer(order, 500, '{"message":"no"}');
    if (docker === 'no-image' && purpose === 'pull') return this.answer(order, 404, '{"message":"not found"}');
    if (purpose === 'create') {
      this.attemptIds.add(attemptId);
      this.container ??= { attemptId, state: 'created', isKeptUp: false };
    }
    if (purpose === 'start') this.run();
    if (purpose === 'restart-policy' && this.container) this.container.isKeptUp = true;
    if (purpose === 'restart-policy' && this.host.weather().spot === 'noticed-at-once') this.takeBack();
    if (purpose === 'wait') return this.startWait(order);
    if (purpose === 'inspect-container' || purpose === 'inspect-exit') return this.answer(order, 200, this.describe());
    if (purpose === 'stop') this.stopContainer();
    this.answer(order);
  }

  private run(): void {
    const { container } = this;
    if (!container || container.state === 'running') return;
    container.state = 'running';
    const behaviour = this.host.weather().container;
    if (behaviour === 'exits-at-once') this.host.after(10, () => this.exit());
    if (behaviour === 'exits-after-20s') this.host.after(SLOW_EXIT_MS, () => this.exit());
    this.host.after(1_000, () => this.checkHealth());
  }

  private stopContainer(): void {
    this.exit(true);
    if (this.container?.state === 'restarting') this.container.state = 'exited';
  }

  private describe(): string {
    const state = this.container?.state ?? 'created';
    return JSON.stringify({ Id: 'c', State: { Running: state === 'running' || state === 'restarting' } });
  }

  private startWait(order: OrderRow): void {
    const isNextExit = order.spec.kind === 'docker' && order.spec.path.includes('next-exit');
    if (this.container?.state === 'exited' && !isNextExit) return this.answer(order, 200, '{"StatusCode":1}');
    this.waits.push(order);
  }

  private startProbe(order: OrderRow): void {
    this.probe = order;
    this.host.after(1_000, () => this.checkHealth());
  }

  private checkHealth(): void {
    if (this.container?.state !== 'running') return;
    this.tellProbe(this.host.weather().container === 'unhealthy' ? 'unhealthy' : 'healthy');
  }

  private tellProbe(state: 'healthy' | 'unhealthy'): void {
    const { probe } = this;
    if (!probe) return;
    this.probeAnswer = { status: 0, body: new Uint8Array(), probeState: state };
    this.keepTelling(probe, this.probeAnswer);
  }

  private answer(order: OrderRow, status = goodStatus(order.purpose), body = goodBody(order.purpose)): void {
    this.keepTelling(order, { status, body: new TextEncoder().encode(body) });
  }

  /** Until the API has it; a lost acknowledgement makes it arrive twice. Of a probe only the latest result counts. */
  private keepTelling(order: OrderRow, answer: Answer): void {
    if (answer.probeState && answer !== this.probeAnswer) return;
    if (!this.host.isHeard()) return this.host.after(RETRY_MS, () => this.keepTelling(order, answer));
    this.host.deliver(order, answer);
    if (answer.probeState || !this.host.weather().losesAnswers) return;
    this.host.after(RETRY_MS, () => this.host.deliver(order, answer));
  }

  /** `renews`: each answer of the API starts it over. */
  private arm(ms: number, renews = false): void {
    const armed = { fromMs: this.host.nowMs() };
    this.deadMan = armed;
    if (ms === Infinity) return;
    const check = (): void => {
      if (this.deadMan !== armed) return;
      if (renews && this.host.isHeard()) armed.fromMs = this.host.nowMs();
      if (this.host.nowMs() >= armed.fromMs + ms) this.host.shutDown();
      else this.host.after(renews ? POLL_MS : ms, check);
    };
    this.host.after(renews ? POLL_MS : ms, check);
  }
}
