import { describe, expect, it } from '@jest/globals';
import { EVENT_TYPES, type EventType, typesLike, visibleTypes } from './event-types.js';

describe('a pattern of types', () => {
  it('is a type, a kind, or all', () => {
    expect(typesLike('*')).toEqual(EVENT_TYPES);
    for (const type of EVENT_TYPES) expect(typesLike(type)).toEqual([type]);
    const kinds = [...new Set(EVENT_TYPES.map((type) => type.split('.')[0]!))];
    expect(kinds.flatMap((kind) => typesLike(`${kind}.*`)).toSorted()).toEqual(EVENT_TYPES.toSorted());
    expect(typesLike('snapshot.*')).toEqual(['snapshot.completed', 'snapshot.failed', 'snapshot.deleted']);
  });

  it.each(['', 'job', 'job.', 'job.create', 'jo.*', 'job.created.*', '.*', '**', 'job.created*', '*.created'])(
    '%j is none',
    (pattern) => {
      expect(typesLike(pattern)).toEqual([]);
    },
  );
});

describe('the types that a caller may see', () => {
  const isForAdmins = (type: string): boolean => ['token', 'registry', 'webhook'].includes(type.split('.')[0]!);

  it('are all for an admin', () => {
    expect(visibleTypes(null, true)).toBeNull();
    expect(visibleTypes(['token.created'], true)).toEqual(['token.created']);
  });

  it('are those of jobs, instances and snapshots for others', () => {
    const open = EVENT_TYPES.filter((type) => !isForAdmins(type));
    expect(visibleTypes(null, false)).toEqual(open);
    const some: EventType[] = ['job.created', 'token.created', 'webhook.pinged', 'registry.set'];
    expect(visibleTypes(some, false)).toEqual(['job.created']);
  });
});
