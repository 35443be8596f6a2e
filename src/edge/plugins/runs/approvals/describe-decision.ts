import { isoTimeOrNull } from '../../../kit/http/times.ts';
import { parseKept } from '../../../kit/json/kept-text.ts';
import type { ApprovalRow } from './approval-rows.ts';

/** Describes what was decided about a call. All members are null while nobody has decided. */
export function describeDecision({ decision, reason, input, decidedAt }: ApprovalRow) {
  const changed_input: unknown = input === null ? null : parseKept(input);
  return { decision, reason, changed_input, decided_at: isoTimeOrNull(decidedAt) };
}
