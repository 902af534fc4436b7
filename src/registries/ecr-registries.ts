import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { type AwsError, toAwsError } from '../aws/aws-error.js';
import { Ecr, type EcrToken } from '../aws/ecr.js';
import type { Config } from '../config/config.js';
import { ECR_HOST } from '../config/ecr-host.js';
import { Setting } from '../config/setting.decorator.js';
import { encodeAuth } from './registry-auth.js';

/** Of twelve hours: a pull that begins with it may take half an hour. */
const REFRESH_BEFORE_MS = 3_600_000;
/** No request follows a failure sooner: fifty instances that pull share one request. */
const PAUSE_MS = 10_000;

type Known = { readonly token: EcrToken } | { readonly failure: AwsError };
type Entry = { readonly known: Promise<Known>; readonly requestAgainAtMs: number };

/** Credentials of Amazon's registries, fetched by our own role and kept in memory alone. */
@Injectable()
export class EcrRegistries {
  readonly #logger = new Logger('Registries');
  readonly #entries = new Map<string, Entry>();

  /** @param now milliseconds since 1970, like the end of a token in AWS's answer */
  constructor(
    @Setting('aws') private readonly aws: Pick<Config['aws'], 'region' | 'ecrRegistries'>,
    @Inject(Ecr) private readonly ecr: Pick<Ecr, 'getToken'>,
    @Optional() private readonly now = Date.now,
  ) {}

  /**
   * Value of Docker's X-Registry-Auth; undefined: not a registry to fetch a token for, or AWS refuses it.
   * @throws AwsError when a later call may succeed
   */
  async authOf(host: string): Promise<string | undefined> {
    const [, account, region = ''] = ECR_HOST.exec(host) ?? [];
    const { ecrRegistries: allowed, region: ownRegion } = this.aws;
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
    const now = this.now();
    if (entry && now < entry.requestAgainAtMs) return await entry.known;
    // Other calls meanwhile wait for the same answer.
    const known = this.#fetch(region, entry);
    this.#entries.set(region, { known, requestAgainAtMs: Infinity });
    const found = await known;
    const requestAgainAtMs = 'token' in found ? found.token.expiresAt.getTime() - REFRESH_BEFORE_MS : 0;
    this.#entries.set(region, { known, requestAgainAtMs: Math.max(requestAgainAtMs, this.now() + PAUSE_MS) });
    return found;
  }

  async #fetch(region: string, before: Entry | undefined): Promise<Known> {
    try {
      return { token: await this.ecr.getToken(region) };
    } catch (error) {
      const failure = toAwsError('GetAuthorizationToken', error);
      this.#logger.warn('no token of ECR', { region, code: failure.code, error: failure.message });
      const older = await before?.known;
      const isUsable = older && 'token' in older && older.token.expiresAt.getTime() > this.now() + PAUSE_MS;
      return isUsable ? older : { failure };
    }
  }
}

/** Another request would change nothing: Docker shall report that the registry wants a login. */
function isRefused({ kind }: AwsError): boolean {
  return kind === 'permission' || kind === 'invalid';
}
