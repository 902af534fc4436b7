import { createHash } from 'node:crypto';
import { CloudError } from './errors.ts';
import type { World } from './world.ts';

// As much of ECR as a pull needs: the token (JSON 1.1 protocol). The registry itself is where the images are.

const TARGET = /^AmazonEC2ContainerRegistry_V20150921\.(\w+)$/;
const TOKEN_HOURS = 12;

/** The action an `X-Amz-Target` names, if it is one of ECR. */
export function ecrActionOf(target: string | string[] | undefined): string | undefined {
  return typeof target === 'string' ? TARGET.exec(target)?.[1] : undefined;
}

/** The password that the registry of this account accepts for the user `AWS`. */
export function ecrPasswordOf({ accountId, region }: Pick<World, 'accountId' | 'region'>): string {
  return `ecr-${createHash('sha256').update(`token ${accountId} ${region}`).digest('hex')}`;
}

/** @throws CloudError */
export function answerEcr(world: World, action: string): string {
  if (action !== 'GetAuthorizationToken') throw new CloudError('UnknownOperationException', `no ${action} here`);
  const authorizationToken = Buffer.from(`AWS:${ecrPasswordOf(world)}`).toString('base64');
  const expiresAt = Math.floor(Date.now() / 1000) + TOKEN_HOURS * 3600;
  const proxyEndpoint = `https://${world.accountId}.dkr.ecr.${world.region}.amazonaws.com`;
  return JSON.stringify({ authorizationData: [{ authorizationToken, expiresAt, proxyEndpoint }] });
}

export function ecrErrorBody({ code, message }: CloudError): string {
  return JSON.stringify({ __type: code, message });
}
