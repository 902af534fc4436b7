import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export const IDENTITY = { document: '{\n  "instanceId" : "i-1",\n  "x" : "a+b&c=d%"\n}', signature: 'QUJD\nREVG+/==' };

/** IMDSv2 with what the agent reads. */
export async function startFakeMetadata() {
  const paths = new Map([
    ['dynamic/instance-identity/document', IDENTITY.document],
    ['dynamic/instance-identity/signature', IDENTITY.signature],
  ]);
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace('/latest/', '');
    const isToken = request.method === 'PUT' && path === 'api/token';
    const isAllowed = request.headers['x-aws-ec2-metadata-token'] === 'metadata-token';
    const body = isToken ? 'metadata-token' : paths.get(path);
    response.writeHead(isToken ? 200 : !isAllowed ? 401 : body === undefined ? 404 : 200);
    response.end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    paths,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
