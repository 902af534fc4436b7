import { describe, expect, it } from '@jest/globals';
import { faultOfUrl, mayReach, parseAllowed } from './address-rules.js';

const NONE = parseAllowed([]);
const HTTPS = new URL('https://example.com/');

describe('mayReach', () => {
  it.each([
    ['loopback', '127.0.0.1'],
    ['all of loopback', '127.91.0.4'],
    ['this network', '0.0.0.0'],
    ['this network, further in', '0.1.2.3'],
    ['private 10', '10.1.2.3'],
    ['private 172', '172.31.255.255'],
    ['private 192', '192.168.1.1'],
    ['carrier-grade NAT', '100.64.0.1'],
    ['link-local', '169.254.1.1'],
    ['EC2’s metadata', '169.254.169.254'],
    ['ECS’s credentials', '169.254.170.2'],
    ['IETF', '192.0.0.8'],
    ['documentation', '203.0.113.9'],
    ['benchmarking', '198.18.0.1'],
    ['multicast', '224.0.0.1'],
    ['reserved', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['6to4 relays', '192.88.99.1'],
    ['loopback of IPv6', '::1'],
    ['unspecified', '::'],
    ['v4-mapped loopback', '::ffff:127.0.0.1'],
    ['v4-mapped, in hex', '::ffff:7f00:1'],
    ['v4-mapped metadata', '::ffff:169.254.169.254'],
    ['v4-compatible', '::127.0.0.1'],
    ['v4-translated', '::ffff:0:127.0.0.1'],
    ['NAT64 of loopback', '64:ff9b::7f00:1'],
    ['local NAT64', '64:ff9b:1::a00:1'],
    ['6to4 of loopback', '2002:7f00:1::'],
    ['Teredo', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    ['unique local', 'fc00::1'],
    ['EC2’s metadata by IPv6', 'fd00:ec2::254'],
    ['link-local of IPv6', 'fe80::1'],
    ['link-local with a zone', 'fe80::1%eth0'],
    ['site-local', 'fec0::1'],
    ['multicast of IPv6', 'ff02::1'],
    ['documentation of IPv6', '2001:db8::1'],
    ['discard', '100::1'],
    ['not routed yet', '4000::1'],
    ['no address', 'example.com'],
  ])('refuses %s', (_what, address) => {
    expect(mayReach(HTTPS, [address], NONE)).toBe(false);
    expect(mayReach(HTTPS, ['93.184.215.14', address], NONE)).toBe(false);
  });

  it.each(['93.184.215.14', '::ffff:93.184.215.14', '2606:2800:21f:cb07:6820:80da:af6b:8b2c'])(
    'lets HTTPS to %s, and plain HTTP not',
    (address) => {
      expect(mayReach(HTTPS, [address], NONE)).toBe(true);
      expect(mayReach(new URL('http://example.com/'), [address], NONE)).toBe(false);
    },
  );

  it('refuses a name without an address', () => {
    expect(mayReach(HTTPS, [], NONE)).toBe(false);
  });

  it('lets through what the operator opened, by network, address or host, and nothing beside it', () => {
    const allowed = parseAllowed(['10.20.0.0/16', '127.0.0.1', 'fd12::/64', 'Hooks.Internal.']);
    const http = new URL('http://example.com/');
    expect(mayReach(http, ['10.20.255.1', '127.0.0.1', 'fd12::9', '::ffff:10.20.0.1'], allowed)).toBe(true);
    for (const address of ['10.21.0.1', '127.0.0.2', 'fd12:0:0:1::1', '169.254.169.254']) {
      expect(mayReach(HTTPS, [address], allowed)).toBe(false);
    }
    const address = parseAllowed(['fd12::1']);
    expect(mayReach(HTTPS, ['fd12::1'], address)).toBe(true);
    expect(mayReach(HTTPS, ['fd12::2'], address)).toBe(false);
    expect(mayReach(new URL('http://hooks.internal./'), ['192.168.7.7'], allowed)).toBe(true);
    expect(mayReach(new URL('http://x.hooks.internal/'), ['192.168.7.7'], allowed)).toBe(false);
  });
});

describe('faultOfUrl', () => {
  it.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://0177.0.0.1/',
    'https://0/',
    'https://127.0.0.1./',
    'https://①②⑦.⓪.⓪.①/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[0:0:0:0:0:ffff:a9fe:a9fe]/',
    'https://[64:ff9b::169.254.169.254]/',
    'https://[fd00:ec2::254]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://localhost:8443/',
    'https://LOCALHOST./',
    'https://x.localhost/',
  ])('refuses %s, however it is spelled', (url) => {
    expect(faultOfUrl(url, NONE)).toMatch(/must not lead to/);
  });

  it.each([
    ['ftp://example.com/', /https/],
    ['file:///etc/passwd', /https/],
    ['not a URL', /https/],
    ['http://example.com/', /https/],
    ['https://user@example.com/', /user or a password/],
    ['https://:secret@example.com/', /user or a password/],
    ['https://example.com/#part', /fragment/],
  ])('refuses %s', (url, fault) => {
    expect(faultOfUrl(url, NONE)).toMatch(fault);
  });

  it('takes public URLs, and those the operator opened', () => {
    expect(faultOfUrl('https://example.com:8443/hooks?key=1', NONE)).toBeUndefined();
    expect(faultOfUrl('https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/', NONE)).toBeUndefined();
    const allowed = parseAllowed(['127.0.0.0/8', 'hooks.internal']);
    expect(faultOfUrl('http://127.0.0.1:9000/', allowed)).toBeUndefined();
    expect(faultOfUrl('http://hooks.internal/', allowed)).toBeUndefined();
    const named = parseAllowed(['hooks.internal', 'localhost']);
    for (const url of ['http://hooks.internal/', 'https://localhost/']) expect(faultOfUrl(url, named)).toBeUndefined();
    expect(faultOfUrl('https://x.localhost/', named)).toMatch(/must not lead to/);
    expect(faultOfUrl('http://10.0.0.1/', allowed)).toMatch(/must not lead to/);
  });
});
