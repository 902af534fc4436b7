import { describe, expect, it } from '@jest/globals';
import type { OrderSpec } from '../docker/order.js';
import { MOST_ANSWER_BYTES } from '../docker/order-answer.js';
import { renderOrder } from './order-headers.js';

const docker = {
  kind: 'docker',
  mode: 'background',
  method: 'POST',
  path: '/images/create?fromImage=nginx&tag=1.28',
  timeoutSeconds: 1800,
} as const;
const probe = {
  kind: 'probe',
  url: 'http://127.0.0.1:80/health?a=%20b',
  intervalSeconds: 5,
  timeoutSeconds: 3,
  retries: 3,
  startPeriodSeconds: 0,
} as const;

describe('renderOrder', () => {
  it.each<[OrderSpec, Record<string, string>]>([
    [
      docker,
      {
        'order-kind': 'docker',
        'order-mode': 'background',
        'order-timeout': '1800',
        'docker-method': 'POST',
        'docker-path': '/images/create?fromImage=nginx&tag=1.28',
      },
    ],
    [
      probe,
      {
        'order-kind': 'probe',
        'order-mode': 'background',
        'order-timeout': '30',
        'probe-url': 'http://127.0.0.1:80/health?a=%20b',
        'probe-interval': '5',
        'probe-timeout': '3',
        'probe-retries': '3',
        'probe-start-period': '0',
      },
    ],
    [
      { ...docker, once: true, contentType: 'application/x-tar' },
      {
        'order-kind': 'docker',
        'order-mode': 'background',
        'order-timeout': '1800',
        'order-once': 'yes',
        'docker-method': 'POST',
        'docker-path': '/images/create?fromImage=nginx&tag=1.28',
        'docker-content-type': 'application/x-tar',
      },
    ],
    [
      { kind: 'stream', name: 'events', path: '/events?filters=%7B%7D', follow: true, timeoutSeconds: 60 },
      {
        'order-kind': 'stream',
        'order-mode': 'background',
        'order-timeout': '60',
        'stream-name': 'events',
        'stream-follow': 'yes',
        'stream-content-type': 'application/octet-stream',
        'docker-path': '/events?filters=%7B%7D',
      },
    ],
    [
      { kind: 'stream', name: 'events', path: '/events', follow: false, timeoutSeconds: 999_999_999 },
      {
        'order-kind': 'stream',
        'order-mode': 'background',
        'order-timeout': '999999999',
        'stream-name': 'events',
        'stream-follow': 'no',
        'stream-content-type': 'application/octet-stream',
        'docker-path': '/events',
      },
    ],
    [
      { kind: 'dead-man', minutes: 0 },
      { 'order-kind': 'dead-man', 'order-mode': 'foreground', 'order-timeout': '30', 'dead-man-minutes': '0' },
    ],
    [
      { kind: 'dead-man', minutes: 15, renews: true },
      {
        'order-kind': 'dead-man',
        'order-mode': 'foreground',
        'order-timeout': '30',
        'dead-man-minutes': '15',
        'dead-man-renews': 'yes',
      },
    ],
    [{ kind: 'shutdown' }, { 'order-kind': 'shutdown', 'order-mode': 'foreground', 'order-timeout': '30' }],
    [
      { kind: 'logs', follow: true, timeoutSeconds: 30 },
      { 'order-kind': 'logs', 'order-mode': 'background', 'order-timeout': '30', 'logs-follow': 'yes' },
    ],
    [
      { kind: 'logs', follow: false, timeoutSeconds: 10 },
      { 'order-kind': 'logs', 'order-mode': 'background', 'order-timeout': '10', 'logs-follow': 'no' },
    ],
    [{ kind: 'watch-spot' }, { 'order-kind': 'watch-spot', 'order-mode': 'background', 'order-timeout': '30' }],
  ])('puts everything into headers: %j', (spec, headers) => {
    expect(renderOrder(7, spec)).toEqual({ number: 7, headers: { 'order-number': '7', ...headers }, body: '' });
  });

  it('gives Docker its JSON as the body', () => {
    const body = { Image: 'nginx', Env: ['A=$(reboot)\n', 'B=ü'] };
    expect(JSON.parse(renderOrder(1, { ...docker, body }).body)).toEqual(body);
  });

  it('adds to the environment what it is filled with', () => {
    const body = { Image: 'nginx', Env: ['A=a'] };
    const { body: filled } = renderOrder(1, { ...docker, body }, { env: ['B=b', 'C="\\'] });
    expect(JSON.parse(filled)).toEqual({ Image: 'nginx', Env: ['A=a', 'B=b', 'C="\\'] });
    expect(body.Env).toEqual(['A=a']);
  });

  it('has the credentials of a registry with the pull, and refuses what no header may hold', () => {
    const most = 'x'.repeat(98_304);
    const { headers, body } = renderOrder(1, docker, { registryAuth: most });
    expect([headers['docker-registry-auth'], body]).toEqual([most, '']);
    for (const registryAuth of ['', 'a b', 'a\r\nOrder-Kind: shutdown', 'ü', `${most}x`]) {
      expect(() => renderOrder(7, docker, { registryAuth })).toThrow(
        'order 7: docker-registry-auth is not visible ASCII',
      );
    }
  });

  it('never asks for more of an answer than a result may have', () => {
    expect(renderOrder(1, { ...docker, maxBytes: 1024 }).headers['docker-max-bytes']).toBe('1024');
    const { headers } = renderOrder(1, { ...docker, maxBytes: 2 * MOST_ANSWER_BYTES });
    expect(headers['docker-max-bytes']).toBe(String(MOST_ANSWER_BYTES));
  });

  it.each<[string, OrderSpec]>([
    ['path', { ...docker, path: '/containers/job\r\nOrder-Kind: shutdown' }],
    ['path', { ...docker, path: '/containers/$(reboot)/start' }],
    ['path', { ...docker, path: 'containers/job' }],
    ['path', { ...docker, path: '/contäiners' }],
    ['timeoutSeconds', { ...docker, timeoutSeconds: 0 }],
    ['timeoutSeconds', { ...docker, timeoutSeconds: 1.5 }],
    ['timeoutSeconds', { ...docker, timeoutSeconds: 1e9 }],
    ['maxBytes', { ...docker, maxBytes: -1 }],
    ['url', { ...probe, url: 'https://127.0.0.1/' }],
    ['url', { ...probe, url: 'http://127.0.0.1/ x' }],
    ['retries', { ...probe, retries: Number.NaN }],
    ['timeoutSeconds', { kind: 'logs', follow: false, timeoutSeconds: 0 }],
    ['minutes', { kind: 'dead-man', minutes: -1 }],
  ])('refuses what an agent would: %s of %j', (name, spec) => {
    expect(() => renderOrder(1, spec)).toThrow(name);
  });
});
