import { connect, createServer, type Server, type Socket } from 'node:net';

/** The network between a program and a server that it calls, which can be cut. */
export class Relay {
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #how: 'whole' | 'refused' | 'silent' = 'whole';

  private constructor(port: number, host: string) {
    this.#server = createServer((client) => {
      this.#keep(client);
      // As a balancer before a dead server does it.
      if (this.#how === 'refused') client.resume().end();
      if (this.#how !== 'whole') return;
      const upstream = this.#keep(connect(port, host));
      client.on('close', () => upstream.destroy()).pipe(upstream);
      upstream.on('close', () => client.destroy()).pipe(client);
    });
  }

  /** Listens on a port of loopback of its own. */
  static async to(port: number, host = '127.0.0.1'): Promise<Relay> {
    const relay = new Relay(port, host);
    await new Promise<void>((done, failed) => {
      relay.#server.once('error', failed).listen(0, '127.0.0.1', () => done());
    });
    return relay;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the relay does not listen');
    return address.port;
  }

  /** What is open ends; what comes is ended at once, or never answered. */
  cut(how: 'refused' | 'silent'): void {
    this.#how = how;
    this.#endAll();
  }

  mend(): void {
    if (this.#how === 'whole') return;
    this.#how = 'whole';
    this.#endAll();
  }

  async stop(): Promise<void> {
    this.#endAll();
    await new Promise<void>((done) => this.#server.close(() => done()));
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket.setNoDelay(true));
    return socket.on('error', () => socket.destroy()).on('close', () => this.#open.delete(socket));
  }

  #endAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
