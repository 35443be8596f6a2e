import { type Digest, digest, hex } from './digest.ts';

/** What thinking is bound to: it can be read again only there. */
export interface Binding {
  /** The digest of the conversation before it. */
  prefix: string;
  model: string;
  /** The end user's name; empty if the request names none. */
  user: string;
}

/** Makes the signature of a thinking block, or the data of a redacted one. */
export function sealThinking(kind: 'thinking' | 'redacted', subject: string, bound: Binding, seed: Digest): string {
  const { prefix, model, user } = bound;
  const claims = [kind, ...[subject, model, user].map((text) => hex(digest(text))), prefix].join(':');
  return btoa(`sluice-simulator:${claims}:${hex(digest(claims, seed))}`);
}

/**
 * Finds what a thinking block is bound to otherwise than it should be. Model and user are compared before the conversation,
 * as the API does.
 *
 * @param prefixes the digests of the conversation before it: one, or several where a summary stands for its beginning
 * @returns `altered` for a block that is not as the simulator made it; undefined for one that is bound as it should be
 */
export function mismatchOf(
  { type, thinking, signature, data }: Readonly<Record<string, unknown>>,
  { model, user }: Pick<Binding, 'model' | 'user'>,
  prefixes: readonly string[],
  seed: Digest,
): 'altered' | 'end_user' | 'model' | 'prefix' | undefined {
  const isRedacted = type === 'redacted_thinking';
  const [, kind, subject, madeBy, madeFor, after, mark] = opened(String(isRedacted ? data : signature)).split(':');
  const claims = [kind, subject, madeBy, madeFor, after].join(':');
  const isWhole = isRedacted ? kind === 'redacted' : kind === 'thinking' && subject === hex(digest(String(thinking)));
  if (!isWhole || mark !== hex(digest(claims, seed))) return 'altered';
  if (madeFor !== hex(digest(user))) return 'end_user';
  if (madeBy !== hex(digest(model))) return 'model';
  return prefixes.includes(after ?? '') ? undefined : 'prefix';
}

function opened(sealed: string): string {
  try {
    return atob(sealed);
  } catch {
    return '';
  }
}

/** What a summary's signature answers for. */
export interface SummaryClaims {
  content: string;
  /** The JSON of its tool changes. */
  changes: string;
}

/**
 * Makes the signature of a summary.
 *
 * @param prefixes the digests that the summarized conversation ends with: thinking that was made right behind it stays valid
 */
export function sealSummary({ content, changes }: SummaryClaims, prefixes: readonly string[], seed: Digest): string {
  const claims = ['compaction', hex(digest(content)), hex(digest(changes)), prefixes.join()].join(':');
  return btoa(`sluice-simulator:${claims}:${hex(digest(claims, seed))}`);
}

/**
 * Reads the digests of a summary's signature.
 *
 * @returns `signature`, `content` or `changes`: the first of these that is not as the simulator made it
 */
export function sealedPrefixes(
  signature: string,
  claimed: SummaryClaims,
  seed: Digest,
): readonly string[] | 'signature' | 'content' | 'changes' {
  const [, kind, content, changes, after = '', mark] = opened(signature).split(':');
  const claims = [kind, content, changes, after].join(':');
  const own = hex(digest(claims, seed));
  // Base64 has several spellings of the same bytes, and the API wants each byte as it was.
  const isOwn = kind === 'compaction' && mark === own && signature === btoa(`sluice-simulator:${claims}:${own}`);
  if (!isOwn) return 'signature';
  if (content !== hex(digest(claimed.content))) return 'content';
  if (changes !== hex(digest(claimed.changes))) return 'changes';
  return after === '' ? [] : after.split(',');
}
