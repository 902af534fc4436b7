import { createServer, type Server } from 'node:net';

/** 16,384 loopback addresses of this cloud's own: three subnets of 4,096, and as many for elastic addresses. */
export type AddressBlock = {
  /** The first address as a number, aligned to the block's size. */
  readonly base: number;
  release(): Promise<void>;
};

export const BLOCK_SIZE = 1 << 14;

/**
 * Takes the block that the port leads to, or the next free one: a listener on its first address is the claim, so
 * that two clouds never share a block whatever their ports.
 */
export async function claimAddressBlock(port: number): Promise<AddressBlock> {
  for (let step = 0; step < BLOCKS; step += 1) {
    // 37 has no factor in common with 1,022: neighbouring ports land far apart and every block is reached.
    const index = 1 + ((port * 37 + step) % BLOCKS);
    const base = LOOPBACK + index * BLOCK_SIZE;
    const claim = await listen(toAddress(base + 1));
    if (claim !== 'taken') return { base, release: () => close(claim) };
  }
  throw new Error('every block of loopback addresses is in use');
}

export function toAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}

const LOOPBACK = 127 * 2 ** 24;
// Without the first (127.0.0.1 and the resolver's addresses) and the last (127.255.255.255).
const BLOCKS = 1022;
const CLAIM_PORT = 4565;

async function listen(host: string): Promise<Server | undefined | 'taken'> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve('taken');
      // Systems that answer only on 127.0.0.1 (macOS) cannot hold a claim; nothing else can listen there either.
      else if (error.code === 'EADDRNOTAVAIL') resolve(undefined);
      else reject(error);
    });
    server.listen({ host, port: CLAIM_PORT, exclusive: true }, () => resolve(server));
  });
}

async function close(server: Server | undefined): Promise<void> {
  if (server === undefined) return;
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
