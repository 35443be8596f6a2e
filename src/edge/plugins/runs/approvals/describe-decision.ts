import { toIsoTimeOrNull } from '../../../kit/http/times.ts';
import { parseJsonRememberingText } from '../../../kit/json/remembered-text.ts';
import type { ApprovalRow } from './approval-rows.ts';

/** Describes the decision about a call. All members are null until there is one. */
export function toDecisionFields({ decision, reason, input, decidedAt }: ApprovalRow) {
  const changed_input: unknown = input === null ? null : parseJsonRememberingText(input);
  return { decision, reason, changed_input, decided_at: toIsoTimeOrNull(decidedAt) };
}
