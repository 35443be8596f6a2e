import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { AdmissionDecision, AdmissionRequest } from '#edge/money/contracts/admission.ts';
import type { Settlement, SettlementResult } from '#edge/money/contracts/settlement.ts';

/** A worst case of easy numbers: an input that costs as given, and output at 10 nanodollars. */
export function worstCaseWith(more: Partial<MaximumCost> = {}): MaximumCost {
  return {
    inputTokens: 100,
    inputCost: 1_000,
    outputTokens: 1_000,
    outputPrice: 10,
    leastOutput: 1,
    bounded: true,
    countable: false,
    isPriced: true,
    models: [['claude-opus-5-5']],
    ...more,
  };
}

export const NOON = Date.parse('2026-11-20T12:00:00Z');

/** Asks an account. */
export async function admitAt(
  stub: { admitJson(request: string): Promise<string> },
  request: AdmissionRequest,
): Promise<AdmissionDecision> {
  return JSON.parse(await stub.admitJson(JSON.stringify(request))) as AdmissionDecision;
}

/** Settles with an account. */
export async function settleAt(
  stub: { settleJson(settlement: string): Promise<string> },
  settlement: Settlement,
): Promise<SettlementResult> {
  return JSON.parse(await stub.settleJson(JSON.stringify(settlement))) as SettlementResult;
}

/** Settles inside of an account's object, in one step. */
export function settleInside(account: Pick<Account, 'settleJson'>, settlement: Settlement): SettlementResult {
  return JSON.parse(account.settleJson(JSON.stringify(settlement))) as SettlementResult;
}

/** Asks an account inside of its object, in one step, where no pool pays. */
export function admitInside(account: Pick<Account, 'admitJson'>, request: AdmissionRequest): AdmissionDecision {
  const decided = account.admitJson(JSON.stringify(request));
  if (typeof decided !== 'string') throw new Error('A pool must be asked.');
  return JSON.parse(decided) as AdmissionDecision;
}
