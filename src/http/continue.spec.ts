import { EventEmitter } from 'node:events';
import type { Server } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { keepClientsWaiting, sayContinue } from './continue.js';

describe('a client that waits until it may send its body', () => {
  it.each(['checkContinue', 'checkExpectation'])('is no other request for it (%s)', (event) => {
    const server = new EventEmitter();
    const served: unknown[] = [];
    server.on('request', (...both) => served.push(both));
    keepClientsWaiting(server as unknown as Server);
    server.emit(event, 'request', 'response');
    expect(served).toEqual([['request', 'response']]);
  });

  it.each([
    ['100-continue', true],
    ['100-Continue', true],
    ['x, 100-continue', true],
    ['100-continued', false],
    ['x100-continue', false],
    ['x', false],
    [undefined, false],
  ])('is told to go on where it says %s: %s', (expectation, isTold) => {
    const told: string[] = [];
    const reply = { raw: { writeContinue: () => told.push('continue') } } as unknown as FastifyReply;
    sayContinue({ headers: { expect: expectation } } as FastifyRequest, reply, () => told.push('done'));
    expect(told).toEqual(isTold ? ['continue', 'done'] : ['done']);
  });
});
