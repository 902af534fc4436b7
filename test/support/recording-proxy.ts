import { createServer, type IncomingHttpHeaders, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** A call as it went over the wire; bodies in base64. */
export type RecordedCall = {
  readonly service: 'ec2' | 'ecr' | 's3';
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly query: string;
    readonly headers: IncomingHttpHeaders;
    readonly body: string;
  };
  readonly response: { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string };
};

export type RecordingProxy = {
  readonly url: string;
  /** Oldest first. */
  readonly calls: readonly RecordedCall[];
  close(): Promise<void>;
};

const ANSWER_LIMIT_MS = 30_000;

/** Passes everything on as it is, the host name of the request included: signatures stay valid. */
export async function startRecordingProxy(target: string): Promise<RecordingProxy> {
  const calls: RecordedCall[] = [];
  const server = createServer((incoming, outgoing) => {
    const pass = async (): Promise<void> => {
      const { method = 'GET', url = '/', headers } = incoming;
      const sent = await buffer(incoming);
      const answer = await ask(target, { method, url, headers }, sent);
      const [path = '/', query = ''] = url.split(/\?(.*)/s);
      calls.push({
        service: serviceOf(headers),
        request: { method, path, query, headers, body: sent.toString('base64') },
        response: { status: answer.status, headers: answer.headers, body: answer.body.toString('base64') },
      });
      outgoing.writeHead(answer.status, answer.headers);
      outgoing.end(answer.body);
    };
    pass().catch(() => incoming.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer };

async function ask(
  target: string,
  { method, url, headers }: { method: string; url: string; headers: IncomingHttpHeaders },
  body: Buffer,
): Promise<Answer> {
  return await new Promise<Answer>((resolve, reject) => {
    const options = { method, headers, timeout: ANSWER_LIMIT_MS };
    const outgoing = send(new URL(url, target), options, (incoming) => {
      const { statusCode: status = 0, headers: answered } = incoming;
      buffer(incoming).then((content) => resolve({ status, headers: answered, body: content }), reject);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** The service that a signature is for. */
function serviceOf({ authorization = '' }: IncomingHttpHeaders): RecordedCall['service'] {
  const [, service] = /Credential=[^/]+\/\d+\/[^/]+\/(ec2|ecr|s3)\/aws4_request/.exec(authorization) ?? [];
  if (service === undefined) throw new Error('a call without a signature');
  return service as RecordedCall['service'];
}
