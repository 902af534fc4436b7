// Every relative link of the Markdown files leads to a file, and to a heading of it where one is named. The README is what
// a newcomer reads first: it stays short, and leaves what is more than that to docs/.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const README_BYTES = 10_240;
const root = join(import.meta.dirname, '..');

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root })
  .toString()
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));
const faults = files.flatMap(brokenLinksOf);
const readmeBytes = readFileSync(join(root, 'README.md')).byteLength;
if (readmeBytes > README_BYTES) faults.push(`README.md has ${readmeBytes} bytes, ${README_BYTES} are allowed`);
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;

function brokenLinksOf(file: string): string[] {
  const links = [...withoutCode(readText(file)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
  return links.flatMap((link) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [path = '', heading] = link.split('#');
    const target = path === '' ? file : relative(root, join(root, dirname(file), path));
    if (!existsSync(join(root, target))) return [`${file}: ${link} leads to no file`];
    if (heading === undefined || headingsOf(target).has(heading)) return [];
    return [`${file}: ${link} leads to no heading of ${target}`];
  });
}

/** As GitHub makes anchors of headings: lower case, without punctuation, `-` for each space. */
function headingsOf(file: string): Set<string> {
  const headings = [...withoutCode(readText(file)).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

function withoutCode(text: string): string {
  return text.replace(/^ *```[\s\S]*?^ *```/gm, '');
}

function readText(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}
