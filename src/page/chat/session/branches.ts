/**
 * Branches: what is edited or asked again is asked in a copy of the conversation, so that nothing is lost. Copies share
 * their first conversation's id, with a number behind it; in the list all of them are one.
 */
import type { Conversation, ConversationRow } from '../../../client/index.ts';

// A name that nobody gives by chance: who is of a family is deleted with it.
const MARK = '-sluice-branch-';
const COPY = /^(.+)-sluice-branch-(\d+)$/;
const MOST_ID_CHARACTERS = 128;
/** Members of a copy's metadata: the conversation it was copied from, and the last message that both have. */
const OF = 'branch_of';
const AT = 'branch_at';

/** One conversation of a family. */
export interface Branch {
  id: string;
  /** The conversation it was copied from; undefined for the first one. */
  of: string | undefined;
  /** The id of the last message that both have; empty where they have none. */
  at: string;
}

export type Origin = Pick<Branch, 'of' | 'at'>;

/** The branches between which one can choose at a message. */
export interface Choice {
  ids: readonly string[];
  shown: number;
}

/** @returns the id of a family's first conversation */
export function familyOf(id: string): string {
  return COPY.exec(id)?.[1] ?? id;
}

function numberOf(id: string): number {
  return Number(COPY.exec(id)?.[2] ?? 1);
}

/** @returns the ids that the conversations of a family can have, as far as the list and the shown conversation tell */
export function possibleIdsOf(id: string, rows: readonly { id: string }[]): string[] {
  const family = familyOf(id);
  const numbers = [id, ...rows.map((row) => row.id)].filter((each) => familyOf(each) === family).map(numberOf);
  const most = Math.max(...numbers);
  return Array.from({ length: most }, (_, index) => (index === 0 ? family : family + MARK + (index + 1)));
}

/** @returns an id for the next copy; undefined where it would be too long */
export function nextBranchId(id: string, rows: readonly { id: string }[]): string | undefined {
  const next = familyOf(id) + MARK + (possibleIdsOf(id, rows).length + 1);
  return next.length > MOST_ID_CHARACTERS ? undefined : next;
}

/** @returns a row for each family, where its first one stands: that of the member which changed last */
export function oneOfEach(rows: readonly ConversationRow[]): ConversationRow[] {
  const latest = new Map<string, ConversationRow>();
  for (const row of rows) {
    const family = familyOf(row.id);
    const other = latest.get(family);
    if (!other || row.updated_at > other.updated_at) latest.set(family, row);
  }
  return [...latest.values()];
}

/**
 * Says where a copy branches off: not from a copy of which it shares no message of its own, but from what that was copied
 * from.
 *
 * @param rows the messages of the conversation that is copied
 * @param shared how many of them the copy has
 */
export function originOf(
  id: string,
  branches: readonly Branch[],
  rows: readonly { id: string }[],
  shared: number,
): Origin {
  const at = rows[shared - 1]?.id ?? '';
  let from = branches.find((branch) => branch.id === id);
  while (from?.of !== undefined && shared <= rows.findIndex((row) => row.id === from?.at) + 1) {
    const { of } = from;
    from = branches.find((branch) => branch.id === of);
  }
  return { of: from?.id ?? id, at };
}

/** @returns the metadata of a copy, with what it is a branch of */
export function branchMetadata(metadata: Conversation['metadata'], { of, at }: Origin): Record<string, unknown> {
  return { ...metadata, [OF]: of, [AT]: at };
}

/** @returns what a conversation is a branch of */
export function branchIn({ id, metadata }: Pick<Conversation, 'id' | 'metadata'>): Branch {
  const isCopy = familyOf(id) !== id;
  const member = (name: string) => (isCopy && typeof metadata?.[name] === 'string' ? metadata[name] : undefined);
  return { id, of: member(OF), at: member(AT) ?? '' };
}

/** @returns what one can choose between, by the index of the message at which the branches part */
export function choicesIn(
  branches: readonly Branch[],
  shown: string,
  rows: readonly { id: string }[],
): Map<number, Choice> {
  const lineage = new Set<string>();
  for (let id: string | undefined = shown; id !== undefined && !lineage.has(id); ) {
    lineage.add(id);
    const current: string = id;
    id = branches.find((branch) => branch.id === current)?.of;
  }
  const choices = new Map<number, Choice>();
  for (const { of, at } of branches) {
    if (of === undefined || !lineage.has(of)) continue;
    const index = at === '' ? 0 : rows.findIndex((row) => row.id === at) + 1;
    if (choices.has(index) || (at !== '' && index === 0)) continue;
    const copies = branches.filter((branch) => branch.of === of && branch.at === at).map(({ id }) => id);
    const ids = [of, ...copies.sort((a, b) => numberOf(a) - numberOf(b))];
    // The nearest ancestor of what is shown.
    const nearest = [...lineage].find((id) => ids.includes(id)) ?? of;
    choices.set(index, { ids, shown: ids.indexOf(nearest) });
  }
  return choices;
}
