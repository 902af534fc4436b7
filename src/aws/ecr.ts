import type { AuthorizationData, ECRClient } from '@aws-sdk/client-ecr';
import { AwsError, toAwsError } from './aws-error.js';

/** Credentials of every private registry of a region that our own role may pull from. */
export type EcrToken = {
  readonly username: string;
  readonly password: string;
  /** Of our own account: `123456789012.dkr.ecr.us-west-2.amazonaws.com`. */
  readonly host: string;
  readonly expiresAt: Date;
};

/** An agent’s poll waits for the token: much shorter than the poll, and long enough for a role’s first credentials. */
const TIMEOUT_MS = 6_000;
const ACTION = 'GetAuthorizationToken';

/** What we need of ECR. Endpoint and credentials come from the environment, by the SDK's own rules. */
export class Ecr {
  readonly #clients = new Map<string, ECRClient>();

  /** @throws AwsError */
  async getToken(region: string): Promise<EcrToken> {
    try {
      // Loaded when the first image of ECR is pulled: most processes never need it.
      const { ECRClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr');
      const requestHandler = { connectionTimeout: 2_000, requestTimeout: TIMEOUT_MS, throwOnRequestTimeout: true };
      const client = this.#clients.get(region) ?? new ECRClient({ region, maxAttempts: 2, requestHandler });
      this.#clients.set(region, client);
      const abortSignal = AbortSignal.timeout(TIMEOUT_MS);
      const { authorizationData } = await client.send(new GetAuthorizationTokenCommand({}), { abortSignal });
      return toToken(authorizationData?.[0] ?? {});
    } catch (error) {
      throw toAwsError(ACTION, error);
    }
  }
}

/** The token is `user:password` in base64 (ECR's API reference, AuthorizationData). */
function toToken({ authorizationToken = '', expiresAt, proxyEndpoint = '' }: AuthorizationData): EcrToken {
  const [username = '', password = ''] = Buffer.from(authorizationToken, 'base64').toString().split(/:(.*)/s);
  if (password === '' || !expiresAt || !URL.canParse(proxyEndpoint)) {
    const message = 'the answer holds no token';
    throw new AwsError({ action: ACTION, code: 'NoToken', kind: 'unknown-outcome', reason: 'no-answer', message });
  }
  return { username, password, host: new URL(proxyEndpoint).host, expiresAt };
}
