import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { awsCertificates, awsIdentityKeys, identityKeysOf, readIdentity, trustedIdentityKeys } from './identity.js';

const signer = makeSigner();
const keys = [signer.publicKey];

describe('readIdentity', () => {
  const document = documentOf({ pendingTime: '2026-11-23T06:00:00Z' });
  const signature = signatureOf(document, signer.privateKey);

  it('gives the fields of a document that was signed', () => {
    expect(readIdentity(document, signature, keys)).toEqual({
      instanceId: 'i-0123456789abcdef0',
      accountId: '123456789012',
      region: 'us-west-2',
      imageId: 'ami-0123456789abcdef0',
      instanceType: 't3.small',
      availabilityZone: 'us-west-2a',
      privateIp: '10.0.0.7',
      pendingTime: new Date('2026-11-23T06:00:00Z'),
    });
  });

  it('accepts any of several keys', () => {
    expect(readIdentity(document, signature, [makeSigner().publicKey, ...keys])).toBeDefined();
  });

  it.each([
    ['a byte of the document was changed', document.replace('t3.small', 't3.smalm'), signature],
    ['the document was written again', JSON.stringify(JSON.parse(document)), signature],
    ['a byte was appended', `${document}\n`, signature],
    ['a byte of the signature was changed', document, signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))],
    ['there is no signature', document, ''],
    ['the signature is noise', document, 'AAAA'],
    ['someone else signed it', document, signatureOf(document, makeSigner().privateKey)],
  ])('refuses when %s', (_what, text, base64) => {
    expect(readIdentity(text, base64, keys)).toBeUndefined();
  });

  it('refuses without keys', () => {
    expect(readIdentity(document, signature, [])).toBeUndefined();
  });

  it.each([
    ['no JSON', 'hello'],
    ['no object', '"hello"'],
    ['no instance id', documentOf({ instanceId: 'hello' })],
    ['no account', documentOf({ accountId: '12' })],
    ['no time', documentOf({ pendingTime: 'today' })],
  ])('refuses what is signed but is %s', (_what, text) => {
    expect(readIdentity(text, signatureOf(text, signer.privateKey), keys)).toBeUndefined();
  });
});

describe('identityKeysOf', () => {
  it('reads public keys and certificates, several in one text', () => {
    const certificate = awsCertificates()['us-west-2']!;
    const [first, second] = identityKeysOf(`# ours\n${signer.pem}\n${certificate}`);
    expect(first!.equals(signer.publicKey)).toBe(true);
    expect(second!.equals(createPublicKey(certificate))).toBe(true);
  });

  it('says what is wrong', () => {
    expect(() => identityKeysOf('hello')).toThrow('holds no PEM certificate or public key');
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    expect(() => identityKeysOf(`${signer.pem}${pem}`)).toThrow('holds a key of type ec, not RSA');
  });
});

describe('the keys that are trusted', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'identity-'));
    await writeFile(join(folder, 'own.pem'), signer.pem);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are AWS’s of the region, and those of the files that are named', () => {
    const own = join(folder, 'own.pem');
    expect(trustedIdentityKeys('ap-east-2', [])).toHaveLength(1);
    expect(trustedIdentityKeys('ap-east-2', [own])[1]?.equals(signer.publicKey)).toBe(true);
    expect(trustedIdentityKeys('xx-new-1', [own])).toHaveLength(1);
  });

  it('are none of a region that is not known: what to do is said', () => {
    expect(() => trustedIdentityKeys('xx-new-1', [])).toThrow(
      /^ {2}AWS_REGION: .* xx-new-1 .* RSA .* https:\/\/docs\.aws\.amazon\.com\/\S+regions-certs\.html .* IDENTITY_CERTIFICATES$/m,
    );
  });

  it('are not read from a file that is not there', () => {
    expect(() => trustedIdentityKeys('ap-east-2', [join(folder, 'none.pem')])).toThrow(
      /^ {2}IDENTITY_CERTIFICATES: .*none\.pem: ENOENT/m,
    );
  });
});

