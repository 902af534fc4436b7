import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { EventResponse } from '../../src/events/event.schema.ts';
import { type EventFilter, fits, readBackward, readForward } from '../../src/events/read-events.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const TOTAL = 45_000;
const ALL: EventFilter = { job: null, deployment: null, types: null, scope: null };

describe('reading events', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
    await test.database.query(
      `INSERT INTO events (position, type, actor, job, deployment)
       SELECT n, CASE WHEN n IN (1, 22222, $1) THEN 'job.deleted' ELSE (ARRAY['attempt.waiting', 'deployment.active'])[1 + n % 2] END,
         'scheduler', (ARRAY['team-a-web', 'team-b-web', NULL])[1 + n % 3], n % 5
       FROM generate_series(1, $1::int) AS n`,
      [TOTAL],
    );
    await test.database.query('UPDATE event_positions SET last = $1', [TOTAL]);
  });
  afterAll(() => test.close());

  it('goes in turns through what nothing fits, and comes to the same end in both directions', async () => {
    const rare: EventFilter = { ...ALL, types: ['job.deleted'] };
    const forward: number[] = [];
    let turns = 0;
    for (let position = 0, isAtEnd = false; !isAtEnd; turns += 1) {
      const read = await readForward(test.database, rare, position, 200);
      forward.push(...read.events.map((event) => event.position));
      ({ reached: position, isAtEnd } = read);
    }
    expect([forward, turns]).toEqual([[1, 22_222, TOTAL], 3]);
    const backward: number[] = [];
    for (let position: number | null = null, isAtEnd = false; !isAtEnd;) {
      const read = await readBackward(test.database, rare, position, 200);
      backward.push(...read.events.map((event) => event.position));
      ({ reached: position, isAtEnd } = read);
    }
    expect(backward).toEqual(forward.toReversed());
  });

  it.each<[string, Partial<EventFilter>]>([
    ['a job', { job: 'team-a-web' }],
    ['a deployment', { deployment: 3 }],
    ['a job and types', { job: 'team-b-web', types: ['deployment.active', 'job.deleted'] }],
    ['a scope', { scope: ['team-a-', 'other-'] }],
    ['a job outside the scope', { job: 'team-b-web', scope: ['team-a-'] }],
    ['no type', { types: [] }],
  ])('by %s finds in the table what it finds in memory', async (_what, filter) => {
    const { events: all } = await readForward(test.database, ALL, 22_000, 900);
    const wanted = { ...ALL, ...filter };
    const { events } = await readForward(test.database, wanted, 22_000, 900);
    const isInRange = ({ position }: EventResponse): boolean => position <= 22_900;
    expect(events.filter(isInRange)).toEqual(all.filter((event) => fits(event, wanted)));
    expect(all).toHaveLength(900);
  });
});
