import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll } from '@jest/globals';
import { callEngine } from '../../local/instances/docker-engine.ts';
import { createDockerRuntime, findDockerEngine } from '../../local/instances/docker-runtime.ts';
import { describeLifecycle } from '../support/lifecycle.js';
import { describeWhen } from '../support/when.js';

const IMAGE = process.env['HELLO_TAG'] ?? 'hello-web:1';
/** At once: one that serves first may have been healthy before it exits. */
const EXITS = `console.log('there is no configuration'); process.exit(3)`;
const engine = await findDockerEngine();
const hasImage = engine ? (await isThere(engine.socket)) || (build() && (await isThere(engine.socket))) : false;

describeWhen(hasImage, engine ? `the engine has no image ${IMAGE}` : 'no Docker engine answers', 'docker mode', () => {
  const socket = engine?.socket ?? '';
  const folder = mkdtempSync(join(tmpdir(), 'lifecycle-'));

  // Somebody else's, on an engine that is shared.
  const othersBefore: string[] = [];
  beforeAll(async () => void othersBefore.push(...(await containers(socket))));

  describeLifecycle('a service on real containers', {
    createRuntime: () => createDockerRuntime({ engineSocket: socket, folder }),
    webImage: IMAGE,
    failures: {
      missing: { image: 'scheduler-api.invalid/no-such-image:1' },
      exits: { image: IMAGE, definition: { command: ['node', '-e', EXITS] } },
      unhealthy: {
        image: IMAGE,
        definition: { health: { path: '/fail', port: 8080, intervalSeconds: 1, startPeriodSeconds: 3 } },
      },
    },
    leftOvers: async () => (await containers(socket)).filter((name) => !othersBefore.includes(name)),
  });
});

async function isThere(socket: string): Promise<boolean> {
  return (await callEngine(socket, { path: `/images/${IMAGE}/json` })).status === 200;
}

/** Where the base image can be pulled; elsewhere a stand-in of this tag must have been made. */
function build(): boolean {
  const folder = join(import.meta.dirname, 'hello-web');
  return spawnSync('docker', ['build', '-q', '-t', IMAGE, folder], { timeout: 300_000 }).status === 0;
}

/** Names of the containers that run our image, or ran it. */
async function containers(socket: string): Promise<string[]> {
  const { text } = await callEngine(socket, { path: '/containers/json?all=1' });
  const all = JSON.parse(text) as { Names: string[]; Image: string }[];
  return all.filter(({ Image }) => Image === IMAGE).flatMap(({ Names }) => Names);
}
