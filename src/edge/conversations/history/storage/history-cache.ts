/** Caches the part of a history that the next turn needs, so that it is not read and parsed again. */

import { LRUCache } from 'lru-cache';
import type { SentHistory } from '../../../claude/request/sent-history.ts';
import type { LruCache } from '../../../kit/cache/lru.ts';
import type { TurnRow } from './rows.ts';

/** A message of a history: its role, and the whole message as JSON text. */
export interface MessageText {
  role: string;
  text: string;
}

/** The end of a history. */
export interface HistoryEnd {
  /** The last turn whose answer is in the history, or whose question has no answer; undefined without one. */
  lastTurn: TurnRow | undefined;
  /** The last answer and what came after it, oldest first. */
  tail: readonly MessageText[];
}

export interface CachedHistory extends HistoryEnd {
  /** The number of the first message in `history`. */
  from: number;
  history: SentHistory;
  /** The model for which the thinking in `history` was chosen. */
  model: string;
  /** Whether `history` has thinking that is sent only while the last turn is continued. */
  isForLoop: boolean;
  frozen: { system: string | undefined; tools: string | undefined; runs: string | undefined };
  /**
   * The messages of the running turn. They become part of the history when the turn is committed. `running.history` already
   * contains them.
   */
  running?: { turn: number; messages: readonly MessageText[]; history?: SentHistory | undefined };
}

/** The histories that this isolate caches, each by an object that represents its conversation. Sizes are bytes. */
export const historyCache: LruCache<object, CachedHistory> = new LRUCache<object, CachedHistory>({
  // All conversations of the isolate share this cache, so it may use only a part of the isolate's 128 MB:
  // https://developers.cloudflare.com/workers/platform/limits/
  maxSize: 24_000_000,
  // Do not cache a larger history: it would evict too many others. The longest context of a model takes about half of this.
  maxEntrySize: 8_000_000,
  sizeCalculation({ history, tail, frozen, running }) {
    const messages = [...tail, ...(running?.messages ?? [])];
    const texts = [...messages.map(({ text }) => text), frozen.system ?? '', frozen.tools ?? '', frozen.runs ?? ''];
    // Count two bytes a character: a JavaScript string needs at most that. (The library rejects a size of 0.)
    return (
      1 +
      Math.max(history.bufferSizeBytes, running?.history?.bufferSizeBytes ?? 0) +
      texts.reduce((sum, text) => sum + 2 * text.length, 0)
    );
  },
});

const evictedOwners = new FinalizationRegistry<object>((key) => historyCache.delete(key));

/**
 * Deletes a cached history once its owner is garbage. The platform evicts an idle object without a call, and the next object of
 * the same conversation has another key, so nothing would read this history again.
 *
 * @param key the owner's key, which must not refer to the owner
 */
export function deleteHistoryAfterOwner(owner: object, key: object): void {
  evictedOwners.register(owner, key);
}

/**
 * @param messages oldest first
 * @returns the last answer, of one or more messages, and what came after it
 */
export function findLastAnswerAndAfter(messages: readonly MessageText[]): readonly MessageText[] {
  let start = messages.length;
  while (start > 0 && !(messages[start]?.role === 'assistant' && messages[start - 1]?.role !== 'assistant')) start -= 1;
  return start === 0 ? messages : messages.slice(start);
}

const getMessageText = ({ text }: MessageText) => text;

/** @returns the cached history with the running turn added, and with its answer if there is one. */
export function addTurnToCachedHistory(
  cached: CachedHistory,
  lastTurn: TurnRow,
  answer: string | undefined,
): CachedHistory {
  const { running, ...rest } = cached;
  const { messages = [], history: before } = running ?? {};
  const answers = answer === undefined ? [] : [{ role: 'assistant', text: answer }];
  const added = [...messages, ...answers];
  const history =
    before?.appendMessages(answers.map(getMessageText)) ?? cached.history.appendMessages(added.map(getMessageText));
  return { ...rest, history, tail: findLastAnswerAndAfter([...cached.tail, ...added]), lastTurn };
}
