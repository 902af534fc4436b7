import { connect } from 'node:net';

/**
 * Of a server on 127.0.0.1.
 *
 * @param line method and target, which are sent as they are
 * @returns the status of the answer; 0 = none
 */
export async function statusOf(port: number, line: string, headers: Record<string, string>): Promise<number> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return await new Promise((done, fail) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(
        `${line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n${lines.join('')}\r\n`,
      );
    });
    socket.setTimeout(20_000, () => socket.destroy(new Error(`no answer to ${line}`)));
    socket
      .setEncoding('latin1')
      .on('data', (chunk: string) => (text += chunk))
      .on('error', fail)
      .on('close', () => done(Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0)));
  });
}

/**
 * Ways to write `path` that a proxy and the server behind it could read differently: as `path` by one of them, as `other` or
 * something else by the other.
 */
export function spellingsOf(path: string, other: string): string[] {
  const separators = ['/', '//', '/./', '%2f', '%2F', '%252f', '%5c', '\\', ';/', '/;/', '%c0%af', '%ef%bc%8f'];
  const parents = ['..', '%2e%2e', '.%2e', '%2E.', '..;', '..%00', '%252e%252e'];
  const segments = path.split('/').slice(1);
  const detours = separators.flatMap((separator) =>
    parents.flatMap((parent) => {
      const up = (count: number) => `${separator}${parent}`.repeat(count);
      const behind = (text: string) => text.split('/').join(separator);
      return [
        // A detour behind each segment: it may be in what one of the two takes for a single, last one.
        ...segments.flatMap((_, index) => {
          const [before, after] = [segments.slice(0, index + 1), segments.slice(index + 1)];
          const end = after.length > 0 ? `/${after.join('/')}` : '';
          return [0, 1].map((more) => `/${before.join('/')}${up(before.length + more)}${behind(other)}${end}`);
        }),
        ...[1, 2, 3].map((count) => `${other}${up(count)}${behind(path)}`),
      ];
    }),
  );
  const rest = path.slice(1);
  const [first = '', ...later] = segments;
  const hex = (text: string) => `%${text.charCodeAt(0).toString(16)}`;
  return [
    ...detours,
    ...separators.flatMap((separator) => [
      `${separator}${rest}`,
      `/${first}${separator}${later.join('/')}`,
      `${path}${separator}`,
    ]),
    ...['#', '%23', '%3f', ';', '%3b', '%00', '%20', '.', '%2e', '%0a', '%0d%0a', '/', '?', '#/../..', '?/../..'].map(
      (end) => `${path}${end}`,
    ),
    `/${hex(first)}${rest.slice(1)}`,
    `/%25${hex(first).slice(1)}${rest.slice(1)}`,
    path.toUpperCase(),
    `/${first.toUpperCase()}/${later.join('/')}`,
    rest,
    `*${path}`,
    ...['http://localhost', 'HTTP://LOCALHOST:80', 'https://localhost', 'http://', 'http:', '//localhost'].flatMap(
      (origin) => [`${origin}${path}`, `${origin}/x/%2e%2e${path}`, `${origin}${path}%2f..%2f..%2f..${other}`],
    ),
  ].filter((target) => !/[\s]/.test(target));
}
