const EVERY_MS = 1_000;

/**
 * For events that any client can cause as often as it likes: each kind is logged once a second, with how many were not
 * logged before. A flood must not fill the log. Kinds come from the code or a short list, never from outside.
 */
export class LogThrottle {
  readonly #logged = new Map<string, { untilMs: number; unlogged: number }>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @param log gets the number of the same kind that were not logged since the last that was */
  log(kind: string, log: (unlogged: number) => void): void {
    const logged = this.#logged.get(kind);
    const now = this.now();
    if (logged && now < logged.untilMs) {
      logged.unlogged += 1;
      return;
    }
    this.#logged.set(kind, { untilMs: now + EVERY_MS, unlogged: 0 });
    log(logged?.unlogged ?? 0);
  }
}
