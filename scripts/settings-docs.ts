// Writes the table of docs/settings.md (between its markers), .env.example and docs/reasons.md from src/; --check only
// compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import type { z } from 'zod';
import type { SettingMeta } from '../src/config/settings.ts';

const isMain = process.argv[1] === import.meta.filename;
// Node runs this file as it is, but imports within src end in .js, as its compiler leaves them.
if (isMain) {
  registerHooks({
    resolve: (name, context, next) =>
      next(context.parentURL?.includes('/src/config/') ? name.replace(/^(\..*)\.js$/, '$1.ts') : name, context),
  });
}
const { Settings } = await import('../src/config/settings.ts');
const { REASONS } = await import('../src/scheduler/plan/plan-reasons.ts');

const BEGIN = '<!-- settings -->';
const END = '<!-- /settings -->';
const root = join(import.meta.dirname, '..');

if (isMain) run(process.argv.includes('--check'));

export function renderTable(): string {
  const rows = listSettings().map(({ name, fallback, meta }) => {
    const shown = fallback === undefined || fallback === '' ? '' : `\`${fallback}\``;
    return `| \`${name}\` | ${shown} | ${meta.description.replaceAll('|', '\\|')} |`;
  });
  return ['| setting | default | meaning |', '| --- | --- | --- |', ...rows].join('\n');
}

export function renderEnvExample(): string {
  const blocks = listSettings().map(({ name, meta }) => {
    const value = meta.starter && meta.secret ? '' : meta.example;
    return `# ${meta.description}\n${meta.starter ? '' : '#'}${name}=${value}\n`;
  });
  return `# Generated from src/config/settings.ts by scripts/settings-docs.ts.\n\n${blocks.join('\n')}`;
}

export function renderReasons(): string {
  const rows = Object.entries(REASONS).map(([code, { cause, text }]) => `| \`${code}\` | ${cause} | ${text} |`);
  return `# Reasons

Why a deployment, or an attempt of it, has its status: the \`reason\` of an answer and of an event. Generated from src/scheduler/plan/plan-reasons.ts by \`npm run settings\`.

What decides before a deployment is active is the cause. \`user\`: the deployment fails. \`infrastructure\`: the attempt ends, and a fresh instance is tried, five times at most (ten where its agent took no order). \`request\`: somebody asked for it. \`progress\`: it goes on.
A launch that waits or is refused has EC2's own reason, as [the API's page](api.md) says.

<!-- prettier-ignore-start -->
| reason | cause | meaning |
| --- | --- | --- |
${rows.join('\n')}
<!-- prettier-ignore-end -->
`;
}

/** The page with its table replaced; the markers stay. */
export function replaceTable(page: string): string {
  const [before, rest] = splitOnce(page, BEGIN);
  const [, after] = splitOnce(rest, END);
  // Prettier would pad the columns, so that one longer word changed every line.
  const table = `<!-- prettier-ignore-start -->\n${renderTable()}\n<!-- prettier-ignore-end -->`;
  return `${before}${BEGIN}\n${table}\n${END}${after}`;
}

type Setting = { readonly name: string; readonly fallback: string | undefined; readonly meta: SettingMeta };

export function listSettings(): Setting[] {
  return Object.entries<z.ZodType>(Settings.shape).map(([name, schema]) => {
    const meta = schema.meta() as SettingMeta | undefined;
    if (!meta) throw new Error(`${name} has no description`);
    const { defaultValue } = schema.def as { defaultValue?: string };
    return { name, fallback: defaultValue, meta };
  });
}

function run(isCheck: boolean): void {
  const isStale = [
    update('docs/settings.md', replaceTable, isCheck),
    update('.env.example', () => renderEnvExample(), isCheck),
    update('docs/reasons.md', () => renderReasons(), isCheck),
  ].includes(true);
  if (isCheck && isStale) process.exitCode = 1;
}

function update(file: string, render: (text: string) => string, isCheck: boolean): boolean {
  const path = join(root, file);
  const before = readText(path);
  const after = render(before);
  if (before === after) return false;
  if (isCheck) console.error(`${file} is not what src/ says: run npm run settings`);
  else writeFileSync(path, after);
  return true;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function splitOnce(text: string, marker: string): [string, string] {
  const at = text.indexOf(marker);
  if (at === -1) throw new Error(`docs/settings.md has no ${marker}`);
  return [text.slice(0, at), text.slice(at + marker.length)];
}
