import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InstanceRuntime } from '../../local/cloud/runtime.ts';
import { callEngine } from '../../local/instances/docker-engine.ts';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { describeLifecycle } from '../support/lifecycle.ts';
import { describeWhen } from '../support/when.ts';

/** At once: one that serves first may have been healthy before it exits. */
const EXITS = `console.log('there is no configuration'); process.exit(3)`;
const { engine, isReady, whyNot } = await findHelloEngine();

describeWhen(isReady, whyNot, 'docker mode', () => {
  const socket = engine?.socket ?? '';
  const folder = mkdtempSync(join(tmpdir(), 'lifecycle-'));

  // The engine is shared with other tests, whose containers have another cloud's id.
  let cloudId = '';
  const createRuntime = (): InstanceRuntime => {
    const runtime = createDockerRuntime({ engineSocket: socket, folder });
    const open: InstanceRuntime['open'] = async (cloud) => {
      cloudId = cloud.id;
      await runtime.open?.(cloud);
    };
    return { ...runtime, open };
  };

  describeLifecycle('a service on real containers', {
    createRuntime,
    webImage: HELLO_IMAGE,
    failures: {
      missing: { image: 'scheduler-api.invalid/no-such-image:1' },
      exits: { image: HELLO_IMAGE, definition: { command: ['node', '-e', EXITS] } },
      unhealthy: {
        image: HELLO_IMAGE,
        definition: { health: { path: '/fail', port: 8080, intervalSeconds: 1, startPeriodSeconds: 3 } },
      },
    },
    leftOvers: async () => (await containers(socket)).filter((name) => name.startsWith(`/${cloudId}-`)),
  });
});

async function containers(socket: string): Promise<string[]> {
  const { text } = await callEngine(socket, { path: '/containers/json?all=1' });
  return (JSON.parse(text) as { Names: string[] }[]).flatMap(({ Names }) => Names);
}
