/** The outcome of a question: an answer, or a failure. */
import { type ConversationMessage, type MessageStream, SluiceError } from '../../../client/index.ts';
import type { MessageContent } from './content.ts';

/** An answer that is coming, and its question; after a reload the history has the question already. */
export interface StreamingAnswer {
  question: MessageContent | undefined;
  stream: MessageStream;
  /** Whether its beginning was seen elsewhere, or before a reload. */
  isResumed: boolean;
}

/** A question that got no answer. */
export interface QuestionFailure {
  question: MessageContent | undefined;
  error: SluiceError;
  /** When it failed, in milliseconds since 1970. */
  failedAt: number;
  /** Whether the edge had the question, as far as one knows here. */
  hasArrived: boolean;
  /** Whether words that were seen are in no history. */
  isCut: boolean;
}

/** A member of a family may have been deleted by itself. */
export function ignoreNotFoundError(thrown: unknown): undefined {
  if (thrown instanceof SluiceError && thrown.status === 404) return undefined;
  throw thrown;
}

/** @returns whether this is the last message of a turn that was answered without a text */
export function isTurnWithoutText(rows: readonly ConversationMessage[], index: number): boolean {
  const [row, next] = [rows[index], rows[index + 1]];
  return row?.role === 'user' && row.status === 'complete' && next?.role !== 'assistant' && next?.turn !== row.turn;
}

/** @returns whether this is the last message of a turn that Claude declined to answer before any text */
export function isRefusedWithoutText(rows: readonly ConversationMessage[], index: number): boolean {
  const [row, next] = [rows[index], rows[index + 1]];
  return row?.role === 'user' && row.status === 'refused' && next?.turn !== row.turn;
}
