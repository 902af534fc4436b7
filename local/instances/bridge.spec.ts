import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { itWhen } from '../../test/support/when.ts';
import { type Bridge, findBridge, within } from './bridge.ts';

const loopback = Object.entries(networkInterfaces()).find(([, all]) =>
  all?.some(({ address }) => address === '127.0.0.1'),
);
const name = loopback?.[0] ?? '';
const isLinux = process.platform === 'linux';

itWhen(
  isLinux,
  'needs Linux',
  'is found by its subnet where this machine has an address of the bridge in it',
  async () => {
    expect(await bridgeOf([{ Subnet: 'fd00::/64' }, { Subnet: '127.0.0.0/8' }], name)).toEqual({
      address: expect.stringMatching(/^127\./),
      subnet: '127.0.0.0/8',
    });
  },
);

it('is none where the network is elsewhere, or of other machines', async () => {
  // For documentation: nobody has it (RFC 5737).
  expect(await bridgeOf([{ Subnet: '192.0.2.0/24' }], name)).toBeUndefined();
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const cidrs = own.flatMap(({ family, cidr, address }) =>
    family === 'IPv4' && address !== '127.0.0.1' && cidr ? [cidr] : [],
  );
  for (const Subnet of cidrs) expect(await bridgeOf([{ Subnet }], 'no-such-bridge')).toBeUndefined();
  expect(await bridgeOf([], name)).toBeUndefined();
  expect(await bridgeOf(null, name)).toBeUndefined();
});

it('tells who is in its network', () => {
  const isIn = within('172.17.0.0/16');
  expect(['172.17.0.1', '172.17.255.9', '172.18.0.1', '127.0.0.1'].map(isIn)).toEqual([true, true, false, false]);
});

/** With an engine that has this network. */
async function bridgeOf(Config: object[] | null, bridge: string): Promise<Bridge | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'bridge-'));
  const socket = join(folder, 'engine.sock');
  const answer = { IPAM: { Config }, Options: { 'com.docker.network.bridge.name': bridge } };
  const server = createServer((request, response) => {
    if (request.url !== '/networks/bridge') response.statusCode = 404;
    response.end(JSON.stringify(answer));
  }).listen(socket);
  await once(server, 'listening');
  try {
    return await findBridge(socket);
  } finally {
    server.close();
    server.closeAllConnections();
    await rm(folder, { recursive: true });
  }
}
