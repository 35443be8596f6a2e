/** Explains why an answer was cut off. */
import type { ConversationMessage } from '../../../client/index.ts';
import { formatFutureTime } from '../../ui/format.ts';

type MaxTokensLimiter = NonNullable<ConversationMessage['lowered_by']>;

const OWNER_POSSESSIVES: Record<MaxTokensLimiter['by'], string> = {
  account: 'your',
  token: 'your token’s',
  group: 'your group’s',
  deployment: 'this deployment’s',
  run: 'this run’s',
};
const LIMIT_DESCRIPTIONS: Record<string, string> = {
  usd_per_hour: 'hourly limit',
  usd_per_day: 'daily limit',
  usd_per_week: 'weekly limit',
  usd_per_month: 'monthly limit',
  usd_total: 'total limit',
  max_usd: 'own limit',
  output_tokens_per_minute: 'limit of tokens per minute',
};

/** @returns the note below an answer that reached its max_tokens: who set them, and the remedy */
export function describeMaxTokensCutOff(lowered: MaxTokensLimiter | undefined, isOfAgent: boolean): string {
  if (lowered) {
    const { by, limit, resets_at } = lowered;
    const free = resets_at === null ? '' : ` It resets ${formatFutureTime(resets_at)}.`;
    return `Cut off by the budget: ${OWNER_POSSESSIVES[by]} ${LIMIT_DESCRIPTIONS[limit] ?? limit} allows no more.${free}`;
  }
  return isOfAgent
    ? 'Cut off at the agent’s maximum output tokens. Raise them in the agent, or ask the agent to continue.'
    : 'Cut off at your maximum output. Raise it in Options, or ask Claude to continue.';
}
