/** Prints what 500 turns of a conversation cost, by how its history is kept. Nothing is measured, so it takes no time. */

import { ModelTable } from '../../src/edge/claude/pricing/models.ts';
import { BEGINS as BEGUN, FILLED, KEEPS as KEPT } from '../../src/edge/talk/history/shares.ts';
import { costOfHistory, type HistoryStrategy, type LongConversation } from './history-model.ts';
import { align } from './table.ts';

/** A conversation of a support desk, say: short questions, answers of a few paragraphs. Lengths are tokens. */
const CONVERSATION = { turns: 500, question: 200, answer: 600, system: 2_000 };
/** A summary of the default `summary_max_tokens`, and what asks for it. */
const SUMMARY = { summary: 2_000, instruction: 100 };
const MODEL_NAMES = ['claude-sonnet-5-5', 'claude-haiku-4-5'];
const MOST = [8_000, 32_000, 100_000, 200_000];
const BEGINS = [0.5, 0.6, 0.7, 0.8, 0.9, 1];
const KEEPS = [0.25, 0.5, 0.75];

const summarize = (most: number, begins: number, keeps: number): HistoryStrategy => ({
  ...{ kind: 'summarize', most, begins, keeps },
  ...SUMMARY,
});

/** @returns the tables, for people */
export function historyCostTables(): string {
  const table = new ModelTable();
  const parts = MODEL_NAMES.flatMap((name) => {
    const { row: model } = table.price(name);
    const lines = (rows: readonly [string, HistoryStrategy][]) => tableOf({ ...CONVERSATION, model }, rows);
    return [
      `${model.display_name}, ${CONVERSATION.turns} turns`,
      lines([
        ['never', { kind: 'never' }],
        ...MOST.flatMap((most): [string, HistoryStrategy][] => [
          [`${thousands(most)}  truncate`, { kind: 'truncate', most, filled: FILLED }],
          ...BEGINS.map((begins): [string, HistoryStrategy] => [
            `${thousands(most)}  summarize from ${percent(begins)}`,
            summarize(most, begins, KEPT),
          ]),
        ]),
      ]),
      `${model.display_name}, by what is kept, from ${percent(BEGUN)}`,
      lines(
        MOST.flatMap((most) =>
          KEEPS.map((keeps): [string, HistoryStrategy] => [
            `${thousands(most)}  summarize to ${percent(keeps)}`,
            summarize(most, BEGUN, keeps),
          ]),
        ),
      ),
    ];
  });
  return parts.join('\n\n');
}

const HEAD = ['history', 'with the cache', 'without', 'prompts', 'answers', 'shortened', 'ends'];

function tableOf(
  conversation: Omit<LongConversation, 'strategy' | 'isCached'>,
  rows: readonly (readonly [string, HistoryStrategy])[],
): string {
  const cells = rows.map(([name, strategy]) => {
    const cached = costOfHistory({ ...conversation, strategy, isCached: true });
    const { usd } = costOfHistory({ ...conversation, strategy, isCached: false });
    const { promptTokens, outputTokens, shortened, answered } = cached;
    const tokens = [promptTokens, outputTokens].map((count) => `${(count / 1e6).toFixed(2)} M`);
    const end = answered < conversation.turns ? `window full after ${answered} turns` : '';
    return [name, dollars(cached.usd), dollars(usd), ...tokens, `${shortened} ×`, end];
  });
  return align([HEAD, ...cells]);
}

function dollars(usd: number): string {
  return `$${usd.toFixed(2)}`;
}

function thousands(tokens: number): string {
  return `${tokens / 1_000}k`;
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
