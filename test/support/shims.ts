import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Shell scripts that stand in for tools: put `folder` first on the PATH of whatever is tried. */
export function writeShims(folder: string, scripts: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, body] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), `#!/bin/bash\n${body}\n`, { mode: 0o755 });
  }
}
