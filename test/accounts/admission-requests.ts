import type { WorstCase } from '../../src/pricing/hold-terms.ts';

/** A worst case of easy numbers: an input that costs as given, and output at 10 nanodollars. */
export function worstCaseWith(more: Partial<WorstCase> = {}): WorstCase {
  return {
    inputTokens: 100,
    inputCost: 1_000,
    outputTokens: 1_000,
    outputPrice: 10,
    leastOutput: 1,
    bounded: true,
    countable: false,
    known: true,
    models: [['claude-opus-5-5']],
    ...more,
  };
}

export const NOON = Date.parse('2026-11-20T12:00:00Z');
