import { createPrivateKey, generateKeyPair, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeCertificate } from '../../src/agent-keys/certificate.ts';
import type { CloudInstance } from './instance.ts';

/** The key that signs identity documents, kept in the state folder: its certificate stays trusted after a restart. */
export type Identity = {
  readonly certificatePem: string;
  /** As /signature: base64 in lines, RSA with SHA-256 (PKCS#1 v1.5) over the exact bytes of the document. */
  sign(document: string): string;
};

export async function openIdentity(stateDir: string | undefined): Promise<Identity> {
  const { privateKey, certificatePem } = (await readIdentity(stateDir)) ?? (await makeIdentity(stateDir));
  return {
    certificatePem,
    sign: (document) => {
      const signature = sign('RSA-SHA256', Buffer.from(document), privateKey).toString('base64');
      return (signature.match(/.{1,76}/g) ?? []).join('\n');
    },
  };
}

/** Fields, order and spacing of AWS's document; verifiers must use its exact bytes. */
export function identityDocument(instance: CloudInstance, accountId: string, region: string): string {
  const fields: readonly (readonly [string, string | null])[] = [
    ['accountId', accountId],
    ['architecture', instance.spec.architecture],
    ['availabilityZone', instance.spec.availabilityZone],
    ['billingProducts', null],
    ['devpayProductCodes', null],
    ['marketplaceProductCodes', null],
    ['imageId', instance.spec.imageId],
    ['instanceId', instance.id],
    ['instanceType', instance.spec.instanceType],
    ['kernelId', null],
    ['pendingTime', `${instance.pendingAt.slice(0, 19)}Z`],
    ['privateIp', instance.privateIp],
    ['ramdiskId', null],
    ['region', region],
    ['version', '2017-09-30'],
  ];
  return `{\n${fields.map(([name, value]) => `  "${name}" : ${JSON.stringify(value)}`).join(',\n')}\n}`;
}

type StoredIdentity = { readonly privateKey: KeyObject; readonly certificatePem: string };

async function readIdentity(stateDir: string | undefined): Promise<StoredIdentity | undefined> {
  if (stateDir === undefined) return undefined;
  try {
    const pem = await readFile(join(stateDir, IDENTITY_FILE), 'utf8');
    const certificatePem = pem.slice(pem.indexOf('-----BEGIN CERTIFICATE'));
    const privateKey = createPrivateKey(pem);
    return new X509Certificate(certificatePem).checkPrivateKey(privateKey) ? { privateKey, certificatePem } : undefined;
  } catch {
    return undefined;
  }
}

async function makeIdentity(stateDir: string | undefined): Promise<StoredIdentity> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const certificatePem = writeCertificate(privateKey, 'Scheduler API local cloud');
  if (stateDir !== undefined) {
    await mkdir(stateDir, { recursive: true });
    const path = join(stateDir, IDENTITY_FILE);
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() + certificatePem;
    await writeFile(`${path}.new`, pem, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
  return { privateKey, certificatePem };
}

const IDENTITY_FILE = 'identity.pem';
