import { setTimeout as sleep } from 'node:timers/promises';
import { CurlError, type HttpAnswer } from './agent-http.ts';

/** How long curl tries to connect (agent.sh: --connect-timeout). */
const CONNECT_MS = 10_000;

/**
 * The way from an agent to the scheduler, and what goes wrong on it. A cut is not noticed, as in a network that drops
 * packets: a new request waits for the connection, and an answer that is due meanwhile never comes.
 */
export class Uplink {
  #cut: PromiseWithResolvers<void> | undefined;
  #lost = 0;
  #twice = 0;

  cut(): void {
    this.#cut ??= Promise.withResolvers();
  }

  mend(): void {
    this.#cut?.resolve();
    this.#cut = undefined;
    this.#lost = this.#twice = 0;
  }

  /** The next requests arrive, their answers do not. */
  loseAnswers(times: number): void {
    this.#lost += times;
  }

  /** The next requests arrive twice; the answer to the second one counts. */
  repeat(times: number): void {
    this.#twice += times;
  }

  /** @throws CurlError 28 while it is cut, 56 for a lost answer */
  async send(request: () => Promise<HttpAnswer>, signal: AbortSignal, isRepeatable = true): Promise<HttpAnswer> {
    if (this.#isCut()) await Promise.race([this.#cut?.promise, sleep(CONNECT_MS, undefined, { signal })]);
    if (this.#isCut()) throw new CurlError(28);
    if (isRepeatable && this.#twice > 0) {
      this.#twice -= 1;
      await request();
    }
    const answer = await request();
    if (this.#isCut()) throw new CurlError(28);
    if (this.#lost > 0) {
      this.#lost -= 1;
      throw new CurlError(56);
    }
    return answer;
  }

  #isCut(): boolean {
    return this.#cut !== undefined;
  }
}
