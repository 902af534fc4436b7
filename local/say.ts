/** Progress for a person at a terminal: one line a step. */
export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function warn(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Name, padded value: a column of facts. */
export function fact(name: string, value: string): void {
  say(`  ${name.padEnd(14)} ${value}`);
}
