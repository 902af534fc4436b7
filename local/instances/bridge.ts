import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { BlockList, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { callEngine } from './docker-engine.ts';

/** The network that containers of an engine are in, by default, as seen from a machine that is in it, too. */
export type Bridge = {
  /** Of this machine. */
  readonly address: string;
  /** Like 172.17.0.0/16. */
  readonly subnet: string;
};

type Network = {
  IPAM?: { Config?: { Subnet?: string }[] | null };
  Options?: Readonly<Record<string, string>> | null;
};

/** Undefined where the engine runs elsewhere, in a virtual machine or in a namespace of its own. */
export async function findBridge(engineSocket: string): Promise<Bridge | undefined> {
  const { status, text } = await callEngine(engineSocket, { path: '/networks/bridge' });
  if (status !== 200) return undefined;
  const { IPAM, Options } = JSON.parse(text) as Network;
  for (const { Subnet: subnet = '' } of IPAM?.Config ?? []) {
    const address = await ownAddressIn(subnet);
    if (address !== undefined && isOnlyOf(Options?.['com.docker.network.bridge.name'], address)) {
      return { address, subnet };
    }
  }
  return undefined;
}

/** @returns whether an address is in a network like 172.17.0.0/16 */
export function within(subnet: string): (address: string) => boolean {
  const [network = '', bits = ''] = subnet.split('/');
  const list = new BlockList();
  list.addSubnet(network, Number(bits));
  return (address) => list.check(address);
}

/**
 * The one that this machine would send from to somebody there. Docker does not always say which it gave itself, and Node
 * lists no address of an interface to which nothing is attached, as this is before the first container.
 */
async function ownAddressIn(subnet: string): Promise<string | undefined> {
  const [network = ''] = subnet.split('/');
  if (!isIPv4(network)) return undefined;
  const neighbour = network.replace(/\d+$/, (last) => String(Number(last) + 2));
  const socket = createSocket('udp4');
  try {
    // Nothing is sent by this.
    socket.connect(9, neighbour);
    await once(socket, 'connect');
    const { address } = socket.address();
    return within(subnet)(address) ? address : undefined;
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}

/** A network of the same numbers may be this machine's own, with other machines in it, while the engine's is elsewhere. */
function isOnlyOf(bridge: string | undefined, address: string): boolean {
  return Object.entries(networkInterfaces()).every(
    ([name, addresses]) => name === bridge || addresses?.every((one) => one.address !== address),
  );
}
