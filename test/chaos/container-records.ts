import type { ContainerEvent } from '../../local/instances/simulated-container.ts';

/** A container, by what its labels say of itself. */
export type Ran = {
  readonly instanceId: string;
  readonly image: string;
  readonly greeting: string;
  /** Id of the deployment and number of the attempt: the two together are one attempt. */
  readonly attempt: string;
  readonly job: string;
  /** Number of the deployment. */
  readonly deployment: string;
  readonly startedAtMs: number;
};

/** What ran where, as the instances themselves saw it. */
export class ContainerRecords {
  readonly #started: Ran[] = [];
  readonly #running = new Map<string, Ran>();
  readonly #askedToStopMs = new Map<string, number>();

  add(instanceId: string, { kind, config }: ContainerEvent): void {
    if (kind === 'asked-to-stop') {
      this.#askedToStopMs.set(instanceId, Date.now());
      return;
    }
    if (kind === 'ended') {
      this.#running.delete(instanceId);
      return;
    }
    const { labels, image, env } = config;
    const ran: Ran = {
      instanceId,
      image,
      greeting: env.find((entry) => entry.startsWith('GREETING='))?.slice('GREETING='.length) ?? '',
      attempt: `${labels['scheduler.deployment-id'] ?? '?'}/${labels['scheduler.attempt'] ?? '?'}`,
      job: labels['scheduler.job'] ?? '?',
      deployment: labels['scheduler.deployment'] ?? '?',
      startedAtMs: Date.now(),
    };
    this.#started.push(ran);
    this.#running.set(instanceId, ran);
  }

  /** Every start, restarts included, oldest first. */
  started(): readonly Ran[] {
    return this.#started;
  }

  running(instanceId: string): Ran | undefined {
    return this.#running.get(instanceId);
  }

  /** When its container got SIGTERM, by instance. */
  askedToStopMs(): ReadonlyMap<string, number> {
    return this.#askedToStopMs;
  }
}
