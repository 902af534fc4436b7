import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Market } from './instance.ts';
import type { Faults } from './faults.ts';
import type { Ledger } from './ledger.ts';
import { readBody } from './server.ts';

/** `/_local/*`: faults and the ledger for other processes (a chaos harness, a shell). JSON. */
export function handleControl(
  request: IncomingMessage,
  response: ServerResponse,
  faults: Faults,
  ledger: Ledger,
): void {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://local');
  const reply = (status: number, value: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  const route = `${request.method ?? 'GET'} ${pathname}`;
  if (route === 'GET /_local/instances') {
    reply(200, instancesView(ledger));
  } else if (route === 'GET /_local/ledger') {
    reply(200, { instances: instancesView(ledger), calls: ledger.calls(searchParams.get('action') ?? undefined) });
  } else if (route === 'POST /_local/faults') {
    // A web page cannot send this type without asking first, so no page a developer visits can break the cloud.
    if (!(request.headers['content-type'] ?? '').startsWith('application/json')) {
      reply(415, { error: 'content-type must be application/json' });
      return;
    }
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
    case 'setVcpuLimit': {
      faults.setVcpuLimit(fields.optionalNumber('vcpus') ?? Infinity);
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

  #isGiven(name: string): boolean {
    const value = this.#values.get(name);
    return value !== undefined && value !== null;
  }
}

/** Without user-data, which holds secrets. */
function instancesView(ledger: Ledger) {
  return ledger.instances().map(({ userData, ...instance }) => ({ ...instance, hasUserData: userData !== '' }));
}
