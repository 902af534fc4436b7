import { hash } from 'node:crypto';
import { isIPv6 } from 'node:net';

/** A person does not mistype twenty different tokens in a minute. */
const MOST_GUESSES = 20;
const WINDOW_MS = 60_000;
/** Some 10 MB at the worst, when that many addresses each guess all they may. */
const MOST_ADDRESSES = 10_000;

type Guesses = { readonly endsAtMs: number; readonly tokens: Set<string> };

/**
 * Wrong tokens by client address. The same wrong token again is no new guess: a client left with a revoked one must not
 * shut out the others behind its NAT. In memory and per process, so a cluster of n processes allows n times as many.
 */
export class FailedAttempts {
  readonly #guesses = new Map<string, Guesses>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Seconds for which a wrong token of this address is answered with 429; 0 = none. */
  secondsToWait(address: string): number {
    const guesses = this.#find(networkOf(address));
    return guesses && guesses.tokens.size >= MOST_GUESSES ? Math.ceil((guesses.endsAtMs - this.now()) / 1000) : 0;
  }

  /** Whether it was wrong a moment ago, and needs no query again. */
  isKnown(address: string, token: string): boolean {
    return this.#find(networkOf(address))?.tokens.has(keyOf(token)) ?? false;
  }

  /** @returns whether this was the last guess the address had */
  note(address: string, token: string): boolean {
    const network = networkOf(address);
    const guesses = this.#find(network) ?? { endsAtMs: this.now() + WINDOW_MS, tokens: new Set() };
    guesses.tokens.add(keyOf(token));
    this.#guesses.set(network, guesses);
    if (this.#guesses.size > MOST_ADDRESSES) this.#dropOldest();
    return guesses.tokens.size === MOST_GUESSES;
  }

  /** Addresses remembered. */
  get size(): number {
    return this.#guesses.size;
  }

  #find(network: string): Guesses | undefined {
    const guesses = this.#guesses.get(network);
    if (!guesses || guesses.endsAtMs > this.now()) return guesses;
    this.#guesses.delete(network);
    return undefined;
  }

  #dropOldest(): void {
    const [oldest = ''] = this.#guesses.keys();
    this.#guesses.delete(oldest);
  }
}

/** One client controls a whole /64 of IPv6 addresses; an IPv4 address is one, also where IPv6 carries it. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  // An end that `::` is at is one of the groups of zeros.
  const [head = [], tail = []] = address
    .replace(/%.*/, '')
    .split('::')
    .map((part) => part.split(':'));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail]
    .slice(0, 4)
    .map((group) => Number.parseInt(`0${group}`, 16).toString(16))
    .join(':');
}

/** Enough to tell guesses apart; the token itself is not kept. */
function keyOf(token: string): string {
  return hash('sha256', token, 'base64').slice(0, 16);
}
