import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AccountSpendingQuery } from '#edge/plugins/pools/contracts/pool.ts';
import type { AccountSpendRow } from '#edge/plugins/pools/pools-answers.schema.ts';
import { createUnknownAccountRow, sortAndPaginateRows } from '#edge/plugins/pools/spenders.ts';
import { tryCases } from '#test/support/property-cases.ts';

const SORTS = ['spent', 'limit', 'used', 'last_seen', 'group'] as const;
const query = { period: 'month', sort: 'spent' } as const;

interface Values {
  spent: number;
  limit: number | null;
  seen: number | null;
  group: string | null;
}

const values = fc.record({
  spent: fc.nat({ max: 4 }),
  limit: fc.option(fc.nat({ max: 4 })),
  seen: fc.option(fc.nat({ max: 4 })),
  group: fc.option(fc.constantFrom('red', 'blue', 'with "quotes"')),
});
const rowOf = (id: string, { spent, limit, seen, group }: Values): AccountSpendRow => ({
  ...createUnknownAccountRow(id),
  group,
  spent_usd: { day: 0, week: 0, month: spent },
  limit_usd: { day: null, week: null, month: limit },
  tightest:
    limit === null
      ? null
      : {
          by: 'account',
          id: null,
          refuses: false,
          limit: 'usd_per_month',
          limit_usd: limit,
          used_usd: spent,
          resets_at: '2027-01-01T00:00:00.000Z',
        },
  last_seen_at: seen === null ? null : new Date(seen).toISOString(),
});
test('lists blocked accounts first, then accounts whose limit rejects requests although it is not fully used', () => {
  const row = (id: string, used_usd: number, more: Partial<AccountSpendRow> & { refuses?: boolean } = {}) => {
    const { refuses = false, ...rest } = more;
    const { tightest, ...account } = rowOf(id, { spent: used_usd, limit: 1_000, seen: null, group: null });
    return { ...account, tightest: tightest && { ...tightest, refuses }, ...rest };
  };
  const rows = [
    row('nearly', 999),
    row('member', 995, { refuses: true }),
    row('blocked', 0, { blocked_by: 'models' }),
    row('half', 500),
  ];
  const order = sortAndPaginateRows(rows, { ...query, sort: 'used' }).data.map(({ id }) => id);
  expect(order).toEqual(['blocked', 'member', 'nearly', 'half']);
});

test('lists the accounts with the most rejected requests today first', () => {
  const row = (id: string, refused_today: number) => ({
    ...rowOf(id, { spent: 1, limit: null, seen: null, group: null }),
    refused_today,
  });
  const rows = [row('seldom', 2), row('often', 80), row('never', 0)];
  const order = sortAndPaginateRows(rows, { ...query, sort: 'refused' }).data.map(({ id }) => id);
  expect(order).toEqual(['often', 'seldom', 'never']);
});

/** So often an account moves between two pages. */
const MOST_MOVES = 12;

/** Walks through all pages. @param meanwhile changes the rows between two pages */
function walk(
  first: AccountSpendRow[],
  { limit, sort, back }: Pick<AccountSpendingQuery, 'sort'> & { limit: number; back: boolean },
  meanwhile: (rows: AccountSpendRow[]) => AccountSpendRow[] = (rows) => rows,
): string[] {
  let rows = first;
  const found: string[] = [];
  let cursor: Partial<AccountSpendingQuery> = {};
  if (back) {
    const last = sortAndPaginateRows([...rows], { ...query, sort, limit: 1_000 });
    found.push(last.data.at(-1)?.id ?? '');
    cursor = { before_id: last.last_id ?? '' };
  }
  // An account that moves behind a page is found again.
  for (let pages = 0; pages <= first.length + MOST_MOVES; pages += 1) {
    const page = sortAndPaginateRows([...rows], { ...query, ...cursor, sort, limit });
    found.splice(back ? 0 : found.length, 0, ...page.data.map(({ id }) => id));
    if (!page.has_more) return found;
    cursor = back ? { before_id: page.first_id ?? '' } : { after_id: page.last_id ?? '' };
    rows = meanwhile(rows);
  }
  throw new Error('The pages do not end.');
}

const lists = fc.array(values, { minLength: 1, maxLength: 12 });

test('pages contain every account once, in the same order in both directions, for every sort field', () => {
  tryCases(100, lists, fc.integer({ min: 1, max: 5 }), fc.constantFrom(...SORTS), (all, limit, sort) => {
    const rows = all.map((one, at) => rowOf(`a${at}`, one));
    const whole = sortAndPaginateRows([...rows], { ...query, sort, limit: 1_000 }).data.map(({ id }) => id);
    expect([...whole].sort()).toEqual(rows.map(({ id }) => id).sort());
    expect(walk(rows, { limit, sort, back: false })).toEqual(whole);
    expect(walk(rows, { limit, sort, back: true })).toEqual(whole);
  });
});

test('a page continues after the previous page, even if its last account spent more or was erased', () => {
  const moves = fc.array(fc.record({ at: fc.nat({ max: 11 }), spent: fc.option(fc.nat({ max: 9 })) }), {
    maxLength: MOST_MOVES,
  });
  tryCases(100, lists, fc.integer({ min: 1, max: 3 }), moves, (all, limit, changes) => {
    const rows = all.map((one, at) => rowOf(`a${at}`, one));
    const left = [...changes];
    const moved = new Set<string>();
    const found = walk(rows, { limit, sort: 'spent', back: false }, (now) => {
      const change = left.pop();
      const row = change && now[change.at];
      if (!row) return now;
      moved.add(row.id);
      const others = now.filter(({ id }) => id !== row.id);
      const { spent } = change;
      return spent === null ? others : [...others, { ...row, spent_usd: { day: 0, week: 0, month: spent } }];
    });
    const stayed = (ids: readonly string[]) => ids.filter((id) => !moved.has(id)).sort();
    expect(stayed(found)).toEqual(stayed(rows.map(({ id }) => id)));
  });
});

test('sorts by the requested field, with accounts without a limit last in the order of limits or used shares', () => {
  const rows = [
    rowOf('far', { spent: 4, limit: 100, seen: 1, group: 'red' }),
    rowOf('near', { spent: 3, limit: 4, seen: 3, group: 'blue' }),
    rowOf('free', { spent: 9, limit: null, seen: 2, group: null }),
  ];
  const sorted = (sort: AccountSpendingQuery['sort']) =>
    sortAndPaginateRows([...rows], { ...query, sort }).data.map(({ id }) => id);
  expect(sorted('spent')).toEqual(['free', 'far', 'near']);
  expect(sorted('limit')).toEqual(['far', 'near', 'free']);
  expect(sorted('used')).toEqual(['near', 'far', 'free']);
  expect(sorted('last_seen')).toEqual(['near', 'free', 'far']);
  expect(sorted('group')).toEqual(['free', 'near', 'far']);
});

test('accepts the id of an account as a cursor', () => {
  const rows = [1, 2, 3].map((spent) => rowOf(`a${spent}`, { spent, limit: null, seen: null, group: null }));
  expect(sortAndPaginateRows(rows, { ...query, after_id: 'a3' }).data.map(({ id }) => id)).toEqual(['a2', 'a1']);
});
