/** A message as JSON for the caller. Stored JSON is inserted unchanged, without parsing it. */

import type { RequestOutcome } from '../../claude/outcome.ts';
import { toUsd, type Usage } from '../../claude/pricing/cost.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { parseMemberTexts } from '../../kit/json/edit.ts';
import type { MessageRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { selectVisibleNotes } from '../history/storage/turn-notes.ts';

/** The members of a shown message except its content. */
export type MessageFieldsWithoutContent = Omit<MessageRow, 'seq' | 'turn' | 'text' | 'shown' | 'run' | 'origin'> &
  Partial<Pick<MessageRow, 'origin'>> & { paused?: string | null };

export const ROWS_PER_READ = 50;

/**
 * Reads rows some at a time, as the caller takes them. So a page need not fit into memory, and no query stays open while the
 * object does other work.
 */
export function* readMessageRows(
  transcript: Transcript,
  from: number,
  to: number,
  pending = false,
): Generator<MessageRow> {
  for (let next = from; next <= to; ) {
    let last: number | undefined;
    for (const row of transcript.messages.readPage({ from: next, to, pending, limit: ROWS_PER_READ })) {
      last = row.seq;
      yield row;
    }
    if (last === undefined) return;
    next = last + 1;
  }
}

export function formatMessageJson(row: MessageRow, content = getShownContent(row)): string {
  const { before, after } = splitAroundContent(row);
  return before + content + after;
}

/** @returns the JSON text of a row's content, as it is shown */
export function getShownContent({
  text,
  shown,
}: Pick<MessageRow, 'text'> & Partial<Pick<MessageRow, 'shown'>>): string {
  return parseMemberTexts(shown ?? text).get('content') ?? '[]';
}

/** @returns the JSON text of a message before its content and after it */
export function splitAroundContent(head: MessageFieldsWithoutContent): { before: string; after: string } {
  const { id, role, createdAt, status, cost, outcome, model, turnId, origin = null, paused = null } = head;
  const isAnswer = role === 'assistant' && outcome !== null;
  // A stopped response has no reason, as in its stream. A run may have been stopped after a complete step.
  const reason = status === 'stopped' ? null : (outcome?.stop_reason ?? null);
  const stopReason = isAnswer ? (paused === null ? reason : 'pause_turn') : null;
  const loweredBy = stopReason === 'max_tokens' ? outcome?.lowered_by : undefined;
  const notes = isAnswer ? Object.entries(selectVisibleNotes(head) ?? {}) : [];
  const before = formatObjectFromTexts({ type: '"message"', id: JSON.stringify(id), role: JSON.stringify(role) });
  const after = formatObjectFromTexts({
    model: isAnswer ? JSON.stringify(model) : 'null',
    stop_reason: JSON.stringify(stopReason),
    ...(loweredBy && { lowered_by: JSON.stringify(loweredBy) }),
    paused: JSON.stringify(paused),
    usage: isAnswer ? JSON.stringify(toShownUsage(outcome)) : 'null',
    cost_usd: isAnswer ? String(toUsd(cost)) : 'null',
    created_at: JSON.stringify(toIsoTime(createdAt)),
    status: JSON.stringify(status === 'empty' ? 'complete' : status),
    turn: JSON.stringify(turnId),
    ...(origin === null ? {} : { origin: JSON.stringify(origin) }),
    ...Object.fromEntries(notes.map(([name, value]) => [name, JSON.stringify(value)])),
  });
  return { before: `${before.slice(0, -1)},"content":`, after: `,${after.slice(1)}` };
}

/** @returns the usage as the upstream reported it. An interrupted answer has the output tokens that it was settled at. */
function toShownUsage({ usage, estimated_output }: RequestOutcome): Usage | null {
  if (usage === undefined) return null;
  return estimated_output === undefined ? usage : { ...usage, output_tokens: estimated_output };
}

/** @returns the JSON text of an object whose members are given as JSON texts */
export function formatObjectFromTexts(fields: Record<string, string>): string {
  const members = Object.entries(fields).map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  return `{${members.join(',')}}`;
}
