import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError } from '../config/config.js';

// How an instance proves its identity: the document of its metadata service, which AWS signs with a key of its region.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-iid.html

/** The fields of the document that are checked or stored. */
export type Identity = {
  readonly instanceId: string;
  readonly accountId: string;
  readonly region: string;
  readonly imageId: string;
  readonly instanceType: string;
  readonly availabilityZone: string;
  /** Null in a subnet without IPv4. */
  readonly privateIp: string | null;
  /** When the instance was launched, or last started. */
  readonly pendingTime: Date;
};

/**
 * The document's fields, or undefined when none of the keys signed just these bytes or it is not an identity document.
 *
 * @param document exact text: parsing and writing it again would change the bytes that were signed
 * @param signature base64 of /latest/dynamic/instance-identity/signature, line breaks allowed
 */
export function readIdentity(document: string, signature: string, keys: readonly KeyObject[]): Identity | undefined {
  const bytes = Buffer.from(document);
  const signatureBytes = Buffer.from(signature, 'base64');
  if (!keys.some((key) => verify('RSA-SHA256', bytes, key, signatureBytes))) return undefined;
  return Document.safeParse(parseJson(document)).data;
}

/**
 * AWS's keys for a region, and those of the PEM files.
 * @throws ConfigError when there is none, or a file that cannot be used
 */
export function trustedIdentityKeys(region: string, paths: readonly string[]): KeyObject[] {
  const trusted = paths.flatMap((path) => {
    try {
      return identityKeysOf(readFileSync(path, 'utf8'));
    } catch (error) {
      throw new ConfigError([
        `IDENTITY_CERTIFICATES: ${path}: ${Error.isError(error) ? error.message : String(error)}`,
      ]);
    }
  });
  const keys = [...awsIdentityKeys(region), ...trusted];
  if (keys.length > 0) return keys;
  throw new ConfigError([
    `AWS_REGION: the certificate that AWS signs identity documents with in ${region} is not known; save the RSA one of that region from ${AWS_CERTIFICATES} in a file, and name it in IDENTITY_CERTIFICATES`,
  ]);
}

const AWS_CERTIFICATES = 'https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/regions-certs.html';

/**
 * AWS's keys for one region; none for a region that is not in our list.
 *
 * The key is trusted, whatever the certificate's dates: AWS issues new certificates for the same keys, and the fleet
 * must not stop growing on the day one expires. identity.spec.ts fails a year before, so that we check the list.
 */
export function awsIdentityKeys(region: string): KeyObject[] {
  const certificate = awsCertificates()[region];
  return certificate === undefined ? [] : [createPublicKey(certificate)];
}

/** Region → certificate (PEM) that AWS publishes for /signature. */
export function awsCertificates(): Readonly<Record<string, string>> {
  const data = readFileSync(new URL('./identity-certificates.json', import.meta.url), 'utf8');
  return (JSON.parse(data) as { regions: Record<string, string> }).regions;
}

/**
 * The RSA keys of a PEM text that holds certificates or public keys.
 * @throws Error when there is none, or one that cannot be used
 */
export function identityKeysOf(pem: string): KeyObject[] {
  const blocks = pem.match(/-----BEGIN (CERTIFICATE|PUBLIC KEY)-----[^-]+-----END \1-----/g) ?? [];
  if (blocks.length === 0) throw new Error('holds no PEM certificate or public key');
  return blocks.map((block) => {
    const key = createPublicKey(block);
    if (key.asymmetricKeyType !== 'rsa') throw new Error(`holds a key of type ${key.asymmetricKeyType}, not RSA`);
    return key;
  });
}

const Document = z
  .object({
    instanceId: z.string().regex(/^i-[0-9a-f]{8,17}$/),
    accountId: z.string().regex(/^\d{12}$/),
    region: z.string().regex(/^[a-z0-9-]{1,64}$/),
    imageId: z.string().regex(/^ami-[0-9a-f]{8,17}$/),
    instanceType: z
      .string()
      .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/)
      .max(64),
    availabilityZone: z.string().regex(/^[a-z0-9-]{1,64}$/),
    privateIp: z.ipv4().nullish(),
    pendingTime: z.iso.datetime(),
  })
  .transform(({ privateIp, pendingTime, ...rest }): Identity => ({
    ...rest,
    privateIp: privateIp ?? null,
    pendingTime: new Date(pendingTime),
  }));

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
