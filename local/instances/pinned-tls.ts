import { hash, X509Certificate } from 'node:crypto';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';

/** The server has none of the keys. */
export class WrongKey extends Error {}

const agents = new Map<string, PinnedAgent>();

/** What curl's `-k --pinnedpubkey` does: a request is handed to a connection once its key is known. */
export function pinnedAgent(pins: readonly string[], isSingleUse: boolean): https.Agent {
  const name = `${String(isSingleUse)} ${pins.join(';')}`;
  const agent = agents.get(name) ?? new PinnedAgent(pins, isSingleUse);
  agents.set(name, agent);
  return agent;
}

class PinnedAgent extends https.Agent {
  readonly #pins: readonly string[];

  constructor(pins: readonly string[], isSingleUse: boolean) {
    super({ keepAlive: !isSingleUse, maxSockets: Infinity, maxFreeSockets: isSingleUse ? 0 : 256 });
    this.#pins = pins;
  }

  override createConnection(
    options: ConnectionOptions,
    callback: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const socket = connect({ ...options, rejectUnauthorized: false });
    const fail = (error: Error) => callback(error, socket);
    socket.once('error', fail).once('secureConnect', () => {
      socket.off('error', fail);
      if (this.#pins.includes(pinOf(socket))) callback(null, socket);
      else callback(new WrongKey('none of the pins'), socket.destroy());
    });
  }
}

function pinOf(socket: TLSSocket): string {
  // None on a session that was resumed, which this agent never requests.
  const { raw } = socket.getPeerCertificate();
  const spki = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' });
  return `sha256//${hash('sha256', spki, 'base64')}`;
}
