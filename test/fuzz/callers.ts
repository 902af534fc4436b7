import type { Access, Operation } from './document.ts';
import type { Draw } from './draw.ts';

/** Who sends a request. `headers` has its credentials. */
export type Caller = { readonly name: string; readonly authorization: string | undefined };

export type Callers = {
  readonly byRole: Readonly<Record<'viewer' | 'deployer' | 'admin', readonly Caller[]>>;
  /** Tokens of agents that have registered by now. */
  agents(): readonly string[];
  /** Tokens that responses returned. */
  readonly found: string[];
};

/** Mostly a caller with access; else any caller. */
export function pickCaller(draw: Draw, callers: Callers, operation: Operation | undefined): Caller {
  const access = operation?.access ?? 'public';
  if (draw.chance(0.72)) return rightful(draw, callers, access);
  return draw.weigh<() => Caller>([
    [3, () => NOBODY],
    [3, () => draw.pick(Object.values(callers.byRole).flat())],
    [2, () => agentOf(draw, callers)],
    [1, () => tokenOf('found', draw.pick([...callers.found, 'sch_00000000_00']))],
    [2, () => tokenOf('wrong', `sch_${draw.hex(8)}_${draw.hex(64)}`)],
    [1, () => tokenOf('wrong', draw.hex(64))],
    [2, () => ({ name: 'odd', authorization: draw.pick(ODD) })],
  ])();
}

function rightful(draw: Draw, callers: Callers, access: Access): Caller {
  switch (access) {
    case 'public':
      return NOBODY;
    case 'agent':
      return agentOf(draw, callers);
    case 'admin':
      return draw.pick(callers.byRole.admin);
    case 'deployer':
      return draw.pick([...callers.byRole.deployer, ...callers.byRole.admin]);
    case 'viewer':
      return draw.pick([...callers.byRole.viewer, ...callers.byRole.deployer, ...callers.byRole.admin]);
  }
}

function agentOf(draw: Draw, callers: Callers): Caller {
  const tokens = callers.agents();
  return tokenOf('agent', tokens.length > 0 ? draw.pick(tokens) : draw.hex(64));
}

export function tokenOf(name: string, token: string): Caller {
  return { name, authorization: `Bearer ${token}` };
}

const NOBODY: Caller = { name: 'nobody', authorization: undefined };

const ODD = [
  '',
  'Bearer',
  'Bearer ',
  'bearer a b',
  'Basic YWRtaW46YWRtaW4=',
  'Bearer __proto__',
  'Bearer sch_',
  `Bearer sch_00000000_${'0'.repeat(64)}`,
  `Bearer ${'a'.repeat(8_000)}`,
  'Digest username="a"',
  'Bearer \u00e9',
  'null',
];
