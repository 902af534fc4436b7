import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { plainText, unspacedText } from './plain-text.js';

const HALF = '\ud83d';

describe('text on one line', () => {
  it.each(['', 'web', 'a b', 'wäb ✓', '\u00a0', '\ud83d\ude00'])('may be %j', (text) => {
    expect(plainText(z.string()).safeParse(text).data).toBe(text);
  });

  it.each(['\n', 'a\0', '\x1f', '\x7f', '\x9f', HALF, `a${HALF}b`, `\n${HALF}`])('is not %j', (text) => {
    const issues = plainText(z.string()).safeParse(text).error?.issues ?? [];
    expect(issues.map(({ message }) => message)).toEqual(['must not contain control characters']);
  });
});

describe('text without spaces', () => {
  it.each(['', 'web', 'wäb✓', '\ud83d\ude00', '\u00a1'])('may be %j', (text) => {
    expect(unspacedText(z.string()).safeParse(text).data).toBe(text);
  });

  it.each(['a b', ' ', '\n', '\x7f', '\u00a0', '\u2003', '\ufeff', HALF, ` ${HALF}`])('is not %j', (text) => {
    const issues = unspacedText(z.string()).safeParse(text).error?.issues ?? [];
    expect(issues.map(({ message }) => message)).toEqual(['must not contain spaces or control characters']);
  });
});
