import { type JoinedMessages, SentHistory } from '../../claude/request/sent-history.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import { findLastAnswerAndAfter, type MessageText } from './storage/history-cache.ts';
import { readJoinedTexts } from './storage/joined-texts.ts';
import { removeThinking } from './storage/message-text.ts';
import type { Transcript } from './storage/transcript.ts';

/** The stored messages that are sent, from one on, as one query has read them. */
export interface StoredMessagesToSend {
  /** The number of the first message. */
  from: number;
  messages: readonly (MessageText & { turn: number })[];
  /** Whether there are more, which would be too large to be sent. */
  isTooLong: boolean;
  /** The last answer and what follows it; undefined where that may begin before these messages. */
  tail: readonly MessageText[] | undefined;
}

/**
 * Reads the messages that are sent.
 *
 * @param from the number of the first message
 * @param limit about how many characters they may have; the rest is not read
 * @param to the number of the last message; default: all
 */
export function readHistory(transcript: Transcript, from: number, limit: number, to?: number): StoredMessagesToSend {
  const messages: (MessageText & { turn: number })[] = [];
  let length = 0;
  for (const { role, text, turn } of transcript.messages.readMessageTexts({ from, to, sent: true })) {
    length += text.length;
    if (length > limit) return { from, messages, isTooLong: true, tail: undefined };
    messages.push({ role, text, turn });
  }
  const tail = findLastAnswerAndAfter(messages);
  return { from, messages, isTooLong: false, tail: tail.length < messages.length || from <= 1 ? tail : undefined };
}

/**
 * @param unbound the turns whose thinking is left out
 * @param begins the messages that are sent before it
 * @returns a history in the form in which it is sent
 */
export function createSentHistory(
  { messages }: StoredMessagesToSend,
  unbound: ReadonlySet<number>,
  begins: readonly string[] = [],
): SentHistory {
  const texts = messages.map(({ text, turn }) => (unbound.has(turn) ? removeThinking(text) : text));
  return SentHistory.EMPTY.appendMessages(begins.length > 0 ? [...begins, ...texts] : texts);
}

/** A history of more messages is long. For a shorter one, an object that wakes has to prepare fewer queries by `readHistory`. */
const LONG_HISTORY_MESSAGES = 256;

/** @returns whether a history is to be read by `readLongHistory`, which costs less for many messages, and reads long ones in steps */
export function isLongHistory(transcript: Transcript, from: number): boolean {
  return (transcript.storedProfile?.nextMessage ?? 0) - from > LONG_HISTORY_MESSAGES || transcript.isLarge;
}

/**
 * Reads a long history in the form in which it is sent, in steps.
 *
 * @param range the first message and the last one (default: all), and the messages that are sent before them
 * @param limit the most bytes that it may have
 * @param unbound the turns whose thinking is left out
 * @returns undefined if it has more
 */
export function* readLongHistory(
  transcript: Transcript,
  { from, to, begins: leadingTexts }: { from: number; to: number | undefined; begins: readonly string[] },
  limit: number,
  unbound: ReadonlySet<number>,
): SteppedWork<SentHistory | undefined> {
  function* readPieces(): Generator<JoinedMessages> {
    for (const text of leadingTexts) yield { joined: [text], messages: 1 };
    yield* readJoinedTexts(transcript, from, unbound, to);
  }
  return yield* SentHistory.createFromMessages(readPieces(), limit);
}
