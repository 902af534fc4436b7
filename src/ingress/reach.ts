import { request } from 'node:http';
import type { ReachedAs } from '../jobs/route-rules.js';

const CONNECT_MS = 3_000;
const ANSWER_MS = 10_000;

/**
 * Connects from this process to a port of an instance, and asks for `/`: any status is an answer, that of a broken page too.
 * @returns what is found there. Errors of the network are among it, none is thrown
 */
export async function reach(address: string, port: number, signal: AbortSignal): Promise<ReachedAs> {
  return await new Promise((resolve) => {
    let found: ReachedAs = 'nothing';
    const sent = request({
      ...{ host: address, port, path: '/', method: 'GET', agent: false, signal },
      headers: { 'user-agent': 'scheduler-api', connection: 'close' },
    });
    const give = setTimeout(() => {
      found = found === 'other' ? 'silent' : found;
      sent.destroy();
    }, ANSWER_MS);
    const connect = setTimeout(() => sent.destroy(), CONNECT_MS);
    sent.once('socket', (socket) => {
      socket.once('connect', () => {
        clearTimeout(connect);
        // Until it answers, ends the connection, or has had its time.
        found = 'other';
      });
    });
    sent.once('response', () => {
      found = 'http';
      sent.destroy();
    });
    sent.on('error', () => undefined);
    sent.once('close', () => {
      clearTimeout(give);
      clearTimeout(connect);
      resolve(found);
    });
    sent.end();
  });
}
