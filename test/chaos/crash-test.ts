import { join } from 'node:path';
import { CrashHouse, type Life, STORIES, type Story } from './crash-life.ts';
import type { CrashPoint } from './crash-preload.ts';

/** A point of a life that goes like this. */
export type StoryPoint = CrashPoint & { readonly story: Story };

export type CrashTestOptions = {
  readonly directory: string;
  /** Lives led side by side, each on a Postgres and a cloud of its own. */
  readonly shards: number;
  /** Which of all points: all, or a sample. */
  readonly choose: (points: readonly StoryPoint[]) => readonly StoryPoint[];
  readonly signal?: AbortSignal;
  readonly onLife: (life: Life, done: number, total: number) => void;
};

export type CrashTestResult = {
  readonly points: number;
  readonly lives: readonly Life[];
  /** Points that no life came to: what runs side by side is not always in one order. */
  readonly unreached: readonly StoryPoint[];
};

/** How often a life is repeated for a point that it did not reach. */
const TRIES = 3;

/** First lives without a crash, which list the points; then one with a crash at each. */
export async function runCrashTest(options: CrashTestOptions): Promise<CrashTestResult> {
  const { directory, shards, choose, signal, onLife } = options;
  const houses: CrashHouse[] = [];
  try {
    for (let shard = 0; shard < shards; shard += 1) houses.push(await CrashHouse.open(join(directory, `${shard}`)));
    const quiet = (
      await Promise.all(houses.map((house, index) => livesOf(house, index === 0 ? STORIES : ['replaced'])))
    ).flat();
    const broken = quiet.find(({ findings }) => findings.length > 0);
    if (broken) throw new Error(`a life without a crash goes wrong: ${JSON.stringify(broken.findings)}`);
    const points = unionOf(quiet);
    const missing = missingEffects(points);
    if (missing.length > 0) throw new Error(`no life passes ${missing.join(', ')}`);
    const left = [...choose(points)];
    const total = left.length;
    const lives: Life[] = [];
    const unreached: StoryPoint[] = [];
    await Promise.all(
      houses.map(async (house) => {
        for (let point = left.shift(); point && !signal?.aborted; point = left.shift()) {
          let life = await house.live(point, point.story);
          for (let tries = 1; !life.isReached && life.findings.length === 0 && tries < TRIES; tries += 1)
            life = await house.live(point, point.story);
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

export function pointText({ side, name, occurrence, story }: StoryPoint): string {
  return `${side} ${name} #${occurrence}${story === 'replaced' ? '' : `, ${story}`}`;
}

async function livesOf(house: CrashHouse, stories: readonly Story[]): Promise<Life[]> {
  const lives: Life[] = [];
  for (const story of stories) lives.push(await house.live(null, story));
  return lives;
}

/** All points of the one story, and those of the other that do something to addresses which the one does not do. */
function unionOf(lives: readonly Life[]): StoryPoint[] {
  const points = new Map<string, StoryPoint>();
  const known = new Set<string>();
  for (const { story, passed } of lives.toSorted((a, b) => STORIES.indexOf(a.story) - STORIES.indexOf(b.story))) {
    for (const point of passed) {
      if (story === 'replaced') known.add(point.name);
      else if (!point.name.includes('(') || known.has(point.name)) continue;
      const told = { ...point, story };
      points.set(pointText(told), told);
    }
  }
  return [...points.values()];
}

/** What is done to the addresses of jobs: the program is killed before and after each of these. */
const EFFECTS = [
  /INSERT routes/,
  /\(.*\bhosts removed\b/,
  /\(.*\bcheck asked for\b/,
  /check of a port/,
  /\(.*\bcheck stored\b/,
  /UPDATE deployments.*\(.*\bled to\b/,
  /\(.*\bled to, left\b/,
  /\(.*\bunrouting\b/,
  /\(.*\bleft\b.*\bstopping\b/,
  /\(.*\bended\b.*\bleft\b/,
];

function missingEffects(points: readonly CrashPoint[]): string[] {
  return (['before', 'after'] as const).flatMap((side) =>
    EFFECTS.filter((effect) => !points.some((point) => point.side === side && effect.test(point.name))).map(
      (effect) => `${side} ${effect.source}`,
    ),
  );
}
