/**
 * Branches: an edited or repeated question is asked in a copy of the conversation, so that nothing is lost. The id of a copy is
 * that of the first conversation with a number. In the list, all copies are one entry.
 */
import type { Conversation, ConversationRow } from '../../../client/index.ts';

// Choose a mark that other ids hardly contain: deleting a conversation also deletes those whose id is its own id, this mark and
// a number.
const BRANCH_MARK = '-sluice-branch-';
const BRANCH_ID_PATTERN = /^(.+)-sluice-branch-(\d+)$/;
const MAX_ID_CHARACTERS = 128;
/** Members of a copy's metadata: the conversation it was copied from, and the last message that both have. */
const BRANCH_OF_KEY = 'branch_of';
const BRANCH_AT_KEY = 'branch_at';

/** One conversation of a family. */
export interface ConversationBranch {
  id: string;
  /** The conversation it was copied from; undefined for the first one. */
  copiedFrom: string | undefined;
  /** The id of the last message that both have; empty where they have none. */
  lastSharedId: string;
}

export type BranchOrigin = Pick<ConversationBranch, 'copiedFrom' | 'lastSharedId'>;

/** The branches between which one can choose at a message. */
export interface MessageBranches {
  ids: readonly string[];
  shownIndex: number;
}

/** @returns the id of a family's first conversation */
export function getBranchFamilyId(id: string): string {
  return BRANCH_ID_PATTERN.exec(id)?.[1] ?? id;
}

function parseBranchNumber(id: string): number {
  return Number(BRANCH_ID_PATTERN.exec(id)?.[2] ?? 1);
}

/** @returns the ids that the conversations of a family can have, as far as the list and the displayed conversation show */
export function listPossibleBranchIds(id: string, rows: readonly { id: string }[]): string[] {
  const family = getBranchFamilyId(id);
  const numbers = [id, ...rows.map((row) => row.id)]
    .filter((each) => getBranchFamilyId(each) === family)
    .map(parseBranchNumber);
  const most = Math.max(...numbers);
  return Array.from({ length: most }, (_, index) => (index === 0 ? family : family + BRANCH_MARK + (index + 1)));
}

/** @returns an id for the next copy; undefined where it would be too long */
export function createNextBranchId(id: string, rows: readonly { id: string }[]): string | undefined {
  const next = getBranchFamilyId(id) + BRANCH_MARK + (listPossibleBranchIds(id, rows).length + 1);
  return next.length > MAX_ID_CHARACTERS ? undefined : next;
}

/** @returns a row for each family, at the position of its first one: that of the member which changed last */
export function pickLatestConversationPerFamily(rows: readonly ConversationRow[]): ConversationRow[] {
  const latest = new Map<string, ConversationRow>();
  for (const row of rows) {
    const family = getBranchFamilyId(row.id);
    const other = latest.get(family);
    if (!other || row.updated_at > other.updated_at) latest.set(family, row);
  }
  return [...latest.values()];
}

/**
 * Finds where a copy branches off. If the copy shares no message that its source added, it branches off from the source of that
 * source.
 *
 * @param rows the messages of the conversation that is copied
 * @param shared how many of them the copy has
 */
export function findBranchOrigin(
  id: string,
  branches: readonly ConversationBranch[],
  rows: readonly { id: string }[],
  shared: number,
): BranchOrigin {
  const at = rows[shared - 1]?.id ?? '';
  let from = branches.find((branch) => branch.id === id);
  while (from?.copiedFrom !== undefined && shared <= rows.findIndex((row) => row.id === from?.lastSharedId) + 1) {
    const { copiedFrom: of } = from;
    from = branches.find((branch) => branch.id === of);
  }
  return { copiedFrom: from?.id ?? id, lastSharedId: at };
}

/** @returns the metadata of a copy, with what it is a branch of */
export function createBranchMetadata(
  metadata: Conversation['metadata'],
  { copiedFrom: of, lastSharedId: at }: BranchOrigin,
): Record<string, unknown> {
  return { ...metadata, [BRANCH_OF_KEY]: of, [BRANCH_AT_KEY]: at };
}

/** @returns what a conversation is a branch of */
export function parseConversationBranch({ id, metadata }: Pick<Conversation, 'id' | 'metadata'>): ConversationBranch {
  const isCopy = getBranchFamilyId(id) !== id;
  const readMetadataField = (name: string) =>
    isCopy && typeof metadata?.[name] === 'string' ? metadata[name] : undefined;
  return { id, copiedFrom: readMetadataField(BRANCH_OF_KEY), lastSharedId: readMetadataField(BRANCH_AT_KEY) ?? '' };
}

/** @returns what one can choose between, by the index of the message at which the branches part */
export function mapBranchesByMessageIndex(
  branches: readonly ConversationBranch[],
  shownId: string,
  rows: readonly { id: string }[],
): Map<number, MessageBranches> {
  const lineage = new Set<string>();
  for (let id: string | undefined = shownId; id !== undefined && !lineage.has(id); ) {
    lineage.add(id);
    const current: string = id;
    id = branches.find((branch) => branch.id === current)?.copiedFrom;
  }
  const choices = new Map<number, MessageBranches>();
  for (const { copiedFrom: of, lastSharedId: at } of branches) {
    if (of === undefined || !lineage.has(of)) continue;
    const index = at === '' ? 0 : rows.findIndex((row) => row.id === at) + 1;
    if (choices.has(index) || (at !== '' && index === 0)) continue;
    const copies = branches
      .filter((branch) => branch.copiedFrom === of && branch.lastSharedId === at)
      .map(({ id }) => id);
    const ids = [of, ...copies.sort((a, b) => parseBranchNumber(a) - parseBranchNumber(b))];
    // Show as selected the nearest ancestor of the displayed conversation, or the conversation itself.
    const nearest = [...lineage].find((id) => ids.includes(id)) ?? of;
    choices.set(index, { ids, shownIndex: ids.indexOf(nearest) });
  }
  return choices;
}
