/** Tags: what a request is for, so that the ledger can say who spent what. */
import { commaSeparated } from '../../kit/http/headers/comma-list.ts';
import * as z from '../../kit/http/zod.ts';

const MOST_TAGS = 8;
/** Objects have a meaning of their own for `__proto__`, and zod leaves it out. */
const TAG_NAME = /^(?!__proto__$)[A-Za-z0-9_.-]{1,64}$/;
const TAG_VALUE = /^[A-Za-z0-9_.:@/+ -]{1,128}$/;

/** The message for a caller with malformed tags. */
export const TAGS_FORM = `must be at most ${MOST_TAGS} pairs such as feature=search,customer=42, each name once: names of letters, digits, _, . and - (64 at most), values also with :, @, /, + and spaces (128 at most)`;

/** Tags as a member of JSON: names with their values. */
export const tagsSchema = z
  .catchall(z.object({}), z.string())
  .check(z.refine((tags) => textOfTags(Object.entries(tags)) !== undefined, TAGS_FORM));

/**
 * Reads tags as the header `sluice-tags` has them.
 *
 * @returns the tags as the ledger stores them, in the order of their names; empty for none; undefined if they are malformed
 */
export function parseTags(header: string): string | undefined {
  const pairs = commaSeparated(header).map((pair) => pair.split('='));
  if (pairs.some(({ length }) => length !== 2)) return undefined;
  return textOfTags(pairs.map(([name = '', value = '']) => [name.trim(), value.trim()] as const));
}

/** @returns the tags of a token's claim, as the ledger stores them; undefined if there are no valid ones. */
export function tagsOfClaim(claim: unknown): string | undefined {
  if (typeof claim === 'string') return parseTags(claim);
  const { data } = tagsSchema.safeParse(claim);
  return data && textOfTags(Object.entries(claim as typeof data));
}

/** @returns tags by their names, from the text that the ledger stores. */
export function readTags(stored: string | null): Record<string, string> {
  if (stored === null || stored === '') return {};
  return Object.fromEntries(stored.split(',').map((pair) => pair.split('=') as [string, string]));
}

function textOfTags(pairs: readonly (readonly [string, string])[]): string | undefined {
  const names = new Set(pairs.map(([name]) => name));
  const isWhole = names.size === pairs.length && pairs.length <= MOST_TAGS;
  if (!isWhole || !pairs.every(([name, value]) => TAG_NAME.test(name) && TAG_VALUE.test(value))) return undefined;
  return pairs
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join(',');
}
