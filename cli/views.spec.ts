import { expect, it } from '@jest/globals';
import type { Job } from '../client/index.js';
import { jobLines } from './views.js';

const URL = 'http://web.localhost:3000';

it.each([
  ['is shown where it is another one', 'http://web.jobs.internal:3000', ['http://web.jobs.internal:3000']],
  ['is not where it is the same', URL, []],
  ['is not where there is none', null, []],
  ['is not where the API is older and has none', undefined, []],
])('the URL for other jobs %s', (_, privateUrl, shown) => {
  const job = {
    status: 'running',
    url: URL,
    privateUrl,
    endpoints: [],
    secrets: [],
    updatedAt: '2026-05-04T09:30:00Z',
  };
  const lines = jobLines(job as unknown as Job, (_style, text) => text, Date.now());
  const after = (name: string) =>
    lines.flatMap((line) => (line.startsWith(`  ${name} `) ? [line.trim().split(/ +/)[1]] : []));
  expect([after('url'), after('private')]).toEqual([[URL], shown]);
});

it('hosts of its own are shown, and why one does not lead there', () => {
  const hosts = [
    { host: 'shop.test', url: 'http://shop.test:3000', reason: null },
    { host: 'old.test', url: null, reason: 'host-taken' },
    { host: 'new.test', url: null, reason: null },
  ];
  const job = { status: 'running', url: URL, hosts, endpoints: [], secrets: [], updatedAt: '2026-05-04T09:30:00Z' };
  const lines = jobLines(job as unknown as Job, (_style, text) => text, Date.now());
  const shown = 'http://shop.test:3000 old.test (host-taken) new.test (on its way)';
  expect(lines.some((line) => line.startsWith('  hosts ') && line.endsWith(` ${shown}`))).toBe(true);
});
