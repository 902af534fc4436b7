import { Resolver } from 'node:dns/promises';

const TIMEOUT_MS = 2_000;
const TRIES = 2;

/** Gives up when the signal aborts. */
export type Resolve = (name: string, signal: AbortSignal) => Promise<readonly string[]>;

/**
 * All addresses DNS has for the name. Resolved by c-ares, not getaddrinfo: that one occupies a thread of the pool for
 * as long as a name server is silent, and with four such names nothing else of this process could look anything up. The
 * price: /etc/hosts is not read.
 * @param servers for tests; default: those of the machine
 * @throws Error when there is none
 */
export function createResolve(servers?: readonly string[]): Resolve {
  return async (name, signal) => {
    const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
    signal.addEventListener('abort', () => resolver.cancel(), { once: true });
    if (servers) resolver.setServers(servers);
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length > 0) return addresses;
    throw new Error(`no address of ${name} was found`, { cause: answers });
  };
}
