/** Caches in memory what the next turn needs of a history, so that it need not be read and parsed again. */

import { LruCache } from '../../cache/lru.ts';
import type { SentHistory } from '../../upstream/request/sent-history.ts';
import type { TurnRow } from './rows.ts';

export interface CachedTurn {
  role: string;
  /** The message as JSON. */
  text: string;
}

export interface CachedHistory {
  /** The number of the first message in `history`. */
  from: number;
  history: SentHistory;
  /** The last answer and what came after it, oldest first. */
  tail: readonly CachedTurn[];
  /** The last turn that is sent. */
  last: TurnRow | undefined;
  frozen: { system: string | undefined; tools: string | undefined };
  /** The messages of the running turn; part of the history once it is committed. */
  fresh?: { turn: number; messages: readonly CachedTurn[] };
}

/** For all conversations of the isolate, which has 128 MB. A character counts as two bytes. */
const MOST_CACHED_BYTES = 24_000_000;
/** A larger history is not cached, because it would replace too many others. */
const LONGEST = 4_000_000;

/** The histories that this isolate remembers, each by an object that stands for its conversation. */
export const historyCache = new LruCache<object, CachedHistory>({
  most: MOST_CACHED_BYTES,
  largest: LONGEST,
  sizeOf: cachedSizeOf,
});

function cachedSizeOf({ history, tail, frozen, fresh }: CachedHistory): number {
  const texts = [...tail, ...(fresh?.messages ?? [])].map(({ text }) => text);
  const characters = [...texts, frozen.system ?? '', frozen.tools ?? ''].reduce((sum, text) => sum + text.length, 0);
  return history.size + 2 * characters;
}

/**
 * @param messages oldest first
 * @returns the last answer, of one or more messages, and what came after it
 */
export function tailOf(messages: readonly CachedTurn[]): readonly CachedTurn[] {
  let start = messages.length;
  while (start > 0 && !(messages[start]?.role === 'assistant' && messages[start - 1]?.role !== 'assistant')) start -= 1;
  return start === 0 ? messages : messages.slice(start);
}

/** @returns the cached history with the running turn added, and its answer's text if there is one. */
export function grown(known: CachedHistory, last: TurnRow, answer: string | undefined): CachedHistory {
  const { fresh, ...rest } = known;
  const added = [...(fresh?.messages ?? [])];
  if (answer !== undefined) added.push({ role: 'assistant', text: answer });
  const history = known.history.plus(added.map(({ text }) => text));
  return { ...rest, history, tail: tailOf([...known.tail, ...added]), last };
}
