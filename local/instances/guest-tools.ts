import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';

/** The words of a command like `shutdown -h +15`, as the guest typed them. */
export type CommandListener = (words: string[]) => void;

/**
 * All that a guest can run by bare name: its PATH is this one folder. Tools that read, write and compute are linked from
 * this machine; the ones that act on a machine are replaced by scripts that act on the instance.
 */
export async function installTools(folder: string, powerSocket: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of LINKED) {
    const tool = find(name);
    if (tool !== undefined) await symlink(tool, join(folder, name)).catch(ignoreExisting);
  }
  const send = `exec curl -q -s -o /dev/null --max-time 5 --unix-socket '${powerSocket}' --data-binary "\${0##*/} $*" http://power/`;
  for (const name of POWER) await script(join(folder, name), send);
  // Without an answer that says systemd the agent runs in the foreground, as this process group.
  await script(join(folder, 'systemctl'), 'echo offline\nexit 1');
}

/** Receives the commands that the shims send. @returns a function that closes it */
export async function listenForCommands(socket: string, onCommand: CommandListener): Promise<() => Promise<void>> {
  const server = createServer((request, response) => {
    text(request).then(
      (command) => {
        response.end();
        onCommand(command.trim().split(/\s+/));
      },
      () => response.destroy(),
    );
  });
  server.listen(socket);
  await once(server, 'listening');
  return async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
}

/** The programs that docker mode cannot do without and that are not here. */
export function missingTools(): string[] {
  return ['sh', 'curl'].filter((name) => find(name) === undefined);
}

const POWER = ['shutdown', 'poweroff', 'halt', 'reboot'];

const LINKED =
  'sh bash cat chmod cp curl cut date dd dirname basename env expr false find grep head hostname id ls mkdir mktemp mv od printf pwd rm rmdir sed seq sleep sort stat sync tail tee test touch tr true uname uniq wc xargs awk base64 sha256sum'.split(
    ' ',
  );

function find(name: string): string | undefined {
  const path = `${process.env.PATH ?? ''}${delimiter}/usr/bin${delimiter}/bin`;
  return path
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

async function script(file: string, body: string): Promise<void> {
  await writeFile(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}
