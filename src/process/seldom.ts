const EVERY_MS = 1_000;

/**
 * For what anybody can bring about as often as they like: of each kind it is told once a second, with how many were not
 * told before. A flood must not roll away the log it stands in. Kinds come from the code or a short list, never from outside.
 */
export class Seldom {
  readonly #told = new Map<string, { untilMs: number; untold: number }>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @param tell gets the number of the same kind that were not told since the last that was */
  tell(kind: string, tell: (untold: number) => void): void {
    const told = this.#told.get(kind);
    const now = this.now();
    if (told && now < told.untilMs) {
      told.untold += 1;
      return;
    }
    this.#told.set(kind, { untilMs: now + EVERY_MS, untold: 0 });
    tell(told?.untold ?? 0);
  }
}
