import { toUsd } from '../../claude/pricing/cost.ts';
import type { InsufficientLimit } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';

/**
 * @returns the limit in USD that rejected the last request of an account, also if part of it is left; undefined if that request
 *   was admitted, or was rejected for another reason
 */
export function findInsufficientLimit({ refusals, ledger }: AccountState): InsufficientLimit | undefined {
  const last = refusals.lastRejection;
  if (last?.refusal.kind !== 'refused' || last.refusal.reason !== 'spend') return undefined;
  const { by, limit, needed } = last.refusal;
  if (by !== 'account' && by !== 'token') return undefined;
  if (ledger.readLastAdmissionTime() >= last.at) return undefined;
  const id = by === 'token' ? (last.token ?? null) : null;
  return { by, id, limit, model: last.model, needed_usd: toUsd(needed) };
}
