import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from '@jest/globals';
import { packUserData } from '../../src/agent/packed-user-data.ts';
import { renderUserData } from '../../src/agent/user-data.ts';
import { partsOf, whyNoCloudInit } from '../support/cloud-init.ts';
import { describeWhen } from '../support/when.ts';

const AGENT = join(import.meta.dirname, '../../src/agent/agent.sh');
const reason = whyNoCloudInit();

// Of the API's own instance: deploy.spec.ts, with what EC2 was given.
describeWhen(reason === undefined, reason ?? '', 'the user data of a job’s instance, by cloud-init itself', () => {
  const input = {
    script: readFileSync(AGENT, 'utf8'),
    apiUrl: 'https://api.main.internal:8443',
    pins: [`sha256//${'A'.repeat(43)}=`],
    launchSecret: 'ab'.repeat(32),
    cluster: 'main',
  };

  it('is one script, byte for byte what was rendered', () => {
    const parts = partsOf(Buffer.from(packUserData(input)).toString('base64'));
    expect(parts).toEqual([{ type: 'text/x-shellscript', script: renderUserData(input) }]);
  });

  it.each([
    ['without its first line', (text: string) => text.replace(/^#!.*\n/, '')],
    ['with an empty line before that', (text: string) => `\n${text}`],
    ['with the ends of lines of Windows', (text: string) => text.replaceAll('\n', '\r\n')],
  ])('would be found out %s', (_what, change) => {
    const changed = change(renderUserData(input));
    expect(partsOf(gzipSync(changed).toString('base64'))).not.toEqual([
      { type: 'text/x-shellscript', script: changed },
    ]);
  });
});
