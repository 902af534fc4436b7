import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { problemOfError } from './error-problem.js';
import { Problem } from './problem.js';

const withCode = (code: string): Error => Object.assign(new Error('no'), { code });

describe('problemOfError', () => {
  it.each<[string, unknown]>([
    ['refused', withCode('ECONNREFUSED')],
    ['reset, in another realm', runInNewContext(`Object.assign(new Error('read'), { code: 'ECONNRESET' })`)],
    ['refused on every address', new AggregateError([withCode('ECONNREFUSED'), withCode('ECONNREFUSED')])],
    ['stopping', withCode('57P01')],
    ['lost', withCode('08006')],
    ['full', withCode('53300')],
    ['not to be entered', Object.assign(withCode('3D000'), { severity: 'FATAL' })],
    ['lost without a code', new Error('Connection terminated unexpectedly')],
    ['no connection free', new Error('timeout exceeded when trying to connect')],
    ['wrapped by TypeORM', Object.assign(new Error('x'), { driverError: withCode('57P03') })],
  ])('a database that is away (%s) is 503 with Retry-After', (_what, error) => {
    const problem = problemOfError(error);
    expect(problem).toMatchObject({ code: 'unavailable', status: 503, headers: { 'retry-after': '2' }, cause: error });
  });

  it.each(['40P01', '55P03', '57014'])('a statement that others were in the way of (%s) is 503, too', (code) => {
    const error = withCode(code);
    expect(problemOfError(error)).toMatchObject({ code: 'unavailable', headers: { 'retry-after': '1' }, cause: error });
  });

  it.each<[string, unknown]>([
    ['a bug', new TypeError('x is undefined')],
    ['a failed statement', withCode('23505')],
    ['an empty aggregate', new AggregateError([])],
    ['no error', 'oops'],
  ])('%s is no problem of the table', (_what, error) => {
    expect(problemOfError(error)).toBeUndefined();
  });

  it('leaves a problem as it is', () => {
    const problem = new Problem('job-not-found', 'x');
    expect(problemOfError(problem)).toBe(problem);
  });
});
