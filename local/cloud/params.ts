import { CloudError } from './errors.ts';

/**
 * Parameters of an EC2 Query call: `Filter.1.Value.2=x` is item 2 of `Value` in item 1 of `Filter`.
 * Readers throw EC2's own error codes and name the parameter.
 */
export class Params {
  readonly #prefix: string;
  readonly #node: Node;

  constructor(node: Node, prefix = '') {
    this.#node = node;
    this.#prefix = prefix;
  }

  static parse(pairs: URLSearchParams): Params {
    const root = emptyNode();
    for (const [name, value] of pairs) {
      const path = name.split('.');
      if (path.length > MAX_DEPTH) throw new CloudError('InvalidParameterValue', `The parameter ${name} is too deep`);
      let node = root;
      for (const part of path) {
        const next = node.children.get(part) ?? emptyNode();
        node.children.set(part, next);
        node = next;
      }
      node.value = value;
    }
    return new Params(root);
  }

  names(): string[] {
    return [...this.#node.children.keys()];
  }

  /** @returns itself. @throws UnknownParameter for a part of another name, which would be silently ignored */
  only(names: readonly string[]): this {
    const unknown = this.names().find((name) => !names.includes(name));
    if (unknown === undefined) return this;
    throw new CloudError('UnknownParameter', `The parameter ${this.#prefix}${unknown} is not recognized`);
  }

  has(name: string): boolean {
    return this.#node.children.has(name);
  }

  text(name: string): string | undefined {
    return this.#node.children.get(name)?.value;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value === undefined || value === '') {
      throw new CloudError('MissingParameter', `The request must contain the parameter ${this.#prefix}${name}`);
    }
    return value;
  }

  integer(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!/^-?\d{1,9}$/.test(value)) throw this.invalid(name, value);
    return Number(value);
  }

  boolean(name: string): boolean | undefined {
    const value = this.text(name)?.toLowerCase();
    if (value === undefined) return undefined;
    if (value !== 'true' && value !== 'false') throw this.invalid(name, value);
    return value === 'true';
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw this.invalid(name, value);
    return choice;
  }

  list(name: string): string[] {
    return this.#items(name).flatMap(([, node]) => (node.value === undefined ? [] : [node.value]));
  }

  structs(name: string): Params[] {
    return this.#items(name).map(([index, node]) => new Params(node, `${this.#prefix}${name}.${index}.`));
  }

  struct(name: string): Params | undefined {
    const node = this.#node.children.get(name);
    return node === undefined ? undefined : new Params(node, `${this.#prefix}${name}.`);
  }

  /** The same for the same parameters in any order. */
  canonical(except: readonly string[]): string {
    const lines: string[] = [];
    const walk = (node: Node, path: string): void => {
      if (node.value !== undefined) lines.push(JSON.stringify([path, node.value]));
      for (const [name, child] of node.children) {
        if (path !== '' || !except.includes(name)) walk(child, `${path}.${name}`);
      }
    };
    walk(this.#node, '');
    return lines.sort().join('\n');
  }

  invalid(name: string, value: string): CloudError {
    return new CloudError('InvalidParameterValue', `Value (${value}) for parameter ${this.#prefix}${name} is invalid.`);
  }

  #items(name: string): [string, Node][] {
    const children = [...(this.#node.children.get(name)?.children ?? [])];
    return children.filter(([index]) => /^\d+$/.test(index)).sort(([a], [b]) => Number(a) - Number(b));
  }
}

type Node = { value?: string; readonly children: Map<string, Node> };

// EC2's deepest parameter has six parts; an endless one would only cost memory.
const MAX_DEPTH = 10;

function emptyNode(): Node {
  return { children: new Map() };
}
