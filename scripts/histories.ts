// Plays many random histories of the planners, on all cores: `npm run test:histories`. HISTORIES (100,000) and SEED (drawn)
// come from the environment. A failure prints the seed of its share; SEED=… HISTORIES=… npm run jest -- … replays it.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';

const SPECS = String.raw`test/histories/|\.property\.spec`;

const histories = Number(process.env['HISTORIES'] ?? 100_000);
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 30));
const shares = Math.min(availableParallelism(), histories);
const each = Math.ceil(histories / shares);

console.log(`${each * shares} histories in ${shares} shares of ${each}, seeds from ${seed}`);
const startedAt = performance.now();
const codes = await Promise.all(Array.from({ length: shares }, (_, share) => play(seed + share)));
const failed = codes.filter((code) => code !== 0).length;
const seconds = Math.round((performance.now() - startedAt) / 1000);
console.log(
  failed === 0 ? `${each * shares} histories passed in ${seconds} s` : `${failed} shares failed after ${seconds} s`,
);
process.exitCode = failed === 0 ? 0 : 1;

function play(shareSeed: number): Promise<number> {
  const jest = [
    'run',
    '--silent',
    'jest',
    '--',
    '--selectProjects',
    'unit',
    '--runInBand',
    '--testPathPatterns',
    SPECS,
  ];
  const env = { ...process.env, HISTORIES: String(each), SEED: String(shareSeed) };
  const child = spawn('npm', jest, { env, stdio: ['ignore', 'inherit', 'inherit'] });
  return new Promise((done) => child.on('close', (code) => done(code ?? 1)));
}
