import { publicText } from './public-text.js';

/** What may be degraded, and its meaning: details that `/health/ready` has only then. */
export const TROUBLES = {
  aws: 'EC2 does not answer, or refuses our calls',
  terminations: 'EC2 does not terminate instances that are to end',
  'log-store': 'the store at LOGS_URI accepts no logs, which stay in Postgres',
  agents: 'agents connect without TLS',
} as const;
export type Trouble = keyof typeof TROUBLES;

/** Enough for the names of what is in trouble, and a message of AWS about one of them. */
const LONGEST_DETAIL = 1_000;

/** Signs of life of the loops of this process, for `/health/ready`. */
export class Heartbeats {
  readonly #loops = new Map<string, { readonly maxAgeMs: number; lastMs: number }>();
  readonly #troubles = new Map<Trouble, string>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(readonly now: () => number = () => performance.now()) {}

  /** From now on the loop `name` must beat at least every `maxAgeMs`, or this process is not ready. */
  expect(name: string, maxAgeMs: number): void {
    this.#loops.set(name, { maxAgeMs, lastMs: this.now() });
  }

  /** The loop ended on purpose. */
  forget(name: string): void {
    this.#loops.delete(name);
  }

  beat(name: string): void {
    const loop = this.#loops.get(name);
    if (loop) loop.lastMs = this.now();
  }

  /** Something outside does not answer as it should: shown as degraded, but this process still serves. */
  degrade(name: Trouble, detail: string): void {
    // The health page is open to everyone, and AWS's words may be in it.
    this.#troubles.set(name, publicText(detail, LONGEST_DETAIL));
  }

  recover(name: Trouble): void {
    this.#troubles.delete(name);
  }

  /** Milliseconds since the last beat of every loop, and whether that is in time. */
  loops(): Record<string, { readonly ageMs: number; readonly isAlive: boolean }> {
    const now = this.now();
    const entries = [...this.#loops].map(([name, { maxAgeMs, lastMs }]) => {
      const ageMs = Math.round(now - lastMs);
      return [name, { ageMs, isAlive: ageMs <= maxAgeMs }] as const;
    });
    return Object.fromEntries(entries);
  }

  troubles(): Record<string, string> {
    return Object.fromEntries(this.#troubles);
  }
}
