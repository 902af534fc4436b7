import { expect, it } from '@jest/globals';
import { refusalOfAnonymous } from './anonymous-access.js';

const PUBLIC = 'scheduler.test';

it.each([
  ['localhost', 'localhost', {}],
  ['localhost:3000', 'localhost', {}],
  ['127.0.0.1:3000', '127.0.0.1', {}],
  ['[::1]:3000', '[::1]', {}],
  ['scheduler.test', 'scheduler.test', {}],
  ['127.0.0.1:3000', 'scheduler.test', {}],
  ['localhost:3000', 'localhost', { 'sec-fetch-site': 'same-origin', 'sec-fetch-dest': 'empty' }],
  ['localhost:3000', 'localhost', { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'document' }],
  ['localhost:3000', 'localhost', { origin: 'http://localhost:3000' }],
  ['127.0.0.1:3000', 'scheduler.test', { origin: 'https://scheduler.test', 'x-forwarded-host': 'scheduler.test' }],
  ['127.0.0.1:3000', '127.0.0.1', { origin: 'https://scheduler.test' }],
  ['127.0.0.1:3000', 'localhost', { origin: 'http://localhost:8080', 'x-forwarded-host': 'localhost:8080' }],
])('Host %s, by proxies %s, %j: is answered', (host, hostname, headers) => {
  expect(refusalOfAnonymous({ headers: { host, ...headers }, hostname }, PUBLIC)).toBeUndefined();
});

it.each([
  ['page.test:3000', 'page.test', {}],
  ['page.test:3000', 'localhost', {}],
  ['localhost:3000', 'page.test', {}],
  ['localhost.', 'localhost.', {}],
  ['0.0.0.0:3000', '0.0.0.0', {}],
  ['[::ffff:127.0.0.1]:3000', '[::ffff:127.0.0.1]', {}],
  ['127.0.0.1.page.test', '127.0.0.1.page.test', {}],
  ['', '', {}],
  [undefined, 'localhost', {}],
  ['localhost:3000', 'localhost', { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image' }],
  ['localhost:3000', 'localhost', { 'sec-fetch-site': 'same-site', 'sec-fetch-dest': 'empty' }],
  ['localhost:3000', 'localhost', { 'sec-fetch-site': 'cross-site' }],
  // Of a browser that says no more.
  ['localhost:3000', 'localhost', { origin: 'http://page.test' }],
  ['localhost:3000', 'localhost', { origin: 'http://localhost:8080' }],
  ['localhost:3000', 'localhost', { origin: 'null' }],
  ['127.0.0.1:3000', 'localhost', { origin: 'http://page.test:8080', 'x-forwarded-host': 'localhost:8080' }],
])('Host %s, by proxies %s, %j: is refused', (host, hostname, headers) => {
  const given = { ...(host !== undefined && { host }), ...headers };
  expect(refusalOfAnonymous({ headers: given, hostname }, PUBLIC)).toMatch(/^Without tokens/);
});
