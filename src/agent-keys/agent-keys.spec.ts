import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ensureAgentKeys, type Pins, rotateAgentKeys } from './agent-keys.js';

let directory: string;
beforeEach(() => void (directory = join(mkdtempSync(join(tmpdir(), 'agent-keys-')), 'keys')));
afterEach(() => rmSync(join(directory, '..'), { recursive: true }));

const read = (name: string): string => readFileSync(join(directory, name), 'utf8');

describe('the keys of the agents’ listener', () => {
  it('are made once, readable for their owner only, and nothing else is left', async () => {
    const pins = await ensureAgentKeys(directory);
    expect(pins).toEqual([
      expect.stringMatching(/^sha256\/\/[A-Za-z0-9+/]{43}=$/),
      expect.stringMatching(/^sha256\/\/[A-Za-z0-9+/]{43}=$/),
    ]);
    expect(pins[0]).not.toBe(pins[1]);
    expect(readdirSync(directory).sort()).toEqual(['current.pem', 'next.pem']);
    for (const name of ['current.pem', 'next.pem']) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    const current = read('current.pem');
    expect(await ensureAgentKeys(directory)).toEqual(pins);
    expect(read('current.pem')).toBe(current);
  });

  it('are the same for everybody who makes them at once', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, async () => await ensureAgentKeys(directory)));
    const now = await ensureAgentKeys(directory);
    for (const pins of all) expect(pins).toEqual(now);
    expect(readdirSync(directory)).toHaveLength(2);
  });

  it('rotate: the next becomes the current one, and there is a new next', async () => {
    const [first, second] = await ensureAgentKeys(directory);
    const { pins, previousRotation } = await rotateAgentKeys(directory);
    expect(pins[0]).toBe(second);
    expect([first, second]).not.toContain(pins[1]);
    expect(Math.abs(Date.now() - previousRotation.getTime())).toBeLessThan(60_000);
  });

  it('go on when a rotation was killed between its two steps', async () => {
    const [, second] = await ensureAgentKeys(directory);
    rmSync(join(directory, 'current.pem'));
    writeFileSync(join(directory, 'current.pem'), read('next.pem'), { mode: 0o600 });
    rmSync(join(directory, 'next.pem'));
    const pins = await ensureAgentKeys(directory);
    expect(pins[0]).toBe(second);
    expect(pins[1]).not.toBe(second);
  });

  it('never replace a file that is none of theirs, and name it', async () => {
    await ensureAgentKeys(directory);
    writeFileSync(join(directory, 'next.pem'), read('next.pem').slice(0, 300));
    await expect(ensureAgentKeys(directory)).rejects.toThrow(/next\.pem holds no key with its certificate/);
    await expect(rotateAgentKeys(directory)).rejects.toThrow(/next\.pem holds no key with its certificate/);
    const other = read('current.pem').split('-----BEGIN CERTIFICATE')[0] ?? '';
    rmSync(join(directory, 'next.pem'));
    await ensureAgentKeys(directory);
    writeFileSync(
      join(directory, 'next.pem'),
      other + read('next.pem').slice(read('next.pem').indexOf('-----BEGIN CERT')),
    );
    await expect(ensureAgentKeys(directory)).rejects.toThrow('its certificate is for another key');
  });

  it('are known by curl before and after one rotation, and after the second no more; nobody else is', async () => {
    const pins = await ensureAgentKeys(directory);
    expect(await request(read('current.pem'), pins)).toBe('welcome');
    await rotateAgentKeys(directory);
    expect(await request(read('current.pem'), pins)).toBe('welcome');
    await rotateAgentKeys(directory);
    expect(await request(read('current.pem'), pins)).toBe('curl 90');
  });
});

/** @returns the body, or curl's exit code: 90 is CURLE_SSL_PINNEDPUBKEYNOTMATCH */
async function request(pem: string, pins: Pins): Promise<string> {
  const server = createServer({ key: pem, cert: pem }, (_request, response) => response.end('welcome'));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    return await new Promise((done) => {
      execFile('curl', ['-qsk', '--max-time', '20', '--pinnedpubkey', pins.join(';'), url], (error, body) =>
        done(error ? `curl ${error.code ?? '?'}` : body),
      );
    });
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}
