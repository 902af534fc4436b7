import { describe, expect, it } from '@jest/globals';
import { JobDefinition } from '../jobs/job-definition.js';
import { architectureOf } from './architecture.js';
import { shapeSpecOf } from './shape-spec.js';

describe('the architecture of a type', () => {
  it.each([
    't4g.small',
    'c7gn.large',
    'im4gn.xlarge',
    'is4gen.medium',
    'x2gd.metal',
    'g5g.xlarge',
    'hpc7g.4xlarge',
    'i8ge.large',
    'p6e-gb200.36xlarge',
    'a1.medium',
  ])('%s is Graviton', (type) => expect(architectureOf(type)).toBe('arm64'));
  it.each([
    't3.small',
    'g4dn.xlarge',
    'g5.xlarge',
    'g6e.large',
    'm7i-flex.large',
    'c7a.large',
    'u-6tb1.metal',
    'u7i-12tb.224xlarge',
    'trn1n.32xlarge',
    'p4de.24xlarge',
    'gr6.4xlarge',
    'mac1.metal',
  ])('%s is not', (type) => expect(architectureOf(type)).toBe('x86_64'));
});

describe('a pinned AMI', () => {
  const MIXED = ['t4g.small', 't3.small'];
  const amisOf = (instance: object, pinned: string | null) => {
    const { imageId, unpinnedImageId } = shapeSpecOf(JobDefinition.parse({ instance }), pinned);
    return { imageId, unpinnedImageId };
  };

  it.each<[what: string, instance: object, pinned: string | null, wanted: object]>([
    ['holds', { types: ['t3.small'] }, 'ami-1', { imageId: 'ami-1' }],
    [
      'leaves the default to the other architecture',
      { types: MIXED },
      'ami-1',
      { imageId: 'ami-1', unpinnedImageId: null },
    ],
    [
      'leaves the alias to the other architecture',
      { types: MIXED, ami: 'ecs-al2023' },
      'ami-1',
      { imageId: 'ami-1', unpinnedImageId: 'ecs-al2023' },
    ],
    ['is none yet', { types: MIXED }, null, { imageId: null }],
    ['is the one that was named', { types: MIXED, ami: 'ami-00000001' }, 'ami-00000001', { imageId: 'ami-00000001' }],
  ])('%s', (_, instance, pinned, wanted) => expect(amisOf(instance, pinned)).toEqual(wanted));
});
