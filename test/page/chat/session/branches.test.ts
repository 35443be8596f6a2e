import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ConversationBranch,
  createBranchMetadata,
  createNextBranchId,
  findBranchOrigin,
  listPossibleBranchIds,
  mapBranchesByMessageIndex,
  parseConversationBranch,
  pickLatestConversationPerFamily,
} from '#page/chat/session/branches.ts';
import { caseCount } from '#test/support/property-cases.ts';

interface Kept {
  branch: ConversationBranch;
  rows: { id: string }[];
}

/** Asks again and goes on, in conversations that are chosen at random. */
const steps = fc.array(fc.record({ which: fc.nat(), at: fc.nat(), goesOn: fc.boolean() }), { maxLength: 14 });

function familyAfter(done: { which: number; at: number; goesOn: boolean }[]): Kept[] {
  let last = 0;
  const row = () => {
    last += 1;
    return { id: `row_${last}` };
  };
  const family: Kept[] = [{ branch: { id: 'c', copiedFrom: undefined, lastSharedId: '' }, rows: [row(), row()] }];
  for (const { which, at, goesOn } of done) {
    const from = family[which % family.length] as Kept;
    if (goesOn) {
      from.rows.push(row());
      continue;
    }
    const shared = at % from.rows.length;
    const branches = family.map(({ branch }) => branch);
    const origin = findBranchOrigin(from.branch.id, branches, from.rows, shared);
    const id = createNextBranchId(from.branch.id, branches) ?? '';
    const metadata = createBranchMetadata({ theirs: 'stays' }, origin);
    expect(metadata).toMatchObject({ theirs: 'stays' });
    family.push({
      branch: parseConversationBranch({ id, metadata }),
      rows: [...from.rows.slice(0, shared), row(), row()],
    });
  }
  return family;
}

test('every branch is reachable from every other, and each choice lists distinct versions of one message', () => {
  fc.assert(
    fc.property(steps, (done) => {
      const family = familyAfter(done);
      const branches = family.map(({ branch }) => branch);
      const find = (id: string) => family.find(({ branch }) => branch.id === id) as Kept;
      for (const { branch, rows } of family) {
        for (const [index, { ids, shownIndex: shown }] of mapBranchesByMessageIndex(branches, branch.id, rows)) {
          expect(ids.length).toBeGreaterThan(1);
          // All have what stands before, and the one that is marked has what is shown.
          for (const id of ids) expect(find(id).rows.slice(0, index)).toEqual(rows.slice(0, index));
          expect(find(ids[shown] as string).rows[index]).toEqual(rows[index]);
          const versions = ids.map((id) => find(id).rows[index]?.id);
          expect(new Set(versions).size).toBe(ids.length);
        }
        const reached = new Set([branch.id]);
        for (const id of reached) {
          for (const { ids } of mapBranchesByMessageIndex(branches, id, find(id).rows).values())
            for (const each of ids) reached.add(each);
        }
        expect(reached.size).toBe(family.length);
      }
    }),
    { numRuns: caseCount(300) },
  );
});

const listed = (id: string, updated_at: string) => ({
  type: 'conversation' as const,
  id,
  title: id,
  created_at: updated_at,
  updated_at,
  turns: 1,
  messages: 2,
  cost_usd: 0,
  state: 'idle' as const,
  paused: null,
});

test('the list shows only the latest conversation of each family of branches', () => {
  const rows = [
    listed('a-sluice-branch-2', '2026-01-02T00:00:00Z'),
    listed('b-branch-2', '2026-01-01T00:00:00Z'),
    listed('a-sluice-branch-3', '2026-01-03T00:00:00Z'),
    listed('a', '2026-01-01T00:00:00Z'),
  ];
  expect(pickLatestConversationPerFamily(rows).map(({ id }) => id)).toEqual(['a-sluice-branch-3', 'b-branch-2']);
  expect(listPossibleBranchIds('a', rows)).toEqual(['a', 'a-sluice-branch-2', 'a-sluice-branch-3']);
  expect(createNextBranchId('a-sluice-branch-2', rows)).toBe('a-sluice-branch-4');
  expect(createNextBranchId('a'.repeat(125), rows)).toBeUndefined();
});
