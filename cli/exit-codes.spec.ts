import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { EXITS } from './exit-codes.js';

describe('the exit codes', () => {
  it('are those of the table in docs/cli.md', () => {
    const documentation = readFileSync(join(import.meta.dirname, '../docs/cli.md'), 'utf8').replaceAll(/ {2,}/g, ' ');
    const rows = Object.values(EXITS).map(({ code, meaning }) => `| ${code} | ${meaning} |`);
    expect(documentation).toContain(rows.join('\n'));
  });

  it('are each of one meaning', () => {
    const codes = Object.values(EXITS).map(({ code }) => code);
    expect(new Set(codes).size).toBe(codes.length);
  });
});
