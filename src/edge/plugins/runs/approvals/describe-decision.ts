import { toIsoTimeOrNull } from '../../../kit/http/times.ts';
import { parseWithText } from '../../../kit/json/remembered-text.ts';
import type { ApprovalRow } from './approval-rows.ts';

/** Describes what was decided about a call. All members are null while nobody has decided. */
export function describeDecision({ decision, reason, input, decidedAt }: ApprovalRow) {
  const changed_input: unknown = input === null ? null : parseWithText(input);
  return { decision, reason, changed_input, decided_at: toIsoTimeOrNull(decidedAt) };
}
