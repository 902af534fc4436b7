/** A policy of IAM, as far as ours go. Actions are written out: a `*` in one would allow what is not needed. */
export type Policy = { readonly Statement: readonly Statement[] };
export type Statement = {
  readonly Sid: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: OneOrMore;
  readonly Resource: OneOrMore;
  readonly Condition?: Conditions;
};
export type Conditions = Readonly<Record<string, Readonly<Record<string, OneOrMore>>>>;
export type OneOrMore = string | readonly string[];
/** What IAM knows of a request besides action and resource. */
export type Context = Readonly<Record<string, OneOrMore>>;
/** One decision of IAM. A call is allowed when it is on every resource that it touches. */
export type Access = { readonly action: string; readonly resource: string; readonly context?: Context };

/** As much of IAM's rules as our policy uses; an operator it does not know is an error, not a match. */
export function isAllowed({ Statement }: Policy, access: Access): boolean {
  const applies = Statement.filter((statement) => isAbout(statement, access));
  return applies.length > 0 && applies.every(({ Effect }) => Effect === 'Allow');
}

/** The same policy with one action and one resource a statement. */
export function unfold({ Statement }: Policy): Policy {
  return {
    Statement: Statement.flatMap((statement) =>
      listOf(statement.Action).flatMap((Action) =>
        listOf(statement.Resource).map((Resource) => ({ ...statement, Action, Resource })),
      ),
    ),
  };
}

export function listOf(value: OneOrMore): readonly string[] {
  return typeof value === 'string' ? [value] : value;
}

/** A change of a policy: what was taken away, and the policy without it. */
export type Without = { readonly what: string; readonly policy: Policy };

/** The policy without one of its permissions: an action on a resource, or one of several values that a key may have. */
export function* withoutPermissions(policy: Policy): Generator<Without> {
  const unfolded = unfold(policy);
  for (const [at, { Sid, Effect, Action, Resource }] of unfolded.Statement.entries()) {
    if (Effect !== 'Allow') continue;
    const rest = unfolded.Statement.filter((_, other) => other !== at);
    yield { what: `${Sid}: ${String(Action)} on ${String(Resource)}`, policy: { Statement: rest } };
  }
  for (const { statement, operator, key, values } of conditionsOf(policy)) {
    if (statement.Effect !== 'Allow' || values.length < 2) continue;
    for (const value of values) {
      const fewer = values.filter((other) => other !== value);
      const changed = withCondition(statement, operator, { ...statement.Condition?.[operator], [key]: fewer });
      yield { what: `${statement.Sid}: ${key} ${value}`, policy: exchange(policy, statement, changed) };
    }
  }
}

/** The policy without one of its limits: a condition, or a whole statement that denies. */
export function* withoutLimits(policy: Policy): Generator<Without> {
  for (const statement of policy.Statement) {
    if (statement.Effect === 'Deny') yield { what: statement.Sid, policy: exchange(policy, statement) };
  }
  for (const { statement, operator, key } of conditionsOf(policy)) {
    if (statement.Effect === 'Deny') continue;
    const others = Object.entries(statement.Condition?.[operator] ?? {}).filter(([other]) => other !== key);
    const changed = withCondition(statement, operator, Object.fromEntries(others));
    yield { what: `${statement.Sid}: ${operator} ${key}`, policy: exchange(policy, statement, changed) };
  }
}

export type ConditionOf = {
  readonly statement: Statement;
  readonly operator: string;
  readonly key: string;
  readonly values: readonly string[];
};

export function conditionsOf({ Statement }: Policy): ConditionOf[] {
  return Statement.flatMap((statement) =>
    Object.entries(statement.Condition ?? {}).flatMap(([operator, keys]) =>
      Object.entries(keys).map(([key, values]) => ({ statement, operator, key, values: listOf(values) })),
    ),
  );
}

function isAbout({ Action, Resource, Condition = {} }: Statement, { action, resource, context = {} }: Access): boolean {
  const given = new Map(Object.entries(context).map(([key, values]) => [key.toLowerCase(), listOf(values)]));
  return (
    listOf(Action).some((name) => name.toLowerCase() === action.toLowerCase()) &&
    listOf(Resource).some((pattern) => isLike(resource, pattern)) &&
    Object.entries(Condition).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) =>
        holds(operator, given.get(key.toLowerCase()) ?? [], listOf(wanted)),
      ),
    )
  );
}

/** @param given none = the request does not have the key */
function holds(operator: string, given: readonly string[], wanted: readonly string[]): boolean {
  const isWanted = (value: string): boolean => wanted.includes(value);
  switch (operator) {
    case 'StringEquals':
      return given.length > 0 && given.every(isWanted);
    case 'StringNotEquals':
      return !given.some(isWanted);
    case 'StringLike':
      return given.length > 0 && given.every((value) => wanted.some((pattern) => isLike(value, pattern)));
    case 'Bool':
      return given.length > 0 && given.every((value) => wanted.some((word) => word.toLowerCase() === value));
    case 'ForAllValues:StringEquals':
      return given.every(isWanted);
    case 'Null':
      return wanted.includes(String(given.length === 0));
    default:
      throw new Error(`unknown operator ${operator}`);
  }
}

/** `*` is any text, slashes and colons included, and `?` any character. */
function isLike(value: string, pattern: string): boolean {
  const text = escapeRegExp(pattern).replaceAll('\\*', '[^]*').replaceAll('\\?', '[^]');
  return new RegExp(`^${text}$`).test(value);
}

export function escapeRegExp(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** @param keys none = the operator goes, too */
function withCondition(statement: Statement, operator: string, keys: Readonly<Record<string, OneOrMore>>): Statement {
  const others = Object.entries(statement.Condition ?? {}).filter(([other]) => other !== operator);
  const conditions = Object.keys(keys).length > 0 ? [...others, [operator, keys] as const] : others;
  return { ...statement, Condition: Object.fromEntries(conditions) };
}

function exchange({ Statement }: Policy, old: Statement, ...replacement: Statement[]): Policy {
  return { Statement: Statement.flatMap((statement) => (statement === old ? replacement : [statement])) };
}
