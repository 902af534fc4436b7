import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';

/** A Docker registry on loopback, as far as push and pull need one (OCI distribution specification). In memory. */
export type Registry = {
  /** `127.0.0.1:port`: Docker takes plain HTTP from there. */
  readonly host: string;
  /** From now on only for clients that send these. */
  protect(username: string, password: string): void;
  close(): Promise<void>;
};

type Manifest = { type: string; body: Buffer; digest: string };
type Answer = { status: number; headers?: Record<string, string>; body?: Buffer };

export async function startRegistry(): Promise<Registry> {
  const blobs = new Map<string, Buffer>();
  const uploads = new Map<string, Buffer[]>();
  /** By tag and by digest. */
  const manifests = new Map<string, Manifest>();

  let authorization: string | undefined;

  const answer = async (request: IncomingMessage): Promise<Answer> => {
    if (authorization !== undefined && request.headers.authorization !== authorization) {
      return { status: 401, headers: { 'www-authenticate': 'Basic realm="test"' } };
    }
    const { method = 'GET' } = request;
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://registry');
    const body = await buffer(request);
    const [, name = '', kind = '', reference = ''] =
      /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests)\/(.*)$/.exec(pathname) ?? [];
    if (kind === 'manifests')
      return method === 'PUT' ? putManifest(name, reference, request, body) : manifest(reference);
    if (kind === 'blobs') return blob(reference);
    if (kind !== 'blobs/uploads') return { status: pathname === '/v2/' ? 200 : 404 };
    if (method === 'POST') return upload(name, crypto.randomUUID(), []);
    const parts = [...(uploads.get(reference) ?? []), body];
    if (method === 'PATCH') return upload(name, reference, parts);
    blobs.set(searchParams.get('digest') ?? '', Buffer.concat(parts));
    uploads.delete(reference);
    return { status: 201 };
  };
  const upload = (name: string, id: string, parts: Buffer[]): Answer => {
    uploads.set(id, parts);
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    const location = `/v2/${name}/blobs/uploads/${id}`;
    return { status: 202, headers: { location, 'docker-upload-uuid': id, range: `0-${Math.max(0, size - 1)}` } };
  };
  const putManifest = (name: string, reference: string, { headers }: IncomingMessage, body: Buffer): Answer => {
    const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
    const stored = { type: headers['content-type'] ?? '', body, digest };
    manifests.set(reference, stored).set(digest, stored);
    return { status: 201, headers: { 'docker-content-digest': digest, location: `/v2/${name}/manifests/${digest}` } };
  };
  const manifest = (reference: string): Answer => {
    const found = manifests.get(reference);
    if (!found) return { status: 404 };
    const headers = { 'content-type': found.type, 'docker-content-digest': found.digest };
    return { status: 200, headers, body: found.body };
  };
  const blob = (digest: string): Answer => {
    const body = blobs.get(digest);
    return body ? { status: 200, headers: { 'docker-content-digest': digest }, body } : { status: 404 };
  };

  const server = createServer((request, response) => {
    answer(request).then(
      (given) => send(request, response, given),
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    host: `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    protect: (username, password) => {
      authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    },
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Answer): void {
  const length = body?.length ?? 0;
  response.writeHead(status, { ...headers, 'content-length': String(length) });
  response.end(request.method === 'HEAD' ? undefined : body);
}
