import { afterAll, beforeAll, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import {
  SUMMARY_KEEP_RATIO,
  SUMMARY_START_RATIO,
  TRUNCATED_FILL_RATIO,
} from '#edge/conversations/history/history-ratios.ts';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { postInit } from '#test/support/restarting-edge.ts';
import { costOfHistory, type HistoryStrategy } from '../bench/history-model.ts';

// docs/cost.md computes what long conversations cost. Here one of each kind is held, and its ledger is compared with that.

const MODEL = 'claude-sonnet-5-5';
const TURNS = 120;
const MOST = 6_000;
const SUMMARY = 1_000;
const SYSTEM = 'You keep the books of a store, and say what is in which box. '.repeat(90);
/** How far the model may be off. */
const PART = 0.1;

let edge: Edge;
beforeAll(async () => {
  edge = await startSimulatingEdge({ SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' });
});
afterAll(() => edge.stop());

async function get<T>(path: string): Promise<T> {
  const response = await fetch(edge.url + path);
  expect(response.status, path).toBe(200);
  return (await response.json()) as T;
}

/** Holds a conversation as people do who read each answer before they go on. @returns its ledger, oldest first */
async function talk(id: string, history: object | null): Promise<LedgerRow[]> {
  const body = { id, model: MODEL, max_tokens: 300, system: SYSTEM, history };
  expect((await fetch(`${edge.url}/conversations`, postInit(body))).status).toBeLessThan(300);
  for (let turn = 0; turn < TURNS; turn += 1) {
    const content = `Box ${turn} has come. ${'And so on, as before. '.repeat(12)}Remember its number. What do you say of it?`;
    const { headers, ...asked } = postInit({ conversation: id, messages: [{ role: 'user', content }] });
    // Thinking is not in the model of the guide: it is paid once, and is in no later prompt.
    const unthinking = { ...headers, 'sluice-simulate': 'thinking=0' };
    const response = await fetch(`${edge.url}/v1/messages`, { ...asked, headers: unthinking });
    expect(response.status, await response.text()).toBe(200);
    expect(response.headers.get('sluice-history')).toBeNull();
    // A summary is made behind the answer.
    await eventually(async () => expect((await get<QuotaReport>('/accounts/dev')).running_requests).toBe(0));
  }
  const { data } = await get<{ data: LedgerRow[] }>('/usage/requests?limit=1000');
  return data.filter(({ conversation }) => conversation === id).reverse();
}

const mean = (numbers: readonly number[]) =>
  Math.round(numbers.reduce((sum, one) => sum + one, 0) / Math.max(1, numbers.length));
const promptOf = ({ usage }: LedgerRow) =>
  usage.input_tokens + usage.cache_read_input_tokens + usage.cache_write_5m_input_tokens;

test.each([
  { kind: 'never', history: null },
  { kind: 'truncate', history: { max_tokens: MOST, strategy: 'truncate' } },
  { kind: 'summarize', history: { max_tokens: MOST, strategy: 'summarize', summary_max_tokens: SUMMARY } },
])(
  'the cost of a conversation differs by less than a tenth from the cost that docs/cost.md computes: $kind',
  async ({ kind, history }) => {
    const ledger = await talk(kind, history);
    const turns = ledger.filter(({ route }) => route !== 'summary');
    const summaries = ledger.filter(({ route }) => route === 'summary');
    expect(turns).toHaveLength(TURNS);
    // What one turn adds to the next prompt.
    const growth = turns.slice(1).map((row, before) => promptOf(row) - promptOf(turns[before] as LedgerRow));
    const turn = mean(growth.filter((tokens) => tokens > 0));
    const answer = mean(turns.map(({ usage }) => usage.output_tokens));
    const question = turn - answer;
    const system = promptOf(turns[0] as LedgerRow) - question;
    const summary = mean(summaries.map(({ usage }) => usage.output_tokens));
    const strategies: Record<string, HistoryStrategy> = {
      never: { kind: 'never' },
      truncate: { kind: 'truncate', most: MOST, filled: TRUNCATED_FILL_RATIO },
      summarize: {
        kind: 'summarize',
        most: MOST,
        begins: SUMMARY_START_RATIO,
        keeps: SUMMARY_KEEP_RATIO,
        summary,
        instruction: 50,
      },
    };
    const lengths = { model: new ModelTable().findPriceRow(MODEL).row, turns: TURNS, question, answer, system };
    const cost = costOfHistory({ ...lengths, strategy: strategies[kind] as HistoryStrategy, isCached: true });
    const booked = ledger.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
    const told = { question, answer, system, summary, summaries: summaries.length, booked, ...cost };
    expect(Math.abs(cost.usd / booked - 1), JSON.stringify(told)).toBeLessThan(PART);
  },
);