describe('AWS’s certificates', () => {
  // From the AWS page of identity-certificates.json's source. The key of us-west-2 and 16 more is also the one AWS support
  // once gave Taskcluster (taskcluster/taskcluster, providers/aws-keys). A new key here is a change to be looked at.
  const PINNED: Readonly<Record<string, string>> = {
    'af-south-1': 'e73741745153ac5fb6adae3ad3b441653a2b32cdab487ecf5b1d02ffd32ed068',
    'ap-east-2': 'fcc00e0cc57f2aea1f902a31343de4f77bb82cea76445e173f0481287055e82c',
    'ap-southeast-6': '2cf75d41afb42a805dae563dadd330938997234c712ca3f922240d32b356d0d9',
    'eusc-de-east-1': '148caa2dd205daa0ce70a3ac80edab8311031c5546f0946865e9fc16acab66cd',
    'ap-east-1': '57be7783af6914b9bd7ad1e2c39f3121ae65039b721564992f66fd295faacf69',
    'ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2':
      '8a61ba393a4aa067e73b9b5e75851ea4345aa5e6dab02538e8c1acd435b1f93f',
    'ap-south-2': 'd2bdbca6763cae6647e41bc3df69e411e7eed4c8543f5d05d36e6667d1e97bca',
    'ap-southeast-3': '6b3c5156ae0fc92ddfaa684906ea59e29963ee97c8084c4fcadb07b0b6a16cc4',
    'ap-southeast-4': 'e456ebfd7e0d10a046ec615b8bb00ea20fd7d5a22fd63eefaaacd0a991ddc244',
    'ap-southeast-5': '70aadc288c5e7198bfaa124729781e47ac53210e69843e2a95791b00aa3ad324',
    'ap-southeast-7': 'a161fe159c3068b4b5b562130cb83a0b4400594e75c557289a1ba34c0187afdf',
    'ca-west-1': '6643ea281699b1fa8b2ed269e54af801a51534ec53a5d2f84fd7ee2fdae4f2f8',
    'cn-north-1 cn-northwest-1': '74e4213b9a788e1aa468038caa61e072a5f855cca3613935259fc439176f4466',
    'eu-central-2': 'a7d558f4b579bce9ee13c156cff0febd41ec622b67e4586f54511548234526b6',
    'eu-south-1': 'c4cb89b26b4be7df0a36f62db4d9722877ae6cd91656d5cdd12365525c1220d9',
    'eu-south-2': '0ff278ad8359c1304c537ab3616bc93ea29ec7be5d5fe2ef6aee74cb97ac0c3d',
    'il-central-1': '9254cdd8b4d98557e522429e16c71afe9d1f51ccb86edab7fa90be9e2e68c752',
    'me-central-1': '7a00894ea1bb56e1a502da64c3b6d86db81118864406ec46306c35d9b19a8963',
    'me-south-1': '76d676e0b1fdafded401c2b8ab9b1cb35100cb084a9b2157e0ef38bd7d2635c4',
    'mx-central-1': 'ed6a9f231da89ae53601493ba757abf375bb221b05d7ed796ec3900a0bb572fb',
    'us-gov-east-1 us-gov-west-1': '76c996c58e8acf1ffe8dca1358c47d05bd5f1fb02776bc964e2278399ca205a3',
  };

  it('carry the keys that are pinned here, and no others', () => {
    const regions = Map.groupBy(Object.keys(awsCertificates()), fingerprintOf);
    const found = Object.fromEntries([...regions].map(([fingerprint, names]) => [names.join(' '), fingerprint]));
    expect(found).toEqual(PINNED);
  });

  /**
   * Nothing breaks on the day a certificate expires, since keys are what is trusted. But AWS changes keys along with
   * certificates, if ever: a year before is the time to compare the list with AWS's page.
   */
  it('do not expire within a year', () => {
    const inAYear = Date.now() + 365 * 24 * 3_600_000;
    const expiring = Object.entries(awsCertificates()).filter(
      ([, pem]) => new X509Certificate(pem).validToDate.getTime() < inAYear,
    );
    expect(expiring.map(([region]) => region)).toEqual([]);
  });

  it('are signed by their own keys', () => {
    for (const pem of Object.values(awsCertificates())) {
      const certificate = new X509Certificate(pem);
      expect(certificate.verify(certificate.publicKey)).toBe(true);
    }
  });

  it('are those of the regions that the documentation names', async () => {
    const text = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8');
    const [, section = ''] = /\n## Regions\n([^]*?)\n## /.exec(text) ?? [];
    const named = [...section.matchAll(/`([a-z]{2,4}(?:-[a-z]+)+-\d)`/g)].map(([, region]) => region);
    expect(named.toSorted()).toEqual(Object.keys(awsCertificates()).toSorted());
  });

  it('are there for one region at a time', () => {
    expect(awsIdentityKeys('us-west-2')).toHaveLength(1);
    expect(awsIdentityKeys('us-west-9')).toEqual([]);
  });

  function fingerprintOf(region: string): string {
    const key = createPublicKey(awsCertificates()[region]!);
    return createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest('hex');
  }
});

function makeSigner(): { privateKey: KeyObject; publicKey: KeyObject; pem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { privateKey, publicKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

/** Base64 in lines, as the metadata service gives it. */
function signatureOf(document: string, key: KeyObject): string {
  return (
    sign('RSA-SHA256', Buffer.from(document), key)
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\n');
}

function documentOf(overrides: Record<string, string>): string {
  const fields = {
    accountId: '123456789012',
    availabilityZone: 'us-west-2a',
    billingProducts: null,
    imageId: 'ami-0123456789abcdef0',
    instanceId: 'i-0123456789abcdef0',
    instanceType: 't3.small',
    pendingTime: '2026-11-23T06:00:00Z',
    privateIp: '10.0.0.7',
    region: 'us-west-2',
    version: '2017-09-30',
    ...overrides,
  };
  return JSON.stringify(fields, null, 2).replaceAll('": ', '" : ');
}
