// Text from outside may drive the user's terminal: move the cursor, forge lines, write the clipboard. All pure;
// terminal.ts, through which everything the command prints goes, calls it.

/** Colours and the like, which change only the look. */
const COLOURS = '\\u001b\\[[0-9;]*m';
/** Control characters but the tab, what breaks lines, and what turns the direction of writing. */
const CONTROLS = '[\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]';
const COLOUR_OR_CONTROL = new RegExp(`${COLOURS}|\\r?\\n|${CONTROLS}`, 'g');
const ANY_CONTROL = new RegExp(CONTROLS, 'g');
const RESET = '\u001b[0m';

/**
 * One line, whatever is in it: line breaks are shown as `↵`, other control characters as `�`.
 * @param keptColours the sequences that stay; what they changed ends with the line
 */
export function safeLine(text: string, keptColours: (sequence: string) => boolean = () => false): string {
  const safe = text.replace(COLOUR_OR_CONTROL, (found) => {
    if (found.endsWith('\n')) return '↵';
    if (found.length === 1) return '�';
    return keptColours(found) ? found : '';
  });
  return safe.includes('\u001b') && !safe.endsWith(RESET) ? safe + RESET : safe;
}

/** JSON of the same value without a character that a terminal obeys. */
export function safeJson(value: unknown): string {
  return JSON.stringify(value).replace(ANY_CONTROL, (found) => {
    return `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
