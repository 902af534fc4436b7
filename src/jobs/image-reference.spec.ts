import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { faultOfImage, formatImageReference, isImageReference, parseImageReference } from './image-reference.js';

const HEX = 'a'.repeat(64);
const DIGEST = `sha256:${HEX}`;

describe('parseImageReference', () => {
  it.each([
    ['nginx', { name: 'nginx', tag: 'latest' }],
    ['nginx:1.28', { name: 'nginx', tag: '1.28' }],
    ['library/nginx', { name: 'nginx', tag: 'latest' }],
    ['docker.io/library/nginx', { name: 'nginx', tag: 'latest' }],
    ['index.docker.io/nginx:1', { name: 'nginx', tag: '1' }],
    ['docker.io/team/app', { name: 'team/app', tag: 'latest' }],
    ['team/app:v2', { name: 'team/app', tag: 'v2' }],
    ['localhost/app', { name: 'localhost/app', tag: 'latest' }],
    ['localhost:5000', { name: 'localhost', tag: '5000' }],
    ['localhost:5000/app', { name: 'localhost:5000/app', tag: 'latest' }],
    ['registry.example.com:5000/a/b_c/d--e:T_1.x', { name: 'registry.example.com:5000/a/b_c/d--e', tag: 'T_1.x' }],
    ['[::1]:5000/app', { name: '[::1]:5000/app', tag: 'latest' }],
    ['Registry/app', { name: 'Registry/app', tag: 'latest' }],
    [`nginx@${DIGEST}`, { name: 'nginx', digest: DIGEST }],
    [`nginx:1@${DIGEST}`, { name: 'nginx', tag: '1', digest: DIGEST }],
    ['library/team/app', { name: 'library/team/app', tag: 'latest' }],
  ])('reads %s', (reference, expected) => {
    expect(parseImageReference(reference)).toEqual(expected);
  });

  it.each([
    '',
    ' nginx',
    'Nginx',
    'nginx:',
    'nginx:-x',
    'nginx@',
    'nginx@sha256:abc',
    `nginx@sha256:${'A'.repeat(64)}`,
    'a//b',
    '/a',
    'a/',
    '-a.b/c',
    'a:1:2',
    'a b',
    'nginx;rm',
    '$(x)',
    HEX,
    `a/${'b'.repeat(300)}`,
  ])('refuses %j', (reference) => {
    expect(() => parseImageReference(reference)).toThrow(/^image: /);
  });

  it('writes every reference it read in a form it reads the same way', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?$/);
    const domain = fc.option(fc.constantFrom('docker.io', 'localhost:5000', 'r.example.com', 'A'), { nil: undefined });
    const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}$/), { nil: undefined });
    const digest = fc.option(fc.constant(DIGEST), { nil: undefined });
    fc.assert(
      fc.property(domain, fc.array(component, { minLength: 1, maxLength: 3 }), tag, digest, (registry, path, t, d) => {
        const reference = [
          registry === undefined ? '' : `${registry}/`,
          path.join('/'),
          t === undefined ? '' : `:${t}`,
          d === undefined ? '' : `@${d}`,
        ].join('');
        const parsed = parseImageReference(reference);
        const { name, tag: version, digest: fixed } = parseImageReference(formatImageReference(parsed));
        expect(name).toBe(parsed.name);
        expect(fixed ?? version).toBe(parsed.digest ?? parsed.tag);
      }),
    );
  });
});

describe('what is wrong with an image', () => {
  it.each([
    ['nginx :1', /spaces/],
    ['https://r.example.com/app', /leave out «https:\/\/»/],
    ['docker://nginx', /leave out «docker:\/\/»/],
    ['Nginx', /lower case/],
    ['r.example.com/Team/app:V1', /lower case/],
    ['nginx:', /tag, after «:»/],
    ['nginx:-x', /tag, after «:»/],
    ['nginx:1@sha256:abc', /digest, after «@»/],
    [`nginx@sha256:${'A'.repeat(64)}`, /digest, after «@»/],
    ['-a.b/c', /«-a.b» is not the host/],
    [HEX, /not the id of an image/],
    [`a/${'b'.repeat(300)}`, /at most 255/],
    ['a//b', /image reference like/],
    ['nginx;rm', /image reference like/],
  ])('%s', (reference, fault) => {
    expect(faultOfImage(reference)).toMatch(fault);
  });

  it('is nothing where Docker takes it, and something where it does not', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'B', '0', '.', '_', '-', '/', ':', '@', ' ', 'é'),
      maxLength: 24,
    });
    fc.assert(
      fc.property(text, (reference) => (faultOfImage(reference) === undefined) === isImageReference(reference)),
    );
    expect(faultOfImage(`registry.example.com:5000/team/app:V_1.x@${DIGEST}`)).toBeUndefined();
  });
});
