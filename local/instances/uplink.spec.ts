import { describe, expect, it } from '@jest/globals';
import { Uplink } from './uplink.ts';

const ANSWER = { status: 204, headers: {}, body: Buffer.alloc(0) };
const NEVER = new AbortController().signal;

/** A scheduler that counts what arrives. */
function scheduler() {
  const state = { arrived: 0 };
  const request = () => {
    state.arrived += 1;
    return Promise.resolve(ANSWER);
  };
  return { state, request };
}

describe('the way from an agent to the scheduler', () => {
  it('lets everything through', async () => {
    const { state, request } = scheduler();
    expect(await new Uplink().send(request, NEVER)).toEqual(ANSWER);
    expect(state.arrived).toBe(1);
  });

  it('cut: a request waits, and gets through once it is mended', async () => {
    const { state, request } = scheduler();
    const uplink = new Uplink();
    uplink.cut();
    const answer = uplink.send(request, NEVER);
    await new Promise(setImmediate);
    expect(state.arrived).toBe(0);
    uplink.mend();
    expect(await answer).toEqual(ANSWER);
  });

  it('cut: an answer that is on its way never comes', async () => {
    const uplink = new Uplink();
    const parked = Promise.withResolvers<typeof ANSWER>();
    const answer = uplink.send(() => parked.promise, NEVER);
    uplink.cut();
    parked.resolve(ANSWER);
    await expect(answer).rejects.toMatchObject({ code: 28 });
  });

  it('cut: a request ends with the machine it is made on', async () => {
    const uplink = new Uplink();
    uplink.cut();
    const ending = new AbortController();
    const answer = uplink.send(scheduler().request, ending.signal);
    ending.abort();
    await expect(answer).rejects.toThrow();
  });

  it('loses so many answers to requests that arrived', async () => {
    const { state, request } = scheduler();
    const uplink = new Uplink();
    uplink.loseAnswers(1);
    await expect(uplink.send(request, NEVER)).rejects.toMatchObject({ code: 56 });
    expect(await uplink.send(request, NEVER)).toEqual(ANSWER);
    expect(state.arrived).toBe(2);
  });

  it('sends so many requests twice', async () => {
    const { state, request } = scheduler();
    const uplink = new Uplink();
    uplink.repeat(1);
    await uplink.send(request, NEVER);
    await uplink.send(request, NEVER);
    expect(state.arrived).toBe(3);
  });
});
