import type { Random } from '../../local/cloud/random.ts';
import { FAULT_ACTIONS } from '../chaos/fault-actions.ts';
import type { House } from '../chaos/house.ts';
import { wait } from '../chaos/wait.ts';
import type { Nginx } from '../support/nginx.ts';
import type { Relay } from '../support/relay.ts';

/** An nginx, and what is between it and each process of the API. */
export type Door = { readonly nginx: Nginx; readonly relays: readonly Relay[] };

/** As long as nginx may go by its last answer, less what the lookup before it may have taken (docs/addresses.md). */
const CUT_MS = 20_000;
const PAUSE_MS: readonly [number, number] = [4_000, 12_000];

/** Disturbs one thing after the other, and waits until each is whole again, as addresses promise nothing beyond that. */
export class Disturber {
  readonly counts: Record<string, number> = {};
  readonly #house: House;
  readonly #doors: readonly Door[];
  readonly #random: Random;
  readonly #say: (line: string) => void;
  readonly #ending = new AbortController();
  readonly #work: Promise<void>;

  constructor(house: House, doors: readonly Door[], random: Random, say: (line: string) => void) {
    this.#house = house;
    this.#doors = doors;
    this.#random = random;
    this.#say = say;
    this.#work = this.#run();
  }

  /** Everything is whole. */
  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#work;
  }

  async #run(): Promise<void> {
    const kinds = [
      () => this.#killReplica(),
      () => this.#reload(),
      () => this.#restartPostgres(),
      () => this.#cutOff('refused'),
      () => this.#cutOff('silent'),
    ];
    const { signal } = this.#ending;
    for (let number = 0; ; number += 1) {
      await wait(this.#random.between(...PAUSE_MS), signal);
      if (signal.aborted) return;
      const kind = await kinds[number % kinds.length]?.();
      this.counts[kind ?? ''] = (this.counts[kind ?? ''] ?? 0) + 1;
      await Promise.all(this.#house.replicas.map((replica) => replica.untilReady()));
    }
  }

  async #killReplica(): Promise<string> {
    await FAULT_ACTIONS['replica-killed']({
      ...{ house: this.#house, random: this.#random, wait, onThrottle: () => undefined },
      report: (detail) => this.#say(`kills ${detail}`),
    });
    return 'replicas killed';
  }

  #reload(): Promise<string> {
    this.#say('reloads an nginx');
    this.#pick(this.#doors).nginx.reload();
    return Promise.resolve('reloads of nginx');
  }

  async #restartPostgres(): Promise<string> {
    const how = this.#random.fraction() < 0.5 ? 'fast' : 'crash';
    this.#say(`restarts Postgres (${how})`);
    await this.#house.postgres.restart(how, this.#random.between(0, 8_000));
    return 'restarts of Postgres';
  }

  async #cutOff(how: 'refused' | 'silent'): Promise<string> {
    const { relays } = this.#pick(this.#doors);
    this.#say(`cuts an nginx off (${how})`);
    for (const relay of relays) relay.cut(how);
    await wait(CUT_MS, this.#ending.signal);
    for (const relay of relays) relay.mend();
    return `cuts of ${CUT_MS / 1000} s (${how})`;
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#random.between(0, items.length - 1)];
    if (item === undefined) throw new Error('there is nothing to disturb');
    return item;
  }
}
