export type ImageReference = {
  /** As Docker shows it: `nginx`, `team/app`, `registry.example.com:5000/app`. */
  name: string;
  /** `latest` when neither tag nor digest was given. */
  tag?: string;
  /** `sha256:…`; wins over a tag, as in Docker. */
  digest?: string;
};

/**
 * Docker's own reading of an image name (github.com/distribution/reference, ParseDockerRef).
 * @throws Error when Docker would refuse it too.
 */
export function parseImageReference(reference: string): ImageReference {
  const [domain, remainder] = splitDomain(reference);
  const match = REFERENCE.exec(remainder);
  const path = match?.groups?.path;
  if (path === undefined || (domain !== DEFAULT_DOMAIN && !DOMAIN.test(domain))) {
    throw new Error(`image: ${JSON.stringify(reference)} is not a Docker image reference`);
  }
  if (/^[0-9a-f]{64}$/.test(reference)) throw new Error('image: must be a name, not an image id');
  const name = domain === DEFAULT_DOMAIN ? path.replace(/^library\/(?!.*\/)/, '') : `${domain}/${path}`;
  if (domain.length + 1 + path.length > 255) throw new Error('image: the name must have at most 255 characters');
  const { tag, digest } = match?.groups ?? {};
  if (digest?.startsWith('sha256:') && !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    throw new Error('image: a sha256 digest must have 64 lower-case hex characters');
  }
  if (digest !== undefined) return { name, ...(tag !== undefined && { tag }), digest };
  return { name, tag: tag ?? 'latest' };
}

/** What is wrong with it and what would be right, for the caller; undefined: Docker would accept it. */
export function faultOfImage(reference: string): string | undefined {
  if (/\s/.test(reference)) return 'must not contain spaces or line breaks';
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(reference)?.[0];
  if (scheme !== undefined) return `must be a name, not a URL: leave out «${scheme}»`;
  const [domain, remainder] = splitDomain(reference);
  const [, path = '', tag, digest] = /^([^:@]*)(?::([^@]*))?(?:@(.*))?$/.exec(remainder) ?? [];
  if (domain !== DEFAULT_DOMAIN && !DOMAIN.test(domain)) return `«${domain}» is not the host of a registry`;
  if (path !== path.toLowerCase()) return 'must be in lower case, all but its host and its tag';
  if (digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    return 'must have as digest, after «@», sha256: and 64 hex characters in lower case';
  }
  if (tag !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag)) {
    return 'must have as tag, after «:», at most 128 letters, digits, «_», «.» and «-», the first one no «.» or «-»';
  }
  if (/^[0-9a-f]{64}$/.test(reference)) return 'must be a name, not the id of an image';
  if (domain.length + 1 + path.length > 255) return 'must have a name of at most 255 characters, its host included';
  return isImageReference(reference) ? undefined : NO_REFERENCE;
}

const NO_REFERENCE = 'must be a Docker image reference like nginx:1.28 or registry.example.com/team/app@sha256:…';

/** Whether Docker would accept it. */
export function isImageReference(reference: string): boolean {
  try {
    parseImageReference(reference);
    return true;
  } catch {
    return false;
  }
}

/** The part before the path: `docker.io` for the Hub. */
export function domainOf(name: string): string {
  return splitDomain(name)[0];
}

/** Host and path of what is pulled, as `docker.io/library/nginx`: the host in lower case, without tag and digest. */
export function repositoryOf(reference: string): string {
  // From the name that Docker gets, not from the text as written: docker.io/a.example/b is pulled from a.example.
  const { name } = parseImageReference(reference);
  const [domain, path] = splitDomain(name);
  const isOfficial = domain === DEFAULT_DOMAIN && !path.includes('/');
  return `${domain.toLowerCase()}/${isOfficial ? 'library/' : ''}${path}`;
}

export function formatImageReference({ name, tag, digest }: ImageReference): string {
  return digest === undefined ? `${name}:${tag ?? 'latest'}` : `${name}@${digest}`;
}

const DEFAULT_DOMAIN = 'docker.io';
const DOMAIN =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const PATH_COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const REFERENCE = new RegExp(
  `^(?<path>${PATH_COMPONENT}(?:/${PATH_COMPONENT})*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?<digest>${DIGEST}))?$`,
);

/** The first component is a registry only if it looks like one: `localhost/app` and `a.b/app` do, `team/app` does not. */
function splitDomain(reference: string): [domain: string, remainder: string] {
  const slash = reference.indexOf('/');
  const first = reference.slice(0, Math.max(slash, 0));
  const isDomain = /[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first;
  if (slash === -1 || !isDomain) return [DEFAULT_DOMAIN, reference];
  return [first === 'index.docker.io' ? DEFAULT_DOMAIN : first, reference.slice(slash + 1)];
}
