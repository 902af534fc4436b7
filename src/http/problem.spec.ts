import { describe, expect, it } from '@jest/globals';
import { blankProblemBody, Problem, problemBody } from './problem.js';

describe('a problem', () => {
  it('tells when to try again in whole seconds, beside its other headers', () => {
    const headers = { 'www-authenticate': 'Bearer' };
    expect(new Problem('forbidden', 'no', { headers }).headers).toEqual(headers);
    expect(new Problem('forbidden', 'no').headers).toEqual({});
    expect(new Problem('too-many-requests', 'no', { headers, retryAfterSeconds: 1.2 }).headers).toEqual({
      ...headers,
      'retry-after': '2',
    });
    expect(new Problem('unavailable', 'no', { retryAfterSeconds: 0 }).headers).toEqual({ 'retry-after': '0' });
  });

  it('is described as RFC 9457 wants it, with its faults where it has some', () => {
    const body = {
      type: '/problems/invalid-request',
      title: 'The request is not valid',
      status: 422,
      detail: 'no',
      instance: 'urn:request:x',
    };
    expect(problemBody(new Problem('invalid-request', 'no'), 'x')).toEqual(body);
    const errors = [{ pointer: '#/a', detail: 'is odd' }];
    expect(problemBody(new Problem('invalid-request', 'no', { errors }), 'x')).toEqual({ ...body, errors });
    expect(blankProblemBody(418, 'I’m a teapot', 'x')).toEqual({
      type: 'about:blank',
      title: 'I’m a teapot',
      status: 418,
      instance: 'urn:request:x',
    });
  });
});
