import { enableCompileCache } from 'node:module';
import type { Exit } from './exit-codes.js';

// What concerns this process. A cache of compiled code halves the time to the first line.
enableCompileCache();
const [{ run }, { openTerminal }] = await Promise.all([import('./program.js'), import('./terminal.js')]);

const stopping = new AbortController();
stopOn('SIGINT', 'interrupted');
stopOn('SIGTERM', 'terminated');
// `scheduler jobs | head` closes the pipe early, and nothing is wrong.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : 1));
}

process.exitCode = await run({
  args: process.argv.slice(2),
  environment: process.env,
  terminal: openTerminal(process),
  signal: stopping.signal,
});

/** The first signal asks the command to end, the second ends the process. */
function stopOn(signal: NodeJS.Signals, exit: Exit): void {
  process.once(signal, () => stopping.abort(exit));
}
