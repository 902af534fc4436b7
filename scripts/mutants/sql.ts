/** A change of a template's text that leaves the SQL valid. Positions are those of the file. */
type Change = { readonly start: number; readonly end: number; readonly mutated: string };

const SQL = /\b(SELECT|UPDATE|INSERT INTO|DELETE FROM|WHERE|JOIN|ORDER BY|VALUES|EXISTS)\b|^`(AND|OR)\b/;

/** What is looked for, and what may stand in its place. */
const RULES: readonly (readonly [pattern: RegExp, mutated: string])[] = [
  [/\bIS NOT NULL\b/g, 'IS NULL'],
  [/\bIS NULL\b/g, 'IS NOT NULL'],
  [/\bNOT EXISTS\b/g, 'EXISTS'],
  [/(?<!NOT )\bEXISTS\b/g, 'NOT EXISTS'],
  [/\bNOT (?!NULL|EXISTS|IN\b|BETWEEN|LIKE|DISTINCT|MATERIALIZED)/g, ''],
  [/(?<!BETWEEN [^\n]*)\bAND\b(?! (CURRENT|UNBOUNDED))/g, 'OR'],
  [/\bOR\b(?! REPLACE)/g, 'AND'],
  [/(?<= )<=(?= )/g, '<'],
  [/(?<= )>=(?= )/g, '>'],
  [/(?<= )<(?= )/g, '<='],
  [/(?<= )>(?= )/g, '>='],
  [/(?<=\b(?:WHERE|AND|OR|ON|WHEN)\s+(?:NOT )?\(?[\w.]+ )=(?= )/g, '<>'],
  [/(?<=\b(?:WHERE|AND|OR|ON|WHEN)\s+(?:NOT )?\(?[\w.]+ )<>(?= )/g, '='],
  [/\bLEAST(?=\()/g, 'GREATEST'],
  [/\bGREATEST(?=\()/g, 'LEAST'],
  [/\bmin(?=\()/g, 'max'],
  [/\bmax(?=\()/g, 'min'],
  [/\bbool_and(?=\()/g, 'bool_or'],
  [/\bbool_or(?=\()/g, 'bool_and'],
  [/\bDESC\b/g, 'ASC'],
  [/(?<=\bORDER BY [\w."]+)(?=\s*(\)|`|\n|LIMIT|FOR))/g, ' DESC'],
  [/\bFOR (NO KEY )?UPDATE( OF \w+)?( SKIP LOCKED)?/g, ''],
  [/ SKIP LOCKED\b/g, ''],
  [/\s+FILTER \(WHERE [^()]*\)/g, ''],
  [/(?<=SELECT )DISTINCT (?!ON\b)/g, ''],
  [/\btrue\b/g, 'false'],
  [/\bfalse\b/g, 'true'],
  [/(?<= )\+(?= )/g, '-'],
  [/(?<= )-(?= )/g, '+'],
  [/\bON CONFLICT (\([^)]*\) )?DO NOTHING/g, ''],
];

/** @param text of a template, with its backticks. @param offset where it begins in its file */
export function changesOfSql(text: string, offset: number): Change[] {
  if (!SQL.test(text)) return [];
  const code = withoutSubstitutions(text);
  return RULES.flatMap(([pattern, mutated]) =>
    [...code.matchAll(pattern)].map(({ 0: match, index }) => {
      const start = offset + index;
      return { start, end: start + match.length, mutated };
    }),
  ).toSorted((a, b) => a.start - b.start);
}

/** `${…}`, strings and comments of SQL become underscores of the same length. */
function withoutSubstitutions(text: string): string {
  let depth = 0;
  const code = text.split(/(\$\{|[{}])/).map((part) => {
    if (part === '${' || (part === '{' && depth > 0)) depth += 1;
    const isCode = depth === 0;
    if (part === '}' && depth > 0) depth -= 1;
    return isCode ? part : blank(part);
  });
  return code
    .join('')
    .replace(/'[^'\n]*'/g, blank)
    .replace(/--[^\n]*/g, blank);
}

function blank(part: string): string {
  return '_'.repeat(part.length);
}
