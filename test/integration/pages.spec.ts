import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pageSql } from '../../src/http/pagination.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('a page of a list', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  it.each([
    ['ends with the row that passes 1 MiB', 600_000, [1, 2]],
    ['has one row in any case', 2_000_000, [1]],
    ['is whole where it is small', 100, [1, 2, 3, 4]],
  ])('%s, and says how many rows it would have been', async (_, bytes, expected) => {
    const list = `SELECT n AS id, repeat('x', $1::int) AS text FROM generate_series(1, 4) n`;
    const rows = await test.database.query<{ id: number; pageRows: number }>(pageSql(list, 'id'), [bytes]);
    expect(rows.map(({ id, pageRows }) => [id, pageRows])).toEqual(expected.map((id) => [id, 4]));
  });
});
