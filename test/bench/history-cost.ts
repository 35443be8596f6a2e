/** What 500 turns of a conversation cost at Claude, by how its history is kept. Nothing is measured, so it takes no time. */
import { ModelTable } from '#edge/claude/models/models.ts';
import {
  SUMMARY_KEEP_RATIO,
  SUMMARY_START_RATIO,
  TRUNCATED_FILL_RATIO,
} from '#edge/conversations/history/history-ratios.ts';
import { costOfHistory, type HistoryStrategy } from './history-model.ts';
import { markdown } from './table.ts';

/** A conversation of a support desk, say: short questions, answers of a few paragraphs. Lengths are tokens. */
const CONVERSATION = { turns: 500, question: 200, answer: 600, system: 2_000 };
const MODEL_NAMES = ['claude-sonnet-5-5', 'claude-haiku-4-5'];

const truncate = (most: number): HistoryStrategy => ({ kind: 'truncate', most, filled: TRUNCATED_FILL_RATIO });
/** A summary of the default `summary_max_tokens`, and what asks for it. */
const summarize = (most: number, begins = SUMMARY_START_RATIO, keeps = SUMMARY_KEEP_RATIO): HistoryStrategy => ({
  kind: 'summarize',
  most,
  begins,
  keeps,
  summary: 2_000,
  instruction: 100,
});

const WAYS: Readonly<Record<string, HistoryStrategy>> = {
  never: { kind: 'never' },
  '8k truncate': truncate(8_000),
  '8k summarize from 80 %': summarize(8_000, 0.8),
  '32k truncate': truncate(32_000),
  '32k summarize from 60 %': summarize(32_000, 0.6),
  '32k summarize from 80 %': summarize(32_000, 0.8),
  '32k summarize to 25 %': summarize(32_000, SUMMARY_START_RATIO, 0.25),
  '32k summarize to 75 %': summarize(32_000, SUMMARY_START_RATIO, 0.75),
  '100k truncate': truncate(100_000),
  '100k summarize from 80 %': summarize(100_000, 0.8),
  '200k summarize from 80 %': summarize(200_000, 0.8),
};

/** @returns the table of `docs/cost.md` */
export function historyTable(): string {
  const table = new ModelTable();
  const models = MODEL_NAMES.map((name) => table.findPriceRow(name).row);
  const head = models.flatMap(({ display_name }) => [`${display_name.replace('Claude ', '')}, cache`, 'without']);
  const rows = Object.entries(WAYS).map(([way, strategy]) => [
    way,
    ...models.flatMap((model) =>
      [true, false].map((isCached) => {
        const { usd } = costOfHistory({ ...CONVERSATION, model, strategy, isCached });
        return `$${usd.toFixed(2)}`;
      }),
    ),
  ]);
  return markdown([['history', ...head], ...rows]);
}
