import { describe, expect, it } from '@jest/globals';
import { Heartbeats } from './heartbeats.js';
import { Shutdown } from './shutdown.js';

describe('Shutdown', () => {
  it('tells everyone once', () => {
    const shutdown = new Shutdown();
    const calls: string[] = [];
    shutdown.onBegin(() => calls.push('a'));
    const leave = shutdown.onBegin(() => calls.push('b'));
    leave();
    expect([shutdown.hasBegun, shutdown.signal.aborted]).toEqual([false, false]);

    shutdown.begin();
    shutdown.begin();

    expect(calls).toEqual(['a']);
    expect([shutdown.hasBegun, shutdown.signal.aborted]).toEqual([true, true]);
  });

  it('tells at once whoever comes late', () => {
    const shutdown = new Shutdown();
    shutdown.begin();
    const calls: string[] = [];
    shutdown.onBegin(() => calls.push('late'));
    expect(calls).toEqual(['late']);
  });
});

describe('Heartbeats', () => {
  it('knows a loop that fell silent', () => {
    let now = 1000;
    const heartbeats = new Heartbeats(() => now);
    heartbeats.beat('nobody');
    heartbeats.expect('pass', 100);
    now = 1080;
    expect(heartbeats.loops()).toEqual({ pass: { ageMs: 80, isAlive: true } });
    now = 1101;
    expect(heartbeats.loops()).toEqual({ pass: { ageMs: 101, isAlive: false } });
    heartbeats.beat('pass');
    expect(heartbeats.loops()).toEqual({ pass: { ageMs: 0, isAlive: true } });
    heartbeats.forget('pass');
    expect(heartbeats.loops()).toEqual({});
  });

  it('keeps troubles until they are over', () => {
    const heartbeats = new Heartbeats();
    heartbeats.degrade('aws', 'throttled');
    expect(heartbeats.troubles()).toEqual({ aws: 'throttled' });
    // As S3 says it: the page is open to everyone.
    const denial =
      'AccessDenied: User: arn:aws:sts::123456789012:assumed-role/api/i-0 is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::logs/x"';
    heartbeats.degrade('log-store', denial);
    expect(heartbeats.troubles()['log-store']).toBe(
      'AccessDenied: User: arn:… is not authorized to perform: s3:PutObject on resource: "arn:…"',
    );
    heartbeats.recover('log-store');
    heartbeats.recover('aws');
    expect(heartbeats.troubles()).toEqual({});
  });
});
