// Of scheduler-dev. Without ADMIN_TOKEN the API listens on loopback only, and so does the debugger; Docker's published
// ports come in on another address of the container. What arrives there is passed on. FORWARD_PORTS: others than these.
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';

const PORTS = (process.env.FORWARD_PORTS ?? '3000,9229').split(',').map(Number);

for (const { address } of outsideAddresses()) for (const port of PORTS) forward(address, port);

const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.once('exit', (code) => process.exit(code ?? 1));

function outsideAddresses() {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.filter(({ family, internal }) => family === 'IPv4' && !internal);
}

function forward(address, port) {
  const server = createServer((socket) => {
    const onward = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ]) {
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  server.listen(port, address);
}
