import { createPublicKey, randomBytes, sign, type KeyObject } from 'node:crypto';

/**
 * A self-signed X.509 v3 certificate (PEM) over an RSA key or one of an elliptic curve; Node reads certificates but cannot
 * write them. No extensions: its clients pin it, and it is never part of a chain. DER as in ITU-T X.690, fields as in
 * RFC 5280 §4.1.
 */
export function writeCertificate(privateKey: KeyObject, commonName: string): string {
  const algorithm = privateKey.asymmetricKeyType === 'ec' ? ECDSA_WITH_SHA256 : SHA256_WITH_RSA;
  const name = sequence(set(sequence(OID_COMMON_NAME, element(UTF8_STRING, Buffer.from(commonName)))));
  const signedPart = sequence(
    element(VERSION_TAG, integer(Buffer.from([2]))),
    // The first bit 0: a serial number must be positive.
    integer(Buffer.concat([Buffer.from([0x01]), randomBytes(15)])),
    algorithm,
    name,
    sequence(VALID_FROM, VALID_TO),
    name,
    createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
  );
  const signature = sign('SHA256', signedPart, privateKey);
  const certificate = sequence(signedPart, algorithm, element(BIT_STRING, Buffer.concat([NO_UNUSED_BITS, signature])));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTF8_STRING = 0x0c;
const SEQUENCE = 0x30;
const SET = 0x31;
const VERSION_TAG = 0xa0;
const NO_UNUSED_BITS = Buffer.from([0]);

function element(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), lengthOf(body), body]);
}

function lengthOf(body: Buffer): Buffer {
  if (body.length < 0x80) return Buffer.from([body.length]);
  const bytes = Buffer.from(body.length.toString(16).padStart(4, '0'), 'hex');
  return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
}

function sequence(...content: Buffer[]): Buffer {
  return element(SEQUENCE, ...content);
}

function set(...content: Buffer[]): Buffer {
  return element(SET, ...content);
}

function integer(bytes: Buffer): Buffer {
  return element(INTEGER, bytes);
}

const OID_COMMON_NAME = Buffer.from('0603550403', 'hex');
// 1.2.840.113549.1.1.11 with NULL parameters.
const SHA256_WITH_RSA = Buffer.from('300d06092a864886f70d01010b0500', 'hex');
// 1.2.840.10045.4.3.2 without parameters (RFC 5758 §3.2).
const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
// UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5); the end is that of AWS's own certificates.
const VALID_FROM = Buffer.concat([Buffer.from('170d', 'hex'), Buffer.from('240101000000Z')]);
const VALID_TO = Buffer.concat([Buffer.from('180f', 'hex'), Buffer.from('21950101000000Z')]);
