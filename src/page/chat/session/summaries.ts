import type { Conversation, ConversationSummary } from '../../../client/index.ts';

/** A summary of the messages above it. */
export interface HistorySummary extends ConversationSummary {
  /** Whether a newer one is sent in its place. */
  isReplaced: boolean;
}

/**
 * @returns the summaries of a conversation, each by the id of the displayed message after which it is shown. If several follow
 *   one message, the newest has the cost of all
 */
export function mapSummariesByMessage({ summaries = [] }: Partial<Conversation> = {}): Map<string, HistorySummary> {
  const placed = new Map<string, HistorySummary>();
  const newest = summaries.at(-1)?.until_shown;
  for (const summary of summaries) {
    const { until_shown: id } = summary;
    if (id === null) continue;
    const cost_usd = summary.cost_usd + (placed.get(id)?.cost_usd ?? 0);
    placed.set(id, { ...summary, cost_usd, isReplaced: id !== newest });
  }
  return placed;
}
