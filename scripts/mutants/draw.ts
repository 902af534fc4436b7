import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { changesOfSql } from './sql.ts';

/** One change of logic at one place. */
export type Mutant = {
  readonly file: string;
  readonly line: number;
  /** The text of that line, without the blanks around it. */
  readonly on: string;
  /** Of the text that is replaced. */
  readonly start: number;
  readonly end: number;
  readonly original: string;
  readonly mutated: string;
  /** A statement that is taken away is no expression; SQL is part of a template. */
  readonly kind: 'expression' | 'statement' | 'sql';
};

/** Every change that the rules below make possible in a file, in the order of its text. */
export function mutantsOf(root: string, file: string): Mutant[] {
  const text = readFileSync(join(root, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2024, true);
  const found: Mutant[] = [];
  const lines = text.split('\n');
  const place = (position: number) => {
    const { line } = source.getLineAndCharacterOfPosition(position);
    return { file, line: line + 1, on: lines[line]?.trim() ?? '' };
  };

  const visit = (node: ts.Node, isInFunction: boolean): void => {
    if (ts.isTypeNode(node) || ts.isImportDeclaration(node) || ts.isDecorator(node)) return;
    for (const { start, end, mutated } of isTemplate(node) ? changesOfSql(node.getText(), node.getStart()) : []) {
      found.push({ ...place(start), start, end, original: text.slice(start, end), mutated, kind: 'sql' });
    }
    // What stands outside of functions is declared once, mostly schemas and limits: the logic is inside.
    for (const mutated of isInFunction ? [...changesOf(node), ...decisions(node)] : []) {
      const [start, end] = [node.getStart(), node.getEnd()];
      const kind = ts.isExpressionStatement(node) ? 'statement' : 'expression';
      found.push({ ...place(start), start, end, original: node.getText(), mutated, kind });
    }
    ts.forEachChild(node, (child) => visit(child, isInFunction || ts.isFunctionLike(node)));
  };
  visit(source, false);
  return found;
}

/** The texts that may stand in a node's place. */
function changesOf(node: ts.Node): string[] {
  if (ts.isExpressionStatement(node)) return isWorthRemoving(node) ? [''] : [];
  if (ts.isBinaryExpression(node)) return changesOfBinary(node);
  if (ts.isConditionalExpression(node)) return changesOfCondition(node, node.condition);
  if (ts.isCallExpression(node)) return changesOfCall(node);
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken)
    return [node.operand.getText()];
  if (node.kind === ts.SyntaxKind.TrueKeyword) return isValue(node) ? ['false'] : [];
  if (node.kind === ts.SyntaxKind.FalseKeyword) return isValue(node) ? ['true'] : [];
  if (ts.isNumericLiteral(node) && isValue(node)) return changesOfNumber(Number(node.text));
  return [];
}

/** Of a condition, whatever it consists of: decided before it is looked at. */
function decisions(node: ts.Node): string[] {
  const { parent } = node;
  if (ts.isIfStatement(parent) && parent.expression === node)
    return [`true || (${node.getText()})`, `false && (${node.getText()})`];
  return ts.isWhileStatement(parent) && parent.expression === node ? [`false && (${node.getText()})`] : [];
}

const SWAPS: Readonly<Record<string, readonly string[]>> = {
  '===': ['!=='],
  '!==': ['==='],
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '&&': ['||'],
  '||': ['&&'],
  '??': ['&&'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
};

function changesOfBinary({ left, operatorToken, right }: ts.BinaryExpression): string[] {
  const operator = operatorToken.getText();
  const isSum = operator === '+' && [left, right].every((side) => !isText(side));
  const others = isSum ? ['-'] : (SWAPS[operator] ?? []);
  // Parentheses, as `a ?? b` may not stand beside `&&` without.
  return others.map((other) => `(${left.getText()}) ${other} (${right.getText()})`);
}

function changesOfCondition(node: ts.ConditionalExpression, condition: ts.Expression): string[] {
  // Both sides of one: a condition that is always true, and one that is always false.
  return [node.whenTrue, node.whenFalse].map((side) => `((${condition.getText()}), (${side.getText()}))`);
}

const OTHER_METHODS = new Map([
  ['some', 'every'],
  ['every', 'some'],
  ['min', 'max'],
  ['max', 'min'],
  ['startsWith', 'endsWith'],
  ['endsWith', 'startsWith'],
]);
/** Called with anything, the list itself may stand in the place of what they return. */
const REDUCERS = new Set(['filter', 'slice', 'toSorted', 'sort', 'toReversed']);

function changesOfCall(node: ts.CallExpression): string[] {
  const { expression, parent } = node;
  // Taken out of its chain, `a?.b().c` would read the `c` of nothing.
  if (ts.isOptionalChain(node) && ts.isOptionalChain(parent) && parent.expression === node) return [];
  if (!ts.isPropertyAccessExpression(expression)) return [];
  const [of, method] = [expression.expression.getText(), expression.name.text];
  const args = node.arguments.map((argument) => argument.getText()).join(', ');
  const other = OTHER_METHODS.get(method);
  if (other !== undefined) return [`${of}.${other}(${args})`];
  return REDUCERS.has(method) ? [of] : [];
}

function changesOfNumber(value: number): string[] {
  if (value === 0) return ['1'];
  return value < 100 ? [String(value + 1)] : [];
}

/** A call, an assignment or an increment; what is only logged is no logic. */
function isWorthRemoving({ expression }: ts.ExpressionStatement): boolean {
  const text = expression.getText();
  return !/^(super\b|'|(this\.#?)?logger\.|(this\.)?(log|warn)\()/.test(text);
}

/** Not a name, the key of a property, or part of a type. */
function isValue(node: ts.Node): boolean {
  const { parent } = node;
  return !(ts.isPropertyAssignment(parent) && parent.name === node) && !ts.isLiteralTypeNode(parent);
}

function isText(node: ts.Expression): boolean {
  if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)) return true;
  return ts.isBinaryExpression(node) && (isText(node.left) || isText(node.right));
}

function isTemplate(node: ts.Node): node is ts.TemplateExpression | ts.NoSubstitutionTemplateLiteral {
  return ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node);
}
