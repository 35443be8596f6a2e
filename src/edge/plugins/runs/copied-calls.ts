/** What copies and rewinds of a conversation know of the calls of its runs. */

import { nonEmpty, position } from '../../conversations/history/storage/copied-lines.schema.ts';
import type { CopyableRows } from '../../conversations/history/storage/copyable-rows.ts';
import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import type { ToolCallRow } from './call-rows.ts';
import { getApprovalRows, getCallRows } from './run-rows.ts';

const callLine = z.object({
  turn: position,
  n: count,
  id: nonEmpty,
  name: nonEmpty,
  beganAt: z.nullable(instant),
  endedAt: z.nullable(instant),
  isError: z.boolean(),
  bytes: count,
  event: z.literal(null),
  tries: count,
});
const resultLine = z.looseObject({ type: z.literal('tool_result'), tool_use_id: z.string() });

/** Approvals wait for the original alone. */
export const COPIED_CALLS: CopyableRows = {
  lines: { call: { parts: [callLine, resultLine], numberedBy: 'n' } },
  *linesOf(transcript, { seq, run }) {
    const calls = run === null ? [] : getCallRows(transcript).listCallsOfStep(seq);
    if (calls.length === 0) return;
    const results = getCallRows(transcript).readResultsByCallId(seq);
    const waiting = new Set(
      getApprovalRows(transcript)
        .listApprovalsOfStep(seq)
        .map(({ toolUseId }) => toolUseId),
    );
    for (const call of calls) {
      const copied = { ...call, event: null, isError: call.isError || call.endedAt === null };
      yield [
        'call',
        JSON.stringify(copied),
        results.get(call.id) ?? createInterruptedCallResult(call, waiting.has(call.id)),
      ];
    }
  },
  storeLine(transcript, shift, _, row = '', result = '') {
    const call = JSON.parse(row) as ToolCallRow;
    // A call that was running when it was copied has no end, and a call that waited for approval has no times at all. Fill in
    // the missing times.
    const beganAt = call.beganAt ?? call.endedAt ?? 0;
    const endedAt = call.endedAt ?? beganAt;
    getCallRows(transcript).storeEndedCall({ ...call, turn: shift + call.turn, beganAt, endedAt, result });
  },
  rewind: (transcript, _, turn) => getApprovalRows(transcript).deleteApprovalsFromTurn(turn),
};

/** @returns the copied result of a call that is still running or waits for approval. Only the original gets the real one. */
function createInterruptedCallResult({ id }: ToolCallRow, isWaiting: boolean): string {
  const why = isWaiting ? 'while the call waited for approval. It was not made here.' : 'while the call was made.';
  const content = `This conversation was copied ${why}`;
  return JSON.stringify({ type: 'tool_result', tool_use_id: id, content, is_error: true });
}
