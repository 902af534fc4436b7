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
  switch (name) {
    case 'failNext': {
      const status = fields.optionalNumber('status');
      const message = fields.optionalText('message');
      const error = {
        code: fields.text('code'),
        ...(status !== undefined && { status }),
        ...(message !== undefined && { message }),
      };
      faults.failNext(fields.text('action'), error, fields.optionalNumber('times'));
      return;
    }
    case 'loseAnswer': {
      faults.loseAnswer(fields.text('action'), fields.optionalNumber('times'));
      return;
    }
    case 'delayAnswer': {
      faults.delayAnswer(fields.text('action'), fields.number('ms'), fields.optionalNumber('times'));
      return;
    }
    case 'throttle': {
      faults.throttle(fields.text('action'), fields.number('ms'));
      return;
    }
    case 'delayVisibility': {
      faults.delayVisibility(fields.number('ms'));
      return;
    }
    case 'setCapacity': {
      const type = fields.optionalText('type');
      const subnet = fields.optionalText('subnet');
      const market = fields.optionalMarket('market');
      const match = {
        ...(type !== undefined && { type }),
        ...(subnet !== undefined && { subnet }),
        ...(market && { market }),
      };
      faults.setCapacity(match, fields.optionalNumber('free') ?? Infinity);
      return;
    }
    case 'setFreeAddresses': {
      faults.setFreeAddresses(fields.text('subnet'), fields.number('free'));
      return;
    }
    case 'setOfferings': {
      faults.setOfferings(fields.text('zone'), fields.optionalTexts('types'));
      return;
    }
    case 'setVcpuLimit': {
      faults.setVcpuLimit(fields.optionalNumber('vcpus') ?? Infinity);
      return;
    }
    case 'endAtLaunch': {
      faults.endAtLaunch(fields.text('reason'), fields.optionalNumber('calls'));
      return;
    }
    case 'endSnapshots': {
      const state = SNAPSHOT_STATES.find((known) => known === fields.text('state'));
      if (state === undefined) throw new Error(`state: must be one of ${SNAPSHOT_STATES.join(', ')}`);
      faults.endSnapshots(state);
      return;
    }
    case 'denyAction': {
      faults.denyAction(fields.text('action'));
      return;
    }
    case 'permitAction': {
      faults.permitAction(fields.text('action'));
      return;
    }
    case 'moveBucket': {
      const answer = fields.optionalText('answer') === 'malformed' ? 'malformed' : 'redirect';
      faults.moveBucket(fields.text('bucket'), fields.text('region'), answer);
      return;
    }
    case 'limitListing': {
      faults.limitListing(fields.text('bucket'), fields.text('prefix'));
      return;
    }
    case 'loseZone':
    case 'restoreZone': {
      faults[name](fields.text('zone'));
      return;
    }
    case 'freeze':
      return faults.freeze(fields.text('id'));
    case 'thaw':
      return faults.thaw(fields.text('id'));
    case 'kill': {
      faults.kill(fields.text('id'), fields.optionalText('by') === 'hand' ? 'hand' : 'host');
      return;
    }
    case 'stop': {
      faults.stop(fields.text('id'));
      return;
    }
    case 'reboot': {
      faults.reboot(fields.text('id'));
      return;
    }
    case 'killAgent':
    case 'breakDocker':
    case 'mendDocker':
    case 'exhaustMemory':
    case 'cutOff':
    case 'reconnect':
    case 'loseAgentAnswers':
    case 'repeatAgentRequests':
      return faults[name](fields.text('id'));
    case 'spotNotice': {
      faults.spotNotice(fields.text('id'), fields.number('inSeconds'));
      return;
    }
    case 'publishImage': {
      faults.publishImage();
      return;
    }
    case 'clear': {
      faults.clear();
      return;
    }
    default:
      throw new Error(`fault: there is no '${name}'`);
  }
}

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

  optionalMarket(name: string): Market | undefined {
    const value = this.optionalText(name);
    if (value === undefined || value === 'on-demand' || value === 'spot') return value;
    throw new Error(`${name}: must be on-demand or spot`);
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
