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
 * @returns `altered` for a block that is not as the simulator made it; undefined for one that is bound as it should be
 */
export function mismatchOf(
  { type, thinking, signature, data }: Readonly<Record<string, unknown>>,
  { prefix, model, user }: Binding,
  seed: Digest,
): 'altered' | 'end_user' | 'model' | 'prefix' | undefined {
  const isRedacted = type === 'redacted_thinking';
  const [, kind, subject, madeBy, madeFor, after, mark] = opened(String(isRedacted ? data : signature)).split(':');
  const claims = [kind, subject, madeBy, madeFor, after].join(':');
  const isWhole = isRedacted ? kind === 'redacted' : kind === 'thinking' && subject === hex(digest(String(thinking)));
  if (!isWhole || mark !== hex(digest(claims, seed))) return 'altered';
  if (madeFor !== hex(digest(user))) return 'end_user';
  if (madeBy !== hex(digest(model))) return 'model';
  return after === prefix ? undefined : 'prefix';
}

function opened(sealed: string): string {
  try {
    return atob(sealed);
  } catch {
    return '';
  }
}
