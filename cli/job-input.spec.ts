import { describe, expect, it } from '@jest/globals';
import type { Job } from '../client/index.js';
import { clearing, definitionOf, replacing, secretsOf } from './job-input.js';

const JOB = {
  env: { A: '1', B: '2' },
  ports: [{ container: 80, host: 80 }],
  health: { path: '/', port: 80, intervalSeconds: 5, timeoutSeconds: 3, retries: 3, startPeriodSeconds: 30 },
  requestedInstance: { types: ['t3.small'], diskGiB: 30 },
  instance: { id: 'i-0123456789abcdef0' },
  memoryMiB: 64,
  onCapacity: { waitSeconds: 60, fallback: { market: 'on-demand' } },
} as unknown as Job;

describe('definitionOf', () => {
  it('reads ports as Docker does, and a health check of the first one unless told otherwise', () => {
    expect(definitionOf({ port: ['8080:80', '443'], health: '/up?a=1' }, ['node', 'web.js'])).toEqual({
      ports: [
        { host: 8080, container: 80 },
        { host: 443, container: 443 },
      ],
      health: { path: '/up?a=1', port: 8080 },
      command: ['node', 'web.js'],
    });
    expect(definitionOf({ health: '443/' }, [])).toEqual({ health: { path: '/', port: 443 } });
  });

  it('speaks of nothing that no option spoke of', () => {
    expect(definitionOf({}, [])).toEqual({});
  });

  it('keeps all of a value behind the first equals sign', () => {
    expect(definitionOf({ env: ['URL=http://x/?a=b', 'EMPTY='] }, []).env).toEqual({ URL: 'http://x/?a=b', EMPTY: '' });
  });

  it.each([[{ env: ['=x'] }], [{ port: ['a'] }], [{ port: ['80/udp'] }], [{ health: 'up' }], [{ health: '/' }]])(
    'refuses %j by the name of the option',
    (options) => {
      expect(() => definitionOf(options, [])).toThrow(`--${Object.keys(options)[0]!}`);
    },
  );
});

describe('secretsOf', () => {
  it('takes an empty value, and nothing for one that is not there', () => {
    expect(secretsOf({ secret: ['A'] }, { A: '' })).toEqual({ A: '' });
    expect(() => secretsOf({ secret: ['B'] }, { A: '' })).toThrow('--secret B');
  });
});

describe('replacing', () => {
  it('gives every field its default again that the file does not speak of, also inside', () => {
    expect(replacing(JOB, { env: { A: '1' }, health: { port: 80, path: '/up' } })).toEqual({
      command: null,
      entrypoint: null,
      env: { A: '1', B: null },
      ports: null,
      memoryMiB: null,
      cpus: null,
      health: {
        path: '/up',
        port: 80,
        intervalSeconds: null,
        timeoutSeconds: null,
        retries: null,
        startPeriodSeconds: null,
      },
      instance: null,
      rollout: null,
      onCapacity: null,
      maxSilenceSeconds: null,
    });
  });

  it('leaves a field nobody knows for the API to refuse, and out what is no part of a definition', () => {
    const patch = replacing(JOB, { kind: 'service', image: 'web', memory: 5 } as object);
    expect(patch).toMatchObject({ memory: 5 });
    expect(patch).not.toHaveProperty('kind');
    expect(patch).not.toHaveProperty('image');
  });

  it('compares what is wanted of the instance with what was, not with the instance itself', () => {
    expect(replacing(JOB, { instance: { types: ['t3.large'] } }).instance).toEqual({
      types: ['t3.large'],
      diskGiB: null,
    });
  });

  it('clears onCapacity first where the file leaves something of it out', () => {
    expect(clearing(JOB, { onCapacity: { waitSeconds: 5 } })).toEqual({ onCapacity: null });
    expect(clearing(JOB, { onCapacity: { waitSeconds: 5, fallback: { market: 'on-demand' } } })).toBeUndefined();
    expect(clearing(JOB, { onCapacity: 'fail' })).toBeUndefined();
    expect(clearing(JOB, {})).toBeUndefined();
  });
});
