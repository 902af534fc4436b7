import { join } from 'node:path';
import { CrashHouse, type Life } from './crash-life.ts';
import type { CrashPoint } from './crash-preload.ts';

export type CrashTestOptions = {
  readonly directory: string;
  /** Lives led side by side, each on a Postgres and a cloud of its own. */
  readonly shards: number;
  /** Which of all points: all, or a sample. */
  readonly choose: (points: readonly CrashPoint[]) => readonly CrashPoint[];
  readonly signal?: AbortSignal;
  readonly onLife: (life: Life, done: number, total: number) => void;
};

export type CrashTestResult = {
  readonly points: number;
  readonly lives: readonly Life[];
  /** Points that no life came to: what runs side by side is not always in one order. */
  readonly unreached: readonly CrashPoint[];
};

/** How often a life is repeated for a point that it did not reach. */
const TRIES = 3;

/** First lives without a crash, which list the points; then one with a crash at each. */
export async function runCrashTest(options: CrashTestOptions): Promise<CrashTestResult> {
  const { directory, shards, choose, signal, onLife } = options;
  const houses: CrashHouse[] = [];
  try {
    for (let shard = 0; shard < shards; shard += 1) houses.push(await CrashHouse.open(join(directory, `${shard}`)));
    const quiet = await Promise.all(houses.map((house) => house.live(null)));
    const broken = quiet.find(({ findings }) => findings.length > 0);
    if (broken) throw new Error(`a life without a crash goes wrong: ${JSON.stringify(broken.findings)}`);
    const points = unionOf(quiet.map(({ passed }) => passed));
    const left = [...choose(points)];
    const total = left.length;
    const lives: Life[] = [];
    const unreached: CrashPoint[] = [];
    await Promise.all(
      houses.map(async (house) => {
        for (let point = left.shift(); point && !signal?.aborted; point = left.shift()) {
          let life = await house.live(point);
          for (let tries = 1; !life.isReached && life.findings.length === 0 && tries < TRIES; tries += 1)
            life = await house.live(point);
          lives.push(life);
          if (!life.isReached) unreached.push(point);
          onLife(life, lives.length, total);
        }
      }),
    );
    return { points: points.length, lives, unreached };
  } finally {
    await Promise.all(houses.map((house) => house.close()));
  }
}

export function pointText({ side, name, occurrence }: CrashPoint): string {
  return `${side} ${name} #${occurrence}`;
}

function unionOf(lists: readonly (readonly CrashPoint[])[]): CrashPoint[] {
  const points = new Map(lists.flat().map((point) => [pointText(point), point]));
  return [...points.values()];
}
