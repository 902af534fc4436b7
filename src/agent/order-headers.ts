import type { OrderFilling, OrderSpec } from '../docker/order.js';
import { MOST_ANSWER_BYTES } from '../docker/order-answer.js';

/** An order as the agent gets it: all it needs is in headers, and it sends the body to Docker unchanged. */
export type RenderedOrder = {
  readonly number: number;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON for Docker; empty = none. */
  readonly body: string;
};

/** Order-Timeout of orders that call nothing slow; the agent itself bounds only calls to Docker, and a flush, by it. */
const PLAIN_TIMEOUT_SECONDS = 30;

/** @throws Error naming the header whose value an agent would refuse: a fault of the code that made the order. */
export function renderOrder(number: number, spec: OrderSpec, filling: OrderFilling = {}): RenderedOrder {
  const headers: Record<string, string> = {
    'order-number': String(number),
    'order-kind': spec.kind,
    ...detailsOf(spec),
    ...(filling.registryAuth !== undefined && { 'docker-registry-auth': filling.registryAuth }),
  };
  for (const [name, value] of Object.entries(headers)) {
    if (!VISIBLE_ASCII.test(value)) throw new Error(`order ${number}: ${name} is not visible ASCII`);
  }
  return { number, headers, body: spec.kind === 'docker' ? bodyOf(spec.body, filling) : '' };
}

function bodyOf(body: unknown, { env }: OrderFilling): string {
  if (body === undefined) return '';
  if (env === undefined) return JSON.stringify(body);
  const { Env = [], ...others } = body as { Env?: readonly string[] };
  return JSON.stringify({ ...others, Env: [...Env, ...env] });
}

/** No space either: no header of ours needs one. The longest are credentials of a registry; curl accepts 100 KiB. */
const VISIBLE_ASCII = /^[\x21-\x7e]{1,98304}$/;

function detailsOf(spec: OrderSpec): Record<string, string> {
  switch (spec.kind) {
    case 'docker':
      return {
        'order-mode': spec.mode,
        'order-timeout': String(positive('timeoutSeconds', spec.timeoutSeconds)),
        'docker-method': spec.method,
        'docker-path': matching('path', spec.path, DOCKER_PATH),
        ...(spec.contentType !== undefined && {
          'docker-content-type': matching('contentType', spec.contentType, CONTENT_TYPE),
        }),
        ...(spec.once && { 'order-once': 'yes' }),
        ...(spec.maxBytes !== undefined && {
          'docker-max-bytes': String(Math.min(positive('maxBytes', spec.maxBytes), MOST_ANSWER_BYTES)),
        }),
      };
    case 'stream':
      return {
        'order-mode': 'background',
        'order-timeout': String(positive('timeoutSeconds', spec.timeoutSeconds)),
        'stream-name': matching('name', spec.name, STREAM_NAME),
        'stream-follow': spec.follow ? 'yes' : 'no',
        'stream-content-type': 'application/octet-stream',
        'docker-path': matching('path', spec.path, DOCKER_PATH),
      };
    case 'probe':
      return {
        ...plain('background'),
        'probe-url': matching('url', spec.url, PROBE_URL),
        'probe-interval': String(positive('intervalSeconds', spec.intervalSeconds)),
        'probe-timeout': String(positive('timeoutSeconds', spec.timeoutSeconds)),
        'probe-retries': String(positive('retries', spec.retries)),
        'probe-start-period': String(notNegative('startPeriodSeconds', spec.startPeriodSeconds)),
      };
    case 'dead-man':
      return {
        ...plain('foreground'),
        'dead-man-minutes': String(notNegative('minutes', spec.minutes)),
        ...(spec.renews && { 'dead-man-renews': 'yes' }),
      };
    case 'logs':
      return {
        'order-mode': 'background',
        'order-timeout': String(positive('timeoutSeconds', spec.timeoutSeconds)),
        'logs-follow': spec.follow ? 'yes' : 'no',
      };
    case 'shutdown':
      return plain('foreground');
    case 'watch-spot':
      return plain('background');
  }
}

/** The agent checks the same, and answers anything else with Result-Status 0 (docs/agent-protocol.md). */
const DOCKER_PATH = /^\/[A-Za-z0-9/._~%?&=:,+@-]*$/;
const CONTENT_TYPE = /^[a-z0-9.+-]+\/[a-z0-9.+-]+$/;
const STREAM_NAME = /^[a-z][a-z-]{0,15}$/;
const PROBE_URL = /^http:\/\/[A-Za-z0-9/._~%?&=:,+@-]+$/;

function plain(mode: 'foreground' | 'background'): Record<string, string> {
  return { 'order-mode': mode, 'order-timeout': String(PLAIN_TIMEOUT_SECONDS) };
}

function matching(name: string, value: string, pattern: RegExp): string {
  if (!pattern.test(value)) throw new Error(`${name}: an agent would refuse it`);
  return value;
}

function positive(name: string, value: number): number {
  if (value === 0) throw new Error(`${name}: must be above 0`);
  return notNegative(name, value);
}

/** The agent accepts nine digits at most: more could overflow in a shell. */
function notNegative(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 999_999_999) throw new Error(`${name}: must be a whole number`);
  return value;
}
