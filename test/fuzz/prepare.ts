import type { AgentProxy } from './agent-proxy.ts';
import { type Callers, tokenOf } from './callers.ts';
import { readDocument } from './document.ts';
import { createDraw } from './draw.ts';
import { Known } from './known.ts';
import type { Sources } from './sources.ts';
import { ValueMaker } from './values.ts';

export const ADMIN_TOKEN = 'the-token-of-the-operator-who-fuzzes';
const AGENTS = 4;
const AGENTS_LIMIT_MS = 30_000;

/** A token of each role, with and without a scope, one that may send little, and one of a role for nothing here. */
export async function prepare(url: string, proxy: AgentProxy, seed: number): Promise<Sources> {
  const kept = new Set<string>();
  const make = async (token: object): Promise<string> => {
    const response = await fetch(`${url}/v1/tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify(token),
    });
    if (response.status !== 201) throw new Error(`no token: ${response.status} ${await response.text()}`);
    const made = (await response.json()) as { id: string; token: string };
    kept.add(made.id);
    return made.token;
  };
  const scope = ['story-', 'web', 'a'];
  const callers: Callers = {
    byRole: {
      viewer: [
        tokenOf('viewer', await make({ name: 'viewer', role: 'viewer' })),
        tokenOf('viewer with a scope', await make({ name: 'viewer', role: 'viewer', scope })),
      ],
      deployer: [
        tokenOf('deployer', await make({ name: 'deployer', role: 'deployer' })),
        tokenOf('deployer with a scope', await make({ name: 'deployer', role: 'deployer', scope, maxJobs: 30 })),
        tokenOf('slow deployer', await make({ name: 'slow', role: 'deployer', requestsPerMinute: 120 })),
      ],
      admin: [
        tokenOf('admin', await make({ name: 'admin', role: 'admin' })),
        tokenOf('ADMIN_TOKEN', ADMIN_TOKEN),
        tokenOf('slow admin', await make({ name: 'slow', role: 'admin', requestsPerMinute: 120 })),
      ],
    },
    agents: () => proxy.tokens,
    found: [],
  };
  const document = readDocument();
  return {
    document,
    callers,
    values: new ValueMaker(document, seed),
    known: new Known(document.operations, createDraw(seed), kept),
    forms: () => proxy.forms,
  };
}

/** Without jobs there would be no agents to speak as. */
export async function startAgents(url: string, proxy: AgentProxy): Promise<void> {
  for (let number = 1; number <= AGENTS; number += 1) {
    await fetch(`${url}/v1/jobs`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: `agent-${number}`, image: 'nginx', instance: { types: ['t3.small'] } }),
    });
  }
  const deadline = performance.now() + AGENTS_LIMIT_MS;
  while (proxy.tokens.length < AGENTS) {
    if (performance.now() > deadline) throw new Error('no agents have come');
    await new Promise((done) => setTimeout(done, 50));
  }
}
