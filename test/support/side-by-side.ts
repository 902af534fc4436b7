import { it } from '@jest/globals';

type Test<T> = (name: string, test: (own: T) => Promise<void>, limitMs?: number) => void;

/** Tests that run at the same time, as they mostly wait: each has what `open` makes for itself, which `close` ends. */
export function sideBySide<T>(open: () => Promise<T>, close: (own: T) => Promise<void>, usualMs?: number): Test<T> {
  return (name, test, limitMs = usualMs) => {
    it.concurrent(
      name,
      async () => {
        const own = await open();
        try {
          await test(own);
        } finally {
          await close(own);
        }
      },
      limitMs,
    );
  };
}
