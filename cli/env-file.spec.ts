import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type EnvFile, parseEnvFile } from './env-file.js';

const parse = (text: string, environment: Record<string, string> = {}): EnvFile =>
  parseEnvFile('web.env', text, environment);

// As the Docker CLI has it: opts/envfile.go and pkg/kvfile in github.com/docker/cli.
describe('parseEnvFile', () => {
  it.each<[string, string, Record<string, string>]>([
    ['keeps what follows a #', 'PW=abc#def', { PW: 'abc#def' }],
    ['keeps a comment behind a value', 'A=b # c', { A: 'b # c' }],
    ['keeps quotes', `A="b"\nC='d'`, { A: '"b"', C: "'d'" }],
    ['keeps spaces around a value', 'A= b  ', { A: ' b  ' }],
    ['keeps equals signs behind the first', 'URL=http://x/?a=b', { URL: 'http://x/?a=b' }],
    ['keeps backslashes and dollars', 'A=a\\nb$C${D}`e`', { A: 'a\\nb$C${D}`e`' }],
    ['takes an empty value', 'A=', { A: '' }],
    ['skips comments and empty lines', '# A=1\n\n  \t\n   #B=2\nC=3\n', { C: '3' }],
    ['takes leading spaces off a name', ' \t\v\f\u00a0\u0085\u2003A=1', { A: '1' }],
    ['takes CRLF, and one CR only', 'A=1\r\nB=2\r\r\n', { A: '1', B: '2\r' }],
    [
      'takes any other character in a name',
      'discovery.type=x\nä-1%=y\nexport\u00a0A=z',
      {
        'discovery.type': 'x',
        'ä-1%': 'y',
        'export\u00a0A': 'z',
      },
    ],
    ['lets the later one win', 'A=1\nA=2', { A: '2' }],
    [
      'has no name that means something else',
      '__proto__=1\nconstructor=2',
      JSON.parse('{"__proto__":"1","constructor":"2"}') as Record<string, string>,
    ],
  ])('%s', (_, text, values) => {
    expect(Object.entries(parse(text).values)).toEqual(Object.entries(values));
    expect(parse(text).missing).toEqual([]);
  });

  it('takes a name alone from the environment, an empty value too, and tells which are nowhere', () => {
    expect(parse('A\nB\nC\nD\nD=1', { A: 'a=#', B: '' })).toEqual({
      values: { A: 'a=#', B: '', D: '1' },
      missing: ['C'],
    });
  });

  it.each([
    ['A=1\n=secret', 'web.env, line 2: there is no name before the «=»'],
    ['A B=secret', 'web.env, line 1: a name holds no spaces; write NAME=VALUE'],
    ['A =secret', 'web.env, line 1: a name holds no spaces; write NAME=VALUE'],
    ['export A=secret', 'web.env, line 1: a name holds no spaces; write NAME=VALUE'],
    ['secret secret', 'web.env, line 1: a name holds no spaces; write NAME=VALUE'],
    ['secret\t', 'web.env, line 1: a name holds no spaces; write NAME=VALUE'],
  ])('refuses %j by its line and shows nothing of it', (text, message) => {
    expect(() => parse(text)).toThrow(new Error(message));
  });

  it('reads back whatever was written, be it ever so odd', () => {
    const name = fc
      .string({ unit: 'binary', minLength: 1 })
      .filter((text) => !/[=\n\r \t]/.test(text) && !/^[#\s\u0085]/.test(text));
    const value = fc.string({ unit: 'binary' }).filter((text) => !/\n|\r$/.test(text));
    const noise = fc.constantFrom('', '\n', '# A=1\n', '  #\n', '\t\n');
    const line = fc.record({
      name,
      value,
      noise,
      end: fc.constantFrom('\n', '\r\n'),
      space: fc.constantFrom('', ' ', '\t '),
    });
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const text = lines.map((one) => `${one.noise}${one.space}${one.name}=${one.value}${one.end}`).join('');
        const wanted = Object.fromEntries(lines.map((one) => [one.name, one.value]));
        expect(parse(text)).toEqual({ values: wanted, missing: [] });
      }),
      { seed: 1, numRuns: 500 },
    );
  });
});
