import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { listSettings, renderEnvExample, renderReasons, replaceTable } from '../../scripts/settings-docs.ts';
import { Settings } from './settings.js';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('settings', () => {
  it('.env.example is what the schema says', () => {
    expect(read('.env.example')).toBe(renderEnvExample());
  });

  it('docs/reasons.md is what the planners say', () => {
    expect(read('docs/reasons.md')).toBe(renderReasons());
  });

  it('docker-compose.yml passes every one on to the scheduler', () => {
    const scheduler = /^ {2}scheduler:\n(.*?)^ {2}nginx:/ms.exec(read('docker-compose.yml'))?.[1] ?? '';
    const passed = [...scheduler.matchAll(/^ {6}([A-Z0-9_]+):/gm)].map(([, name]) => name);
    // A file of settings would have to be inside the container.
    expect(Object.keys(Settings.shape).filter((name) => name !== 'ENV_FILE' && !passed.includes(name))).toEqual([]);
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
