import { createHash } from 'node:crypto';

/** What a simulated container does; the names that select it are in docs/try-it.md. */
export type Behaviour =
  | { kind: 'web'; status: 200 | 500; linesPerSecond?: number }
  | { kind: 'exit'; code: number; afterMs: number; isOutOfMemory?: boolean };

export type SimulatedImage = {
  /** As Docker shows it: without docker.io/library/. */
  readonly name: string;
  readonly tag: string;
  readonly digest: string;
  readonly id: string;
  readonly pullMs: number;
  readonly isInRegistry: boolean;
  /** Built on this machine and pushed nowhere: it has an id and no digest. */
  readonly isLocal: boolean;
  /** So many pulls of each engine are refused, as by a registry that has a limit. */
  readonly busyPulls: number;
  readonly behaviour: Behaviour;
};

/**
 * Every name is an image that answers HTTP 200, except `sim/exit:<code>` (exits at once), `sim/crash:<seconds>` (runs,
 * then exits 1), `sim/oom:<seconds>` (runs, then uses too much memory), `sim/unhealthy` (answers 500), `sim/print:<n>` (prints n numbered lines a second), `sim/slow:<seconds>` (takes that long to pull), `sim/missing`, `sim/busy:<n>` (whose registry refuses the first n pulls), `sim/local` (has an id only, as one that was built here and pushed nowhere).
 * @param version tag or digest
 * @param generation how often the tag was pushed; each has a digest of its own
 */
export function simulatedImage(name: string, version: string, generation = 1): SimulatedImage {
  const shown = name.replace(/^(index\.)?docker\.io\//, '').replace(/^library\/(?=[^/]+$)/, '');
  const tag = version.startsWith('sha256:') ? tagOfDigest(version) : version;
  const digest = version.startsWith('sha256:') ? version : digestOfTag(shown, tag, generation);
  const number = /^\d{1,4}$/.test(tag) ? Number(tag) : undefined;
  return {
    name: shown,
    tag,
    digest,
    id: `sha256:${sha256(`config ${shown} ${digest}`)}`,
    pullMs: shown === 'sim/slow' ? (number ?? 20) * 1000 : 0,
    isInRegistry: shown !== 'sim/missing',
    isLocal: shown === 'sim/local',
    busyPulls: shown === 'sim/busy' ? (number ?? 2) : 0,
    behaviour: behaviour(shown, number),
  };
}

/** Which image a tag refers to now: another one may be pushed under the same tag. */
export class SimulatedRegistry {
  readonly #generations = new Map<string, number>();
  /** On this machine, which all its instances share, as they share a real engine. */
  readonly #local = new Map<string, SimulatedImage>();

  /** @param version tag or digest; an image that a tag has left is still found by its digest */
  find(name: string, version: string): SimulatedImage {
    const { name: shown } = simulatedImage(name, version);
    const image = simulatedImage(name, version, this.#generations.get(`${shown}:${version}`));
    if (image.isLocal) this.#local.set(image.id, image);
    return image;
  }

  /** One that was built here and has run, also when its tag refers to another one by now. */
  findLocal(id: string): SimulatedImage | undefined {
    return this.#local.get(id);
  }

  /** From now on the tag refers to another image that behaves the same. */
  moveTag(reference: string): void {
    const { name, version } = splitReference(reference);
    const key = `${simulatedImage(name, version).name}:${version}`;
    this.#generations.set(key, (this.#generations.get(key) ?? 1) + 1);
  }
}

/** `name[:tag][@digest]` → name and version, the way Docker reads an image to run. */
export function splitReference(reference: string): { name: string; version: string } {
  const [beforeDigest = '', digest] = reference.split('@', 2);
  const colon = beforeDigest.indexOf(':', beforeDigest.lastIndexOf('/') + 1);
  const name = colon === -1 ? beforeDigest : beforeDigest.slice(0, colon);
  return { name, version: digest ?? (colon === -1 ? 'latest' : beforeDigest.slice(colon + 1)) };
}

/**
 * Whether its registry allows a pull. Those of ECR want the password of the local cloud; the others allow every pull.
 * @param registryAuth Docker's X-Registry-Auth
 */
export function isLoggedIn(name: string, registryAuth = ''): boolean {
  if (!ECR.test(name)) return true;
  const auth = Buffer.from(registryAuth, 'base64url').toString();
  return auth.includes('"username":"AWS"') && auth.includes('"password":"ecr-');
}

const ECR = /^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com\//;

function behaviour(name: string, number: number | undefined): Behaviour {
  switch (name) {
    case 'sim/exit':
      return { kind: 'exit', code: (number ?? 1) & 255, afterMs: 0 };
    case 'sim/crash':
      return { kind: 'exit', code: 1, afterMs: (number ?? 5) * 1000 };
    case 'sim/oom':
      return { kind: 'exit', code: 137, afterMs: (number ?? 5) * 1000, isOutOfMemory: true };
    case 'sim/unhealthy':
      return { kind: 'web', status: 500 };
    case 'sim/print':
      return { kind: 'web', status: 200, linesPerSecond: Math.min(number ?? 1, 1000) };
    default:
      return { kind: 'web', status: 200 };
  }
}

// A later attempt runs the digest that was recorded, perhaps in a later process: the digest itself must say what
// `sim/crash:5` was. So it starts with the tag's length and the tag; the rest is a hash like any other.
const TAG_BYTES = 15;

function digestOfTag(name: string, tag: string, generation: number): string {
  const head = tag.length <= TAG_BYTES ? Buffer.from(`${tag.length.toString(16)}${tag}`).toString('hex') : '';
  return `sha256:${(head + sha256(`${name}:${tag}${generation === 1 ? '' : `#${generation}`}`)).slice(0, 64)}`;
}

function tagOfDigest(digest: string): string {
  const text = Buffer.from(digest.slice('sha256:'.length), 'hex').toString('latin1');
  const tag = text.slice(1, 1 + (Number.parseInt(text[0] ?? '', 16) || 0));
  return /^[\w][\w.-]*$/.test(tag) ? tag : 'latest';
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
