import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
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
});
