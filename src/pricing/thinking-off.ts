import { type Model, undated } from './models.ts';

/** How a request has a model answer without thinking, as far as that is possible. */
export interface ThinkingOff {
  /** What the request says about thinking; undefined if it says nothing. */
  thinking: { type: string } | undefined;
  /** Whether the model may think all the same, and so needs more tokens. */
  thinks: boolean;
}

/** What turns thinking off in models that think unless it is turned off. Other models refuse it, or need nothing. */
const TURNED_OFF_BY: Readonly<Record<string, string>> = {
  'claude-opus-5': 'disabled',
  'claude-sonnet-5-5': 'between_tools',
  'claude-sonnet-5': 'disabled',
  'claude-haiku-5-5': 'disabled',
};
/** Models that think only within a budget that a request gives. */
const ONLY_BY_BUDGET = /^claude-(?:opus|sonnet|haiku)-4-5$/;

/** @returns how a request for this model leaves thinking out. A model that is not in the table may think. */
export function thinkingOff(row: Model | undefined): ThinkingOff {
  const name = undated(row?.id ?? '');
  const type = Object.hasOwn(TURNED_OFF_BY, name) ? TURNED_OFF_BY[name] : undefined;
  return type === undefined
    ? { thinking: undefined, thinks: !ONLY_BY_BUDGET.test(name) }
    : { thinking: { type }, thinks: false };
}
