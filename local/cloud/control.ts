import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Market } from './instance.ts';
import type { Faults } from './faults.ts';
import { isSameText } from './keys.ts';
import type { Ledger } from './ledger.ts';
import { readBody } from './server.ts';
import { SNAPSHOT_STATES } from './snapshots.ts';

export type Controls = {
  readonly faults: Faults;
  readonly ledger: Ledger;
  /** A client that sends it as a bearer token may do anything with this cloud. */
  readonly token: string;
};

/** `/_local/*`: faults and the ledger for other processes (a chaos harness, a shell). JSON. */
export function handleControl(
  request: IncomingMessage,
  response: ServerResponse,
  { faults, ledger, token }: Controls,
): void {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://local');
  const reply = (status: number, value: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  if (!isSameText(request.headers.authorization ?? '', `Bearer ${token}`)) {
    reply(401, { error: 'Send LOCAL_CONTROL_TOKEN of LOCAL_DIR/env as a bearer token.' });
    return;
  }
  const route = `${request.method ?? 'GET'} ${pathname}`;
  if (route === 'GET /_local/instances') {
    reply(200, instancesView(ledger));
  } else if (route === 'GET /_local/ledger') {
    reply(200, { instances: instancesView(ledger), calls: ledger.calls(searchParams.get('action') ?? undefined) });
  } else if (route === 'POST /_local/faults') {
    void applyFault(request, faults).then(
      () => reply(200, { ok: true }),
      (error: unknown) => reply(400, { error: error instanceof Error ? error.message : String(error) }),
    );
  } else {
    reply(404, { error: `no ${route}` });
  }
}

/** `{"fault": "failNext", "action": "RunInstances", "code": "InternalError", "times": 2}`: the arguments of Faults by name. */
async function applyFault(request: IncomingMessage, faults: Faults): Promise<void> {
  const fields = new Fields(JSON.parse((await readBody(request, LONGEST_FAULT)).toString()));
  const name = fields.text('fault');
  const cause = new Map<string, Cause>(Object.entries(CAUSES)).get(name);
  if (cause === undefined) throw new Error(`fault: there is no '${name}'`);
  await cause(faults, fields);
}

type Cause = (faults: Faults, fields: Fields) => Promise<void> | void;

const CAUSES: Readonly<Record<keyof Faults, Cause>> = {
  failNext: (faults, fields) => {
    const status = fields.optionalNumber('status');
    const message = fields.optionalText('message');
    const error = { code: fields.text('code'), ...(status !== undefined && { status }), ...(message && { message }) };
    faults.failNext(fields.text('action'), error, fields.optionalNumber('times'));
  },
  loseAnswer: (faults, fields) => faults.loseAnswer(fields.text('action'), fields.optionalNumber('times')),
  delayAnswer: (faults, fields) =>
    faults.delayAnswer(fields.text('action'), fields.number('ms'), fields.optionalNumber('times')),
  throttle: (faults, fields) => faults.throttle(fields.text('action'), fields.number('ms')),
  delayVisibility: (faults, fields) => faults.delayVisibility(fields.number('ms')),
  setCapacity: (faults, fields) => {
    const type = fields.optionalText('type');
    const subnet = fields.optionalText('subnet');
    const market = fields.optionalMarket('market');
    const match = { ...(type && { type }), ...(subnet && { subnet }), ...(market && { market }) };
    faults.setCapacity(match, fields.optionalNumber('free') ?? Infinity);
  },
  setFreeAddresses: (faults, fields) => faults.setFreeAddresses(fields.text('subnet'), fields.number('free')),
  reuseAddresses: (faults) => faults.reuseAddresses(),
  setOfferings: (faults, fields) => faults.setOfferings(fields.text('zone'), fields.optionalTexts('types')),
  endAtLaunch: (faults, fields) => faults.endAtLaunch(fields.text('reason'), fields.optionalNumber('calls')),
  endSnapshots: (faults, fields) => faults.endSnapshots(fields.oneOf('state', SNAPSHOT_STATES)),
  denyAction: (faults, fields) => faults.denyAction(fields.text('action')),
  permitAction: (faults, fields) => faults.permitAction(fields.text('action')),
  moveBucket: (faults, fields) => {
    const answer = fields.optionalText('answer') === 'malformed' ? 'malformed' : 'redirect';
    faults.moveBucket(fields.text('bucket'), fields.text('region'), answer);
  },
  limitListing: (faults, fields) => faults.limitListing(fields.text('bucket'), fields.text('prefix')),
  loseZone: (faults, fields) => faults.loseZone(fields.text('zone')),
  restoreZone: (faults, fields) => faults.restoreZone(fields.text('zone')),
  freeze: (faults, fields) => faults.freeze(fields.text('id')),
  thaw: (faults, fields) => faults.thaw(fields.text('id')),
  kill: (faults, fields) => faults.kill(fields.text('id'), fields.optionalText('by') === 'hand' ? 'hand' : 'host'),
  stop: (faults, fields) => faults.stop(fields.text('id')),
  reboot: (faults, fields) => faults.reboot(fields.text('id')),
  killAgent: (faults, fields) => faults.killAgent(fields.text('id')),
  breakDocker: (faults, fields) => faults.breakDocker(fields.text('id')),
  mendDocker: (faults, fields) => faults.mendDocker(fields.text('id')),
  exhaustMemory: (faults, fields) => faults.exhaustMemory(fields.text('id')),
  failProgram: (faults, fields) => faults.failProgram(fields.text('id')),
  cutOff: (faults, fields) => faults.cutOff(fields.text('id')),
  reconnect: (faults, fields) => faults.reconnect(fields.text('id')),
  loseAgentAnswers: (faults, fields) => faults.loseAgentAnswers(fields.text('id')),
  repeatAgentRequests: (faults, fields) => faults.repeatAgentRequests(fields.text('id')),
  spotNotice: (faults, fields) => faults.spotNotice(fields.text('id'), fields.number('inSeconds')),
  publishImage: (faults) => faults.publishImage(),
  clear: (faults) => faults.clear(),
};

const LONGEST_FAULT = 64 * 1024;

/** Reads a JSON object; errors name the field. */
class Fields {
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(json: unknown) {
    if (typeof json !== 'object' || json === null) throw new Error('the body must be a JSON object');
    this.#values = new Map(Object.entries(json));
  }

  text(name: string): string {
    const value = this.#values.get(name);
    if (typeof value !== 'string' || value === '') throw new Error(`${name}: must be a string`);
    return value;
  }

  number(name: string): number {
    const value = this.#values.get(name);
    if (typeof value !== 'number' || value < 0) throw new Error(`${name}: must be a number, 0 or more`);
    return value;
  }

  optionalText(name: string): string | undefined {
    return this.#isGiven(name) ? this.text(name) : undefined;
  }

  optionalNumber(name: string): number | undefined {
    return this.#isGiven(name) ? this.number(name) : undefined;
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const choice = choices.find((known) => known === this.text(name));
    if (choice === undefined) throw new Error(`${name}: must be one of ${choices.join(', ')}`);
    return choice;
  }

  optionalMarket(name: string): Market | undefined {
    return this.#isGiven(name) ? this.oneOf<Market>(name, ['on-demand', 'spot']) : undefined;
  }

  optionalTexts(name: string): string[] | undefined {
    if (!this.#isGiven(name)) return undefined;
    const value = this.#values.get(name);
    const texts = Array.isArray(value) ? value.filter((text): text is string => typeof text === 'string') : [];
    if (!Array.isArray(value) || texts.length < value.length) throw new Error(`${name}: must be a list of strings`);
    return texts;
  }

  #isGiven(name: string): boolean {
    const value = this.#values.get(name);
    return value !== undefined && value !== null;
  }
}

/** Without user-data, which holds secrets. */
function instancesView(ledger: Ledger) {
  return ledger.instances().map(({ userData, ...instance }) => ({ ...instance, hasUserData: userData !== '' }));
}
