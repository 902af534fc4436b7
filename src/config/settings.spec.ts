import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { listSettings, renderEnvExample, replaceTable } from '../../scripts/settings-docs.ts';
import { Settings } from './settings.js';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('settings', () => {
  it('.env.example is what the schema says', () => {
    expect(read('.env.example')).toBe(renderEnvExample());
  });

  it('the table of docs/settings.md is what the schema says', () => {
    const page = read('docs/settings.md');
    expect(page).toBe(replaceTable(page));
  });

  it.each(listSettings().map(({ name, meta }) => [name, meta] as const))('%s has a usable example', (name, meta) => {
    expect(meta.description).toMatch(/\.$/);
    if (meta.example.includes('<')) return;
    expect(Settings.shape[name as keyof typeof Settings.shape].safeParse(meta.example).error).toBeUndefined();
  });
});
