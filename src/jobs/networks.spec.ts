import { describe, expect, it } from '@jest/globals';
import { faultOfNetwork, isAddress, mayCall } from './networks.js';

describe('a network that may call a job', () => {
  it.each(['10.0.0.0/8', '203.0.113.7/32', '0.0.0.0/0', '2001:db8::/32', '2001:db8::1/128', '::/0', '64:ff9b::/96'])(
    'is %s',
    (text) => {
      expect(faultOfNetwork(text)).toBeUndefined();
    },
  );

  it.each([
    ['10.0.0.1/8', 'must be written as 10.0.0.0/8'],
    ['10.0.0.0/08', 'must be written as 10.0.0.0/8'],
    ['2001:DB8::/32', 'must be written as 2001:db8::/32'],
    ['2001:db8:0:0::/32', 'must be written as 2001:db8::/32'],
    ['2001:db8::1/64', 'must be written as 2001:db8::/64'],
    ['fe80::%eth0/64', 'must be written as fe80::/64'],
    ['::ffff:10.0.0.0/104', expect.stringContaining('network of IPv4')],
    ['::ffff:0:0/96', expect.stringContaining('network of IPv4')],
    ['::10.0.0.0/104', expect.stringContaining('network of IPv4')],
    ...['', '10.0.0.0', '10/8', '010.0.0.0/8', '0x0a.0.0.0/8', '10.0.0.0/33', '10.0.0.0/8/8', ' 10.0.0.0/8', 'a/8'].map(
      (text) => [text, expect.stringContaining('must be a network like')] as const,
    ),
    ['2001:db8::/129', expect.stringContaining('must be a network like')],
  ])('is not %j', (text, fault) => {
    expect(faultOfNetwork(text)).toEqual(fault);
  });
});

describe('a caller', () => {
  const PRIVATE = ['10.0.0.0/8', '203.0.113.7/32', '2001:db8::/32'];

  it.each(['10.0.0.0', '10.255.255.255', '203.0.113.7', '::ffff:10.1.2.3', '::FFFF:a01:203', '2001:db8:ffff::1'])(
    'at %s may call',
    (address) => {
      expect([isAddress(address), mayCall(address, PRIVATE)]).toEqual([true, true]);
    },
  );

  it.each(['9.255.255.255', '11.0.0.0', '203.0.113.6', '::ffff:11.0.0.1', '2001:db9::1', '::1', '::', '127.0.0.1'])(
    'at %s may not',
    (address) => {
      expect([isAddress(address), mayCall(address, PRIVATE)]).toEqual([true, false]);
    },
  );

  it.each([
    '',
    'unix:',
    '::10.1.2.3',
    '10.1',
    '10',
    '0x0a.1.2.3',
    '010.1.2.3',
    '10.1.2.3,10.1.2.3',
    '10.1.2.3:80',
    '::1.',
  ])('without an address, as %j, may not', (address) => {
    expect([isAddress(address), mayCall(address, [...PRIVATE, '0.0.0.0/0', '::/0'])]).toEqual([false, false]);
  });

  it('of one kind is not let in by the other kind’s whole range, and by none where there is no list', () => {
    expect([mayCall('10.1.2.3', ['::/0']), mayCall('::ffff:10.1.2.3', ['::/0'])]).toEqual([false, false]);
    expect(mayCall('2001:db8::1', ['0.0.0.0/0'])).toBe(false);
    expect([mayCall('10.1.2.3', []), mayCall('unix:', [])]).toEqual([true, true]);
  });
});
