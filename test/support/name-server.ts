import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const HEADER_BYTES = 12;
const TYPE_A = 1;

export type NameServer = {
  /** As Resolver.setServers takes it. */
  readonly server: string;
  /** Questions for addresses of IPv4, so far. */
  readonly asked: () => number;
  close(): Promise<void>;
};

/**
 * A DNS server on loopback that knows every name, with a time to live of 0.
 * @param answer IPv4 addresses for the nth question, from 1; none: it stays silent
 */
export async function startNameServer(answer: (nth: number) => readonly string[]): Promise<NameServer> {
  const socket = createSocket('udp4');
  let asked = 0;
  socket.on('message', (query, { port, address }) => {
    const end = query.indexOf(0, HEADER_BYTES) + 5;
    const isA = query.readUInt16BE(end - 4) === TYPE_A;
    const addresses = isA ? answer(++asked) : [];
    if (isA && addresses.length === 0) return;
    const header = Buffer.from(query.subarray(0, HEADER_BYTES));
    // A response, no error; one question, the answers, nothing else.
    header.writeUInt16BE(0x8180, 2);
    [1, addresses.length, 0, 0].forEach((count, index) => header.writeUInt16BE(count, 4 + 2 * index));
    const records = addresses.map((text) =>
      // The name as a pointer to the question; A, IN, TTL 0, four bytes.
      Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4, ...text.split('.').map(Number)]),
    );
    socket.send(Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    server: `127.0.0.1:${socket.address().port}`,
    asked: () => asked,
    close: async () => {
      socket.close();
      await once(socket, 'close');
    },
  };
}
