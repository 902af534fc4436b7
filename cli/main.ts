#!/usr/bin/env node
// The bin. A Node that is too old for the rest must be able to read this file, or it prints only a stack trace:
// no import or export here, and no syntax newer than ES2018 but `import()`, which a test holds.

const NEEDED = 24;

if (Number(process.versions.node.split('.')[0]) >= NEEDED) {
  void import('./start.js');
} else {
  void startElsewhere().catch(refuse);
}

/** On the Node that `npm ci` has put into a clone, whatever the machine has. @throws where there is none */
async function startElsewhere(): Promise<void> {
  const [{ spawn }, { realpathSync }, path] = await Promise.all([
    import('child_process'),
    import('fs'),
    import('path'),
  ]);
  // `npm link` makes the command a symbolic link to dist/cli/main.js of the clone.
  const self = realpathSync(String(process.argv[1]));
  const name = process.platform === 'win32' ? 'node.exe' : 'node';
  const node = realpathSync(path.join(self, '../../../node_modules/node/bin', name));
  if (node === realpathSync(process.execPath)) throw new Error('it is this one');
  // Ctrl-C at a terminal reaches the child by itself, and a second one would end it without its last words.
  const isOnTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  process.on('SIGINT', () => isOnTerminal || child.kill('SIGINT'));
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const child = spawn(node, [self].concat(process.argv.slice(2)), { stdio: 'inherit' });
  child.on('error', refuse);
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code === null ? 1 : code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function refuse(): void {
  const have = `this is Node ${process.versions.node} (${process.execPath})`;
  const message = `scheduler needs Node ${NEEDED} or newer, and ${have}`;
  // The exit `usage` of exit-codes.ts: nothing was sent.
  const error = { exit: 'usage', code: 2, message };
  const isJson = process.argv.indexOf('--json') > 0;
  process.stderr.write(isJson ? `${JSON.stringify({ error })}\n` : `error: ${message}\n`);
  process.exitCode = 2;
}
