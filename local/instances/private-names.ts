/** How containers find jobs by name. */
export type PrivateNames = {
  /** A job is at `<job>.<domain>`. */
  readonly domain: string;
  /** Where that leads: an address of this machine, or {@link HOST_GATEWAY}. */
  readonly address: string;
  /** The jobs there are. */
  readonly jobs: () => Promise<readonly string[]>;
};

/** Docker's word for the address at which containers reach the machine of the engine's user. */
export const HOST_GATEWAY = 'host-gateway';

/**
 * Names for the container's hosts file, which Docker writes when it makes the container: of the jobs there are, and of those
 * that its variables and its command name, which may be made later. One that knows no name starts all the same.
 * @param body of the call that creates it
 */
export async function extraHosts(
  body: Readonly<Record<string, unknown>>,
  { domain, address, jobs }: PrivateNames,
): Promise<string[]> {
  const words = [body['Env'], body['Cmd'], body['Entrypoint']].flat().filter((word) => typeof word === 'string');
  const known = await jobs().catch(() => []);
  return [...new Set([...known, ...jobsNamedIn(words, domain)])].sort().map((job) => `${job}.${domain}:${address}`);
}

function jobsNamedIn(words: readonly string[], domain: string): string[] {
  const suffix = domain.replaceAll('.', '\\.');
  // What ends a name ends none that is longer: not-a.web.jobs.internal, web.jobs.internal.example.com.
  const name = new RegExp(`(?<![-\\w.])([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\\.${suffix}(?!\\.?[-\\w])`, 'gi');
  return words.flatMap((word) => [...word.matchAll(name)].map(([, job = '']) => job.toLowerCase()));
}
