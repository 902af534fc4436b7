import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { problemOfError, problemOfStatus } from './error-problem.js';
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

  const ofRouter = (statusCode: unknown, name = 'FastifyError') => Object.assign(new Error('no'), { name, statusCode });

  it.each<[string, unknown, string | undefined]>([
    ['a URL that is too long', ofRouter(414), 'uri-too-long'],
    ['a URL that cannot be decoded', ofRouter(400), 'malformed-request'],
    ['a status without a row', ofRouter(499), undefined],
    ['a bug', ofRouter(500), undefined],
    ['no status', ofRouter(undefined), undefined],
    ['an error of another part', ofRouter(400, 'Error'), undefined],
    ['what is no error', { name: 'FastifyError', statusCode: 400, message: 'no' }, undefined],
  ])('of the router’s own rejections %s is %s', (_what, error, code) => {
    expect(problemOfError(error)?.code).toBe(code);
  });

  it('leaves a problem as it is', () => {
    const problem = new Problem('job-not-found', 'x');
    expect(problemOfError(problem)).toBe(problem);
  });

  it('has a problem for a status that has a row, with the words and the cause of the error', () => {
    const error = new Error('Cannot GET /x');
    expect(problemOfStatus(404, error)).toMatchObject({ code: 'not-found', detail: 'Cannot GET /x', cause: error });
    expect(problemOfStatus(418, error)).toBeUndefined();
  });
});
