import { expect, it } from '@jest/globals';
import { extraHosts } from './private-names.ts';

const names = { domain: 'jobs.internal', address: '172.17.0.1', jobs: () => Promise.resolve(['web', 'api']) };

it('has the jobs there are, and those that the container names', async () => {
  const body = {
    Env: [
      'API=http://api.jobs.internal:3000/',
      'OTHERS=Later-1.jobs.internal.,two.jobs.internal:80\nthree.jobs.internal',
    ],
    Cmd: ['sh', '-c', 'curl http://me@four.jobs.internal/x'],
    Entrypoint: ['http://five.jobs.internal'],
    Labels: { six: 'six.jobs.internal' },
  };
  const jobs = ['api', 'five', 'four', 'later-1', 'three', 'two', 'web'];
  expect(await extraHosts(body, names)).toEqual(jobs.map((job) => `${job}.jobs.internal:172.17.0.1`));
});

it('takes for a name what is one, whole', async () => {
  const Env = [
    ...[
      'a.web.jobs.internal',
      'x.jobs.internal.example.com',
      'y.jobs.internals',
      '-z.jobs.internal',
      'u_v.jobs.internal',
    ],
    ...['.jobs.internal', 'jobs.internal', 'wjobs.internal', `${'l'.repeat(64)}.jobs.internal`, 'w-.jobs.internal'],
    'xjobsxinternal',
  ];
  expect(await extraHosts({ Env }, { ...names, jobs: () => Promise.resolve([]) })).toEqual([]);
});

it('does without the list of jobs where there is none, and without anything to look in', async () => {
  const jobs = () => Promise.reject(new Error('no answer'));
  expect(await extraHosts({ Env: ['A=a.jobs.internal'] }, { ...names, jobs })).toEqual(['a.jobs.internal:172.17.0.1']);
  expect(await extraHosts({ Env: null, Cmd: 'b.jobs.internal' }, { ...names, jobs })).toEqual([
    'b.jobs.internal:172.17.0.1',
  ]);
});
