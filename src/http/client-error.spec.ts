import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import { settled } from '../../test/support/hand-clock.js';
import { answerClientError } from './client-error.js';

describe('answerClientError', () => {
  it('tells a request that came too slowly why its connection ends', async () => {
    const socket = new PassThrough();
    answerClientError(Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);
    const [head, body = ''] = (await text(socket)).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
    expect(JSON.parse(body)).toMatchObject({ type: '/problems/request-timeout', status: 408 });
  });

  it('writes nothing to a connection that was reset', () => {
    const socket = new PassThrough();
    answerClientError(Object.assign(new Error('reset'), { code: 'ECONNRESET' }), socket);
    expect(socket.readableLength).toBe(0);
  });

  it('closes a connection that takes no answer any more', async () => {
    const socket = new PassThrough();
    const errors: unknown[] = [];
    socket.on('error', (error) => errors.push(error));
    socket.end();
    answerClientError(Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);
    expect(socket.destroyed).toBe(true);
    await settled();
    expect(errors).toEqual([]);
  });
});
