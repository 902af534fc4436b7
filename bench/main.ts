// npm run bench, or `npm run bench -- NAME` for one group: what the API costs, beside what the same work costs without it,
// in interleaved rounds of one run. Ratios are comparable between machines; absolute figures are not.
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { benchAddresses, type Options } from './addresses.ts';
import { benchHttp } from './http.ts';
import type { Row } from './table.ts';
import { printTable } from './table.ts';

type Group = { readonly about: string; readonly run: (options: Options) => Promise<Row[]> };

const GROUPS: Readonly<Record<string, Group>> = {
  http: {
    about:
      'Processor time of the server (user and system) for each request, access control on; in brackets that of Postgres.\n' +
      'Floor: node:http and pg with the same rows, without access control, validation or problems. Medians of the rounds.',
    run: benchHttp,
  },
  addresses: {
    about:
      'Processor time of nginx (user and system) for each request of 16 callers, and the time that a request takes where one\n' +
      'comes after the other. The job is an nginx that answers five bytes; lookups are answered by a stand-in of the API.\n' +
      'Medians of the rounds.',
    run: benchAddresses,
  },
};

const { values, positionals } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    // For addresses: where a web server listens that is to be the job, as `198.18.0.2:8080`.
    job: { type: 'string' },
  },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !(name in GROUPS));
if (unknown.length > 0)
  throw new Error(`unknown group ${unknown.join(', ')}: there are ${Object.keys(GROUPS).join(', ')}`);

const commit = textOf('git', ['rev-parse', '--short', 'HEAD']);
console.log(
  `${new Date().toISOString()}, commit ${commit}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}`,
);
for (const [name, { about, run }] of Object.entries(GROUPS)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  console.log(`\n${name}\n${about}\n`);
  printTable(await run({ rounds: Number(values.rounds), seconds: Number(values.seconds), job: values.job }));
}

function textOf(program: string, args: readonly string[]): string {
  return execFileSync(program, args).toString().trim();
}
