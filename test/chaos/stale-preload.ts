// Loaded before the program (`node --import …/stale-preload.ts?seconds=3`): how long a container serves on for those who
// still come by an older answer. Tests that wait for it again and again have it shorter; nothing in src knows of it.
import { registerHooks } from 'node:module';

const seconds = Number(new URL(import.meta.url).searchParams.get('seconds'));
const MODULE = /\/dist\/scheduler\/plan\/plan-unrouting\.js$/;
const CONSTANT = /\bconst STALE_SECONDS = \d+;/;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!MODULE.test(url)) return loaded;
    const source = Buffer.from(loaded.source as Uint8Array).toString();
    if (!CONSTANT.test(source)) throw new Error(`${url} has no STALE_SECONDS`);
    return { ...loaded, source: source.replace(CONSTANT, `const STALE_SECONDS = ${seconds};`) };
  },
});
