/** The end of a turn: its status, its last events, and the conversation's profile afterwards. */

import { formatUsd } from '../../accounts/admission/limit-headers.ts';
import type { TurnSummary } from '../../durable/contracts/conversation.ts';
import type { ConversationReport } from '../../durable/contracts/settlement.ts';
import { type ApiError, errorBody } from '../../http/errors.ts';
import { isObject, type Json } from '../../json/object.ts';
import { parseOrUndefined } from '../../json/parse.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { Frame } from '../../sse/frames.ts';
import { withoutPending } from '../history/replayable-blocks.ts';
import type { MessageRow, Profile, TurnStatus } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import type { EventLog } from './event-log.ts';

const STOPPED_REMARK = ': sluice-stopped\n\n';

/** How a turn ends: completed by the API, stopped by a client, by an `error` event of the API, or interrupted. */
export type TurnEnd =
  | { kind: 'complete' }
  | { kind: 'stopped' }
  | { kind: 'error'; frame: Frame }
  | { kind: 'cut'; error: Pick<ApiError, 'type' | 'message' | 'logged'>; end: 'cut' | 'silent' | 'error' };

/** The result of a turn. */
export interface Ended {
  status: TurnStatus;
  trailer: TurnSummary;
  /** The message for a caller who does not stream; undefined where there is none. */
  message: Json | undefined;
  /** The error for such a caller. */
  error: { type: string; message: string } | undefined;
}

/** @returns the status of a turn that has ended; `kept` is the number of its replayable blocks. */
export function turnStatusOf(
  how: TurnEnd,
  { kept, stopReason, maxTokens }: { kept: number; stopReason: string | null; maxTokens: number },
): TurnStatus {
  if (how.kind !== 'complete') {
    if (kept === 0) return 'failed';
    return how.kind === 'stopped' ? 'stopped' : 'interrupted';
  }
  if (stopReason === 'refusal') return 'refused';
  if (kept > 0) return 'complete';
  // No answer was asked for: the request only warmed the prompt cache.
  return maxTokens === 0 ? 'failed' : 'empty';
}

/**
 * Adds the last events of a turn to its log.
 *
 * @param open the indices of blocks that have not ended
 * @returns the error in them, if there is one
 */
export function addEnd(
  log: EventLog,
  how: TurnEnd,
  open: Iterable<number>,
  { status, output, cost, requestId }: { status: TurnStatus; output: number; cost: Nanodollars; requestId: string },
): Ended['error'] {
  const price = `: sluice-cost-usd=${formatUsd(cost)}\n\n`;
  if (how.kind === 'complete') {
    log.write('message_stop', '{"type":"message_stop"}', price);
    return undefined;
  }
  if (how.kind === 'error') {
    const error = errorIn(how.frame.data);
    log.write('error', eventData(how.frame.data) ? how.frame.data : JSON.stringify(errorBody(error, requestId)));
    return error;
  }
  if (how.kind === 'stopped' && status === 'stopped') {
    for (const index of open) {
      log.write('content_block_stop', JSON.stringify({ type: 'content_block_stop', index }));
    }
    const delta = { stop_reason: 'end_turn', stop_sequence: null };
    const usage = { output_tokens: output };
    log.write('message_delta', JSON.stringify({ type: 'message_delta', delta, usage }));
    log.write('message_stop', '{"type":"message_stop"}', STOPPED_REMARK + price);
    return undefined;
  }
  const error =
    how.kind === 'cut'
      ? { type: how.error.type, message: how.error.message }
      : {
          type: 'api_error',
          message: 'This turn was stopped before anything was said: it has not become part of the conversation.',
        };
  log.write('error', JSON.stringify(errorBody(error, requestId)));
  return error;
}

/**
 * Removes the server tool calls without results from a paused answer, after its continuation has ended without them: the
 * API accepts no further question otherwise.
 *
 * @returns the messages that change, with their new content; empty for one that must be deleted
 */
export function mend(
  transcript: Transcript,
  kept: readonly Json[],
): (Omit<MessageRow, 'text'> & { content: Json[] })[] {
  const earlier: (MessageRow & { content: Json[] })[] = [];
  for (const row of transcript.history({ sent: true, backwards: true })) {
    if (row.role !== 'assistant') break;
    const { content } = eventData(row.text) ?? {};
    if (Array.isArray(content)) earlier.push({ ...row, content: content.filter(isObject) });
  }
  const said = [...earlier.flatMap(({ content }) => content), ...kept];
  const results = new Set(said.map(({ tool_use_id }) => String(tool_use_id)));
  return earlier.flatMap(({ text: _, ...row }) => {
    const content = withoutPending(row.content, results);
    return content.length === row.content.length ? [] : [{ ...row, content }];
  });
}

/** @returns the report of a conversation for its account. */
export function conversationReportOf(profile: Profile): ConversationReport {
  const { id, version, createdAt, updatedAt, title, turns, messages, bytes, exists, deleted } = profile;
  return { id, version, createdAt, updatedAt, title, turns, messages, bytes, gone: deleted || !exists };
}

/** @returns a conversation's profile after a turn. */
export function nextProfile(
  profile: Profile,
  committed: boolean,
  answers: number,
  asked: number,
  now: number,
): Profile {
  const version = Math.max(profile.version + 1, now);
  if (!committed) return { ...profile, version };
  return {
    ...profile,
    exists: true,
    updatedAt: now,
    version,
    turns: profile.turns + 1,
    messages: profile.messages + asked + answers,
    nextMessage: profile.nextMessage + asked + answers,
  };
}

/** @returns the error in the data of an `error` event. */
export function errorIn(data: string): { type: string; message: string } {
  const error = eventData(data)?.error;
  const { type, message } = isObject(error) ? error : {};
  return {
    type: typeof type === 'string' ? type : 'api_error',
    message: typeof message === 'string' ? message : 'The upstream ended its answer with an error.',
  };
}

/** @returns the data of an event as an object; undefined where it is not one. */
export function eventData(data: string): Json | undefined {
  const value = parseOrUndefined(data);
  return isObject(value) ? value : undefined;
}
