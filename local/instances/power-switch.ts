export type PowerOff = (how: 'halt' | 'reboot') => void;

// setTimeout fires at once above this.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** `shutdown`, `poweroff`, `halt` and `reboot` of one instance: one pending shutdown at a time, the newest counts. */
export class PowerSwitch {
  readonly #powerOff: PowerOff;
  #timer: NodeJS.Timeout | undefined;

  constructor(powerOff: PowerOff) {
    this.#powerOff = powerOff;
  }

  /** @param words a command line, like `shutdown -h +15` */
  command([name, ...args]: readonly string[]): void {
    if (name === 'shutdown') this.#shutdown(args);
    else if (name === 'reboot') this.#after(0, 'reboot');
    else if (name === 'poweroff' || name === 'halt') this.#after(0, 'halt');
  }

  /** The machine is gone, and its timers with it. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #shutdown(args: readonly string[]): void {
    if (args.includes('-c')) {
      this.cancel();
      return;
    }
    // shutdown(8): +m minutes, now = +0, default +1. A time of day is not needed here.
    const time = args.find((arg) => !arg.startsWith('-')) ?? '+1';
    const minutes = time === 'now' ? 0 : /^\+?\d{1,9}$/.test(time) ? Number(time) : 1;
    this.#after(minutes * 60_000, args.includes('-r') ? 'reboot' : 'halt');
  }

  #after(ms: number, how: 'halt' | 'reboot'): void {
    this.cancel();
    this.#timer = setTimeout(() => this.#powerOff(how), Math.min(ms, LONGEST_TIMER_MS));
    this.#timer.unref();
  }
}
