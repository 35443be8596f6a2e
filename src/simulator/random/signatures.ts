import { computeDigest, type Digest, digestToHex } from './digest.ts';

/** The context to which thinking is bound. It can be read again only there. */
export interface ThinkingBinding {
  /** The digest of the conversation before it. */
  prefix: string;
  model: string;
  /** The end user's name; empty if the request names none. */
  user: string;
  /** The account that alone can send it back; empty for any. */
  account: string;
  /** The mark of the thinking before it; empty without any. */
  previous: string;
  /** How many blocks of thinking its turn has before it. */
  place: number;
}

/** Stands for a token that was thought. */
const THINKING_TOKEN = '.';

/**
 * Makes the signature of a thinking block, or the data of a redacted one. As at the API all that was thought is in it, so it is
 * longer than its tokens are many.
 *
 * @param tokens those that were thought
 */
export function signThinking(
  kind: 'thinking' | 'redacted',
  subject: string,
  { prefix, model, user, account, previous, place }: ThinkingBinding,
  seed: Digest,
  tokens: number,
): string {
  const texts = [subject, model, user].map((text) => digestToHex(computeDigest(text)));
  const claims = [kind, ...texts, prefix, account, previous, place, THINKING_TOKEN.repeat(tokens)].join(':');
  return btoa(`sluice-simulator:${claims}:${digestToHex(computeDigest(claims, seed))}`);
}

/** The claims in a thinking block's signature. */
export interface ParsedThinkingSignature {
  model: string;
  user: string;
  prefix: string;
  account: string;
  /** undefined: an earlier version made it. */
  previous: string | undefined;
  place: number | undefined;
  mark: string;
}

function splitThinkingSignature({ type, signature, data }: Readonly<Record<string, unknown>>): string[] {
  return decodeSignature(String(type === 'redacted_thinking' ? data : signature)).split(':');
}

/** @returns the mark that thinking behind a sealed block names */
export function getSignatureMark(sealed: string): string {
  return decodeSignature(sealed).split(':').at(-1) ?? '';
}

/** @returns the tokens that were thought for a block; undefined where it does not say */
export function countThinkingTokens(block: Readonly<Record<string, unknown>>): number | undefined {
  const [, , , , , , , , , thought] = splitThinkingSignature(block);
  return thought?.length;
}

/** Reads the signature of a thinking block. @returns undefined if the simulator has not created it */
export function verifyThinkingSignature(
  block: Readonly<Record<string, unknown>>,
  seed: Digest,
): ParsedThinkingSignature | undefined {
  const [, ...parts] = splitThinkingSignature(block);
  const mark = parts.pop() ?? '';
  const [kind, , model = '', user = '', prefix = '', account = '', previous, place] = parts;
  // Compare only what the signature contains. The summary of the thinking, which is displayed, may have been changed.
  const isWhole = kind === (block.type === 'redacted_thinking' ? 'redacted' : 'thinking');
  if (!isWhole || mark !== digestToHex(computeDigest(parts.join(':'), seed))) return undefined;
  return { model, user, prefix, account, previous, place: place === undefined ? undefined : Number(place), mark };
}

/**
 * Finds what a thinking block is bound to otherwise than it should be. Account, user and model are compared before the
 * conversation, as the API does.
 *
 * @param here who sends it back, and to whom: a model reads its own thinking, and that of some others
 * @param prefixes the digests of the conversation before it: one, or several where a summary stands for its beginning
 * @param previous the mark of the thinking before it; undefined without any
 */
export function findThinkingBindingMismatch(
  seal: ParsedThinkingSignature,
  here: Pick<ThinkingBinding, 'user' | 'account'> & { readable: ReadonlySet<string> },
  prefixes: readonly string[],
  previous: string | undefined,
): 'organization' | 'end_user' | 'model' | 'prefix' | undefined {
  if (seal.account !== '' && seal.account !== here.account) return 'organization';
  if (seal.user !== digestToHex(computeDigest(here.user))) return 'end_user';
  if (!here.readable.has(seal.model)) return 'model';
  const isGap = previous !== undefined && seal.previous !== undefined && seal.previous !== previous;
  return prefixes.includes(seal.prefix) && !isGap ? undefined : 'prefix';
}

/** @returns the models whose thinking one reads, as seals name them */
export function listReadableModelDigests({
  id,
  reads = [],
}: {
  id: string;
  reads?: readonly string[] | undefined;
}): Set<string> {
  return new Set([id, ...reads].map((one) => digestToHex(computeDigest(one))));
}

function decodeSignature(sealed: string): string {
  try {
    return atob(sealed);
  } catch {
    return '';
  }
}

/** The claims that a summary's signature confirms. */
export interface SignedSummaryClaims {
  content: string;
  /** The JSON of its tool changes. */
  changes: string;
}

/**
 * Makes the signature of a summary.
 *
 * @param prefixes the digests that the summarized conversation ends with: thinking that was made right behind it stays valid
 */
export function signSummary(
  { content, changes }: SignedSummaryClaims,
  prefixes: readonly string[],
  seed: Digest,
): string {
  const claims = [
    'compaction',
    digestToHex(computeDigest(content)),
    digestToHex(computeDigest(changes)),
    prefixes.join(),
  ].join(':');
  return btoa(`sluice-simulator:${claims}:${digestToHex(computeDigest(claims, seed))}`);
}

/**
 * Reads the digests of a summary's signature.
 *
 * @returns `signature`, `content` or `changes`: the first of these that is not as the simulator made it
 */
export function verifySummarySignature(
  signature: string,
  claimed: SignedSummaryClaims,
  seed: Digest,
): readonly string[] | 'signature' | 'content' | 'changes' {
  const [, kind, content, changes, after = '', mark] = decodeSignature(signature).split(':');
  const claims = [kind, content, changes, after].join(':');
  const own = digestToHex(computeDigest(claims, seed));
  // The API requires the signature unchanged. Compare it as a text, because different base64 texts can decode to the same
  // bytes.
  const isOwn = kind === 'compaction' && mark === own && signature === btoa(`sluice-simulator:${claims}:${own}`);
  if (!isOwn) return 'signature';
  if (content !== digestToHex(computeDigest(claimed.content))) return 'content';
  if (changes !== digestToHex(computeDigest(claimed.changes))) return 'changes';
  return after === '' ? [] : after.split(',');
}
