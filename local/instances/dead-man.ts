import type { AgentWorld } from './agent-world.ts';

const RENEW_EVERY_MS = 20_000;

/**
 * The shutdown that ends an instance that has got no order for too long. Its deadline is a time of day, kept on
 * the disk: a reboot must not restart it.
 */
export class DeadMan {
  readonly #world: AgentWorld;

  constructor(world: AgentWorld) {
    this.#world = world;
  }

  /** At the agent's start: for the time that was left, or a quarter of an hour. */
  arm(): void {
    const { minutes, deadline } = this.#world.disk.deadMan ?? { minutes: 15, deadline: 0 };
    if (minutes === 0) return;
    const leftSeconds = (deadline - Date.now()) / 1000;
    if (leftSeconds > 0 && leftSeconds <= minutes * 60) this.#world.shutdown('-h', `+${Math.floor(leftSeconds / 60)}`);
    else this.set(minutes);
  }

  /** @param minutes from now; 0 = never */
  set(minutes: number): void {
    this.#world.disk.deadMan = { minutes, deadline: Date.now() + minutes * 60_000 };
    if (minutes === 0) this.#world.shutdown('-c');
    else this.#world.shutdown('-h', `+${minutes}`);
  }

  /** After an answer of the API, if an order said that answers renew it. */
  renew(): void {
    const { renews, deadMan } = this.#world.disk;
    if (!renews || !deadMan || deadMan.minutes === 0) return;
    const full = Date.now() + deadMan.minutes * 60_000;
    if (deadMan.deadline + RENEW_EVERY_MS < full) this.set(deadMan.minutes);
  }
}
