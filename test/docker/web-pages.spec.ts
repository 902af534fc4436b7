import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { startTestCloud, type TestCloud, until } from '../../local/cloud/test-support.ts';
import { createDockerRuntime, findDockerEngine } from '../../local/instances/docker-runtime.ts';
import { openHostileBrowser, whyNoBrowser } from '../support/hostile-pages.ts';
import { cloudTargets, metadataTargets } from '../support/hostile-targets.ts';
import { describeWhen } from '../support/when.ts';

const engine = await findDockerEngine();
const reason = engine === undefined ? 'no Docker engine answers' : whyNoBrowser();

// In docker mode user data are programs of this machine.
describeWhen(reason === undefined, reason ?? '', 'a web page in a browser beside instances of docker mode', () => {
  let folder: string;
  let test: TestCloud;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'web-pages-'));
    test = await startTestCloud({ runtime: createDockerRuntime({ engineSocket: engine?.socket ?? '' }), hosts: [] });
  }, 60_000);
  afterAll(async () => {
    await test.stop();
    await rm(folder, { recursive: true, force: true });
  }, 60_000);

  const scriptOf = (file: string): string => `#!/bin/sh\necho ran >'${join(folder, file)}'\nsleep 600\n`;

  it('starts no program of this machine, and reads no user data, under any name', async () => {
    // What whoever has the keys can do, and does.
    const [id = ''] = await test.run({ UserData: Buffer.from(scriptOf('by-the-owner')).toString('base64') });
    await until(() => existsSync(join(folder, 'by-the-owner')), 'the program of the owner', 20_000);
    const { privateIp } = test.cloud.instance(id)!;
    const browser = await openHostileBrowser({ 'rebound.test': '127.0.0.1', 'metadata.test': privateIp });
    try {
      const { port } = new URL(test.cloud.endpoint);
      const read = await browser.ofAnotherSite(cloudTargets(test.cloud.endpoint, scriptOf('by-a-page')));
      expect(read).toEqual([]);
      const cloudOrigin = `http://rebound.test:${port}`;
      read.push(...(await browser.underName(cloudOrigin, cloudTargets(cloudOrigin, scriptOf('by-a-page')))));
      const metadataOrigin = `http://metadata.test:${port}`;
      read.push(...(await browser.underName(metadataOrigin, metadataTargets(metadataOrigin))));
      expect(read.length).toBeGreaterThan(30);
      expect(read.filter(({ text }) => !/^(403 )?(The Host must be|A request with)/.test(text))).toEqual([]);
    } finally {
      await browser.close();
    }
    expect(test.cloud.ledger.instances().map((instance) => instance.id)).toEqual([id]);
    expect(test.cloud.ledger.calls().filter(({ action }) => action !== 'RunInstances')).toEqual([]);
    expect(existsSync(join(folder, 'by-a-page'))).toBe(false);
  }, 180_000);
});
