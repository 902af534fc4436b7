import { describe, expect, it } from '@jest/globals';
import { hostOf } from './route-rules.js';

describe('the host of a job', () => {
  it.each(['web', 'web-2', 'a--b', 'web-10-0-0-1', 'web--7x'])('is the name of %s in the domain', (name) => {
    expect(hostOf(name, 'jobs.example.com')).toBe(`${name}.jobs.example.com`);
  });

  it('is none without a domain, nor for a name that is kept for a deployment', () => {
    expect(hostOf('web', null)).toBeNull();
    expect(hostOf('web--7', 'jobs.example.com')).toBeNull();
  });

  it.each(['203-0-113-20.sslip.io', 'jobs.203-0-113-20.sslip.io', 'cb007114.nip.io', '203.0.113.20.nip.io'])(
    'below %s is none where the name reads as an address, by which that domain would be answered',
    (domain) => {
      for (const name of ['web', 'web-2x', 'web-1-2-3x', 'deadbeef0', 'a-b', 'web-1-2-3-4x']) {
        expect(hostOf(name, domain)).toBe(`${name}.${domain}`);
      }
      for (const name of [
        '10-0-0-1',
        'web-10-0-0-1',
        '10-0-0-1-web',
        'deadbeef',
        'a--b',
        '1-2-3-4-5-6-7-8',
        'web--7',
      ]) {
        expect(hostOf(name, domain)).toBeNull();
      }
    },
  );

  it('below an address with dots is none where the name ends in a number, which would be read with it', () => {
    expect(hostOf('web-2', '203.0.113.20.nip.io')).toBeNull();
    expect(hostOf('2', '203.0.113.20.nip.io')).toBeNull();
    expect(hostOf('web2', '203.0.113.20.nip.io')).toBe('web2.203.0.113.20.nip.io');
    expect(hostOf('web-2', '203-0-113-20.sslip.io')).toBe('web-2.203-0-113-20.sslip.io');
  });
});
