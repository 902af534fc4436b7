import { type AwsError, toAwsError } from '../aws/aws-error.js';
import type { EcrToken } from '../aws/ecr.js';
import { ECR_HOST } from '../config/ecr-host.js';
import { encodeAuth } from './registry-auth.js';

export type EcrOptions = {
  /** Hosts tokens may be fetched for; `own`: that of our own account in `region`. */
  readonly allowed: readonly string[];
  readonly region: string;
  /** Bounded in time. @throws AwsError */
  readonly getToken: (region: string) => Promise<EcrToken>;
  readonly warn?: (message: string, details: Readonly<Record<string, unknown>>) => void;
  /** Milliseconds since 1970, like the end of a token in AWS's answer. */
  readonly now?: () => number;
};

/** Of twelve hours: a pull that begins with it may take half an hour. */
const REFRESH_BEFORE_MS = 3_600_000;
/** No request follows a failure sooner: fifty instances that pull share one request. */
const PAUSE_MS = 10_000;

type Known = { readonly token: EcrToken } | { readonly failure: AwsError };
type Entry = { readonly known: Promise<Known>; readonly requestAgainAtMs: number };

/** Credentials of Amazon's registries, fetched by our own role and kept in memory alone. */
export class EcrRegistries {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(private readonly options: EcrOptions) {
    this.#now = options.now ?? Date.now;
  }

  /**
   * Value of Docker's X-Registry-Auth; undefined: not a registry to fetch a token for, or AWS refuses it.
   * @throws AwsError when a later call may succeed
   */
  async authOf(host: string): Promise<string | undefined> {
    const [, account, region = ''] = ECR_HOST.exec(host) ?? [];
    const { allowed, region: ownRegion } = this.options;
    const isListed = allowed.includes(host);
    const mayBeOwn = account !== undefined && region === ownRegion && allowed.includes('own');
    if (!isListed && !mayBeOwn) return undefined;
    const known = await this.#request(region);
    if ('failure' in known) {
      if (isRefused(known.failure)) return undefined;
      throw known.failure;
    }
    const { username, password, host: ownHost } = known.token;
    // Only AWS knows which account is ours.
    if (!isListed && !ownHost.startsWith(`${account}.`)) return undefined;
    return encodeAuth({ username, password, serveraddress: host });
  }

  async #request(region: string): Promise<Known> {
    const entry = this.#entries.get(region);
    const now = this.#now();
    if (entry && now < entry.requestAgainAtMs) return await entry.known;
    // Other calls meanwhile wait for the same answer.
    const known = this.#fetch(region, entry);
    this.#entries.set(region, { known, requestAgainAtMs: Infinity });
    const found = await known;
    const requestAgainAtMs = 'token' in found ? found.token.expiresAt.getTime() - REFRESH_BEFORE_MS : 0;
    this.#entries.set(region, { known, requestAgainAtMs: Math.max(requestAgainAtMs, this.#now() + PAUSE_MS) });
    return found;
  }

  async #fetch(region: string, before: Entry | undefined): Promise<Known> {
    try {
      return { token: await this.options.getToken(region) };
    } catch (error) {
      const failure = toAwsError('GetAuthorizationToken', error);
      this.options.warn?.('no token of ECR', { region, code: failure.code, error: failure.message });
      const older = await before?.known;
      const isUsable = older && 'token' in older && older.token.expiresAt.getTime() > this.#now() + PAUSE_MS;
      return isUsable ? older : { failure };
    }
  }
}

/** Another request would change nothing: Docker shall report that the registry wants a login. */
function isRefused({ kind }: AwsError): boolean {
  return kind === 'permission' || kind === 'invalid';
}
