import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { callEngine, type DockerEngine, findDockerEngine } from '../../local/instances/docker-engine.ts';

/** The web server that the Docker tests deploy. */
export const HELLO_IMAGE = process.env['HELLO_TAG'] ?? 'hello-web:1';

export type HelloEngine = { engine: DockerEngine | undefined; isReady: boolean; whyNot: string };

/** The engine of this machine with the image on it, which is built where its base image can be had. */
export async function findHelloEngine(): Promise<HelloEngine> {
  const engine = await findDockerEngine();
  if (!engine) return { engine, isReady: false, whyNot: 'no Docker engine answers' };
  const isReady = (await isThere(engine.socket)) || (build() && (await isThere(engine.socket)));
  return { engine, isReady, whyNot: `the engine has no image ${HELLO_IMAGE}` };
}

async function isThere(socket: string): Promise<boolean> {
  return (await callEngine(socket, { path: `/images/${HELLO_IMAGE}/json` })).status === 200;
}

/** Where the base image can be pulled; elsewhere a stand-in of this tag must have been made. */
function build(): boolean {
  const folder = join(import.meta.dirname, '../docker/hello-web');
  return spawnSync('docker', ['build', '-q', '-t', HELLO_IMAGE, folder], { timeout: 300_000 }).status === 0;
}
