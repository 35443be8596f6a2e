import type { CopiedRows } from '../../talk/storage/copied-rows.ts';

/** How models were chosen, as a rewind leaves it, and a copy has it. */
export const KEPT_CHOICES: CopiedRows = {
  members: ['choices', 'asksAgain'],
  keep({ choices, asksAgain }, { last, isCut, shift }) {
    if (!choices) return {};
    const [first] = choices;
    const again = isCut ? first && { arm: first.by.arm } : asksAgain;
    const kept = choices.filter(({ turn }) => turn <= last).map((one) => ({ ...one, turn: one.turn + shift }));
    return { choices: kept, ...(again && { asksAgain: again }) };
  },
};
