import { describe, expect, it } from '@jest/globals';
import { makeSecret, sign } from './signature.js';

describe('sign', () => {
  it('signs as the example of the Standard Webhooks specification', () => {
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    expect(sign([secret], 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330, '{"test": 2432232314}')).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  it('signs with the secret before as well, while it is being replaced', () => {
    const [first, second] = [makeSecret(), makeSecret()];
    const one = (secret: string) => sign([secret], 'id', 1, 'body')['webhook-signature'];
    expect(sign([first, second], 'id', 1, 'body')['webhook-signature']).toBe(`${one(first)} ${one(second)}`);
    expect(one(first)).not.toBe(one(second));
  });

  it('has secrets of the length the specification asks for', () => {
    const secret = makeSecret();
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]+={0,2}$/);
    expect(Buffer.from(secret.slice(6), 'base64')).toHaveLength(32);
  });
});
