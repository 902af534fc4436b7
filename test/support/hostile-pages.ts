import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

/** What a rightful client would send; a page tries it in every way that it has. */
export type Target = {
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
};

/** An answer that the page's script could read. */
export type Read = { readonly how: string; readonly url: string; readonly text: string };

export type HostileBrowser = {
  /** A page of a site of its own. */
  readonly ofAnotherSite: (targets: readonly Target[]) => Promise<Read[]>;
  /**
   * A page of `origin`, whose name leads to the service by now: it came from elsewhere while the name led there (DNS
   * rebinding), and to the browser it is of the same origin as the service.
   */
  readonly underName: (origin: string, targets: readonly Target[]) => Promise<Read[]>;
  readonly close: () => Promise<void>;
};

/** Why pages cannot be tried; undefined where they can. */
export function whyNoBrowser(): string | undefined {
  return findChromium() === undefined ? 'there is no chromium' : undefined;
}

function findChromium(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, 'chromium')).find((file) => existsSync(file));
}

/** A Chromium to whom names lead where they do not in DNS. @param names address by name */
export async function openHostileBrowser(names: Readonly<Record<string, string>>): Promise<HostileBrowser> {
  const rules = Object.entries(names).map(([name, address]) => `MAP ${name} ${address}`);
  const browser = await chromium.launch({
    executablePath: findChromium() ?? 'chromium',
    args: [
      '--no-sandbox',
      '--disable-quic',
      // Only Chromium asks its user before a public page may reach loopback, and a user may say yes.
      '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,BlockInsecurePrivateNetworkRequests',
      `--host-resolver-rules=${rules.join(',')}`,
    ],
  });
  const html = await readFile(join(import.meta.dirname, 'hostile-page.html'), 'utf8');
  const attackFrom = async (origin: string, targets: readonly Target[]): Promise<Read[]> => {
    const page = await browser.newPage();
    try {
      // Only the page itself; its requests go over the network.
      await page.route(`${origin}/page`, (route) => route.fulfill({ contentType: 'text/html', body: html }));
      await page.goto(`${origin}/page`);
      // While something is routed, no preflight would reach the service.
      await page.unrouteAll();
      return await page.evaluate<Read[]>(`attack(${JSON.stringify(targets.map(withBody))})`);
    } finally {
      await page.close();
    }
  };
  return {
    ofAnotherSite: (targets) => attackFrom('http://site.test', targets),
    underName: attackFrom,
    close: () => browser.close(),
  };
}

function withBody(target: Target): Required<Target> {
  return { headers: {}, body: '', ...target };
}
