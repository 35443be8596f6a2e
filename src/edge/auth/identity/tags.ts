/** Tags: the purpose of a request, so that the ledger can sum up spending by it. */
import { parseCommaList } from '../../kit/http/headers/comma-list.ts';
import * as z from '../../kit/http/zod.ts';

const MAX_TAGS = 8;
/** Objects have a meaning of their own for `__proto__`, and zod leaves it out. */
const TAG_NAME = /^(?!__proto__$)[A-Za-z0-9_.-]{1,64}$/;
const TAG_VALUE = /^[A-Za-z0-9_.:@/+ -]{1,128}$/;

/** The message for a caller with malformed tags. */
export const INVALID_TAGS_MESSAGE = `must be at most ${MAX_TAGS} pairs such as feature=search,customer=42, each name once: names of letters, digits, _, . and - (64 at most), values also with :, @, /, + and spaces (128 at most)`;

/** Tags as a member of JSON: names with their values. */
export const tagsSchema = z
  .catchall(z.object({}), z.string())
  .check(z.refine((tags) => serializeTags(Object.entries(tags)) !== undefined, INVALID_TAGS_MESSAGE));

/**
 * Reads tags as the header `sluice-tags` has them.
 *
 * @returns the tags as the ledger stores them, in the order of their names; empty for none; undefined if they are malformed
 */
export function parseTagsHeader(header: string): string | undefined {
  const pairs = parseCommaList(header).map((pair) => pair.split('='));
  if (pairs.some(({ length }) => length !== 2)) return undefined;
  return serializeTags(pairs.map(([name = '', value = '']) => [name.trim(), value.trim()] as const));
}

/** @returns the tags of a token's claim, as the ledger stores them; undefined if there are no valid ones. */
export function parseTagsClaim(claim: unknown): string | undefined {
  if (typeof claim === 'string') return parseTagsHeader(claim);
  const { data } = tagsSchema.safeParse(claim);
  return data && serializeTags(Object.entries(claim as typeof data));
}

/** @returns tags by their names, from the text that the ledger stores. */
export function parseStoredTags(stored: string | null): Record<string, string> {
  if (stored === null || stored === '') return {};
  return Object.fromEntries(stored.split(',').map((pair) => pair.split('=') as [string, string]));
}

function serializeTags(pairs: readonly (readonly [string, string])[]): string | undefined {
  const names = new Set(pairs.map(([name]) => name));
  const isWhole = names.size === pairs.length && pairs.length <= MAX_TAGS;
  if (!isWhole || !pairs.every(([name, value]) => TAG_NAME.test(name) && TAG_VALUE.test(value))) return undefined;
  return pairs
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join(',');
}
