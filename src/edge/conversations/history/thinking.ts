/**
 * Decides which thinking is sent again. The API binds it to the conversation before it, to its model and to its end user, and
 * refuses a request with thinking that comes back elsewhere.
 */

import type { ModelTable } from '../../claude/models/models.ts';
import { hasThinking } from './storage/message-text.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** The route of turns that were made elsewhere, perhaps for another account. */
export const IMPORT_ROUTE = 'import';

/** The history to which the thinking of the next answer will be bound. */
interface NextPromptBinding {
  /** The first message of the prompt: its number, or a summary's id below zero. */
  from: number;
  model: string;
  /** Whether it continues the last turn, whose thinking must then be there. */
  follows: boolean;
}

/** The turns whose thinking is not sent. */
export interface TurnsWithoutThinking {
  turns: ReadonlySet<number>;
  /** Whether there are more after the turns that the prompt continues: thinking is sent only while these are continued. */
  isForLoop: boolean;
}

export const NO_UNBOUND_TURNS: TurnsWithoutThinking = { turns: new Set(), isForLoop: false };

/** Finds the turns whose thinking is bound to another conversation, model or end user than the next prompt's. */
export function findTurnsWithoutThinking(
  transcript: Transcript,
  { from, model, follows }: NextPromptBinding,
  models: ModelTable,
): TurnsWithoutThinking {
  if (!transcript.storedProfile) return NO_UNBOUND_TURNS;
  const { thinkingFrom = 0 } = transcript.storedProfile;
  const others = transcript.readAllRows<{ seq: number; model: string; route: string; sent_from: number }>(
    'select seq, model, route, sent_from from turns where model != ? or sent_from != ? or route = ? or seq < ?',
    model,
    from,
    IMPORT_ROUTE,
    thinkingFrom,
  );
  const isRejected = ({ seq }: { seq: number }) => seq < thinkingFrom;
  const unbound = others.filter(
    (turn) =>
      turn.sent_from !== from ||
      turn.route === IMPORT_ROUTE ||
      isRejected(turn) ||
      !models.canBeSameModel(turn.model, model),
  );
  const begin = follows && unbound.length > 0 ? findToolLoopStart(transcript) : Number.POSITIVE_INFINITY;
  const turns = new Set(unbound.flatMap((turn) => (turn.seq < begin || isRejected(turn) ? [turn.seq] : [])));
  return { turns, isForLoop: turns.size < unbound.length };
}

/**
 * Finds the model of the next step of a tool loop.
 *
 * @param last the turn that is continued
 * @param requestedModel the model that the request names
 * @returns the model of the last step if the loop has thinking, which no other model can read
 */
export function findModelOfToolLoop(
  transcript: Transcript,
  last: TurnRow,
  requestedModel: string,
  models: ModelTable,
): string {
  if (models.canBeSameModel(last.model, requestedModel)) return requestedModel;
  const first = transcript.queryNumber('select min(seq) from messages where turn >= ?', findToolLoopStart(transcript));
  for (const { role, text } of transcript.messages.readMessageTexts({ from: first ?? 0, sent: true })) {
    if (role === 'assistant' && hasThinking(text)) return last.model;
  }
  return requestedModel;
}

/** @returns the number of the turn with which the last tool loop began */
export function findToolLoopStart(transcript: Transcript): number {
  const status = "status in ('complete', 'interrupted', 'stopped', 'empty')";
  return transcript.queryNumber(`select max(seq) from turns where follows = 0 and ${status}`) ?? 0;
}
