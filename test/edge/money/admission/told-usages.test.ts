// In workerd: requests, answers and objects are the runtime's.
import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { createBody, createTestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import {
  ACTUAL_USAGE,
  API_FORM,
  createHalfStream,
  createUsageMessage,
  createUsageStream,
  USAGE_FORMS,
  type UsageForm,
} from '#test/support/foreign-gateway/usages.ts';
import { sseResponse } from '#test/support/wire.ts';

const MODEL = 'claude-opus-5-5';
const FORMS = Object.entries({ 'as the API': API_FORM, ...USAGE_FORMS });
/** Its bytes are no fewer than the tokens that its prompt has in truth. */
const ASK = {
  model: MODEL,
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'Tell me about sluices. '.repeat(900) }],
  tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 5 }],
};
const { row: MODEL_ROW } = new ModelTable().findPriceRow(MODEL);
const BILL = computeCost(ACTUAL_USAGE, MODEL_ROW) / 1e9;
/** What the half of the answer has cost: with its searches, and at least a token a word. */
const HALF = computeCost({ ...ACTUAL_USAGE, output_tokens: 20 }, MODEL_ROW) / 1e9;

interface Row {
  status: string;
  cost_usd: number;
  hold_usd: number;
  estimated: boolean;
}

/** How the answer comes, and what is asked. */
interface Way {
  body: object;
  answer: (form: UsageForm) => Response;
  /** What the form tells on this way; `half` is the answer that was cut. */
  tells: (form: UsageForm) => UsageForm['streamReports'] | 'half';
  vars?: Record<string, string>;
}

const stream = (form: UsageForm) => sseResponse(createBody([createUsageStream(form)]));
const whole = (form: UsageForm) => Response.json(createUsageMessage(form));
const cut = (form: UsageForm) => sseResponse(createBody([createHalfStream(form)], 'cut'));
const ofStream = ({ streamReports: tells }: UsageForm) => tells;
const ofWhole = ({ wholeReports: wholeTells }: UsageForm) => wholeTells;
const half = () => 'half' as const;

const WAYS: Record<string, Way> = {
  'a stream': { body: { ...ASK, stream: true }, answer: stream, tells: ofStream },
  'a stream that was cut': { body: { ...ASK, stream: true }, answer: cut, tells: half },
  'a whole answer of one step': { body: { ...ASK, tools: [] }, answer: whole, tells: ofWhole },
  'a whole answer': { body: ASK, answer: whole, tells: ofWhole },
  'an answer that rides': {
    body: ASK,
    answer: stream,
    tells: ofStream,
    vars: { DEFAULT_LIMITS: '{"usd_per_day":1000}' },
  },
  'a turn': { body: { ...ASK, stream: true, conversation: 'c' }, answer: stream, tells: ofStream },
  'a turn that came whole': { body: { ...ASK, conversation: 'c' }, answer: whole, tells: ofWhole },
  'a turn that was cut': { body: { ...ASK, stream: true, conversation: 'c' }, answer: cut, tells: half },
};

let asked = 0;

async function booked({ body, answer, vars = {} }: Way, form: UsageForm): Promise<Row> {
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', ...vars });
  setConversationUpstream(async () => answer(form));
  const app = createTestApp(() => answer(form), vars);
  const own = 'conversation' in body ? { conversation: `told-${++asked}` } : {};
  await (await app.post('/v1/messages', { ...body, ...own })).text();
  await app.waitUntilSettled();
  const { data } = (await (await app.fetch('/usage/requests')).json()) as { data: Row[] };
  expect(data).toHaveLength(1);
  return data[0] as Row;
}

describe.each(Object.entries(WAYS))('%s', (_, way) => {
  test.each(FORMS)('is settled at the billed cost, or estimated no lower: %s', async (_name, form) => {
    stopClock();
    const { cost_usd, hold_usd, estimated } = await booked(way, form);
    const tells = way.tells(form);
    expect(estimated).toBe(tells !== 'all');
    if (tells === 'all') expect(cost_usd).toBe(BILL);
    else {
      expect(cost_usd).toBeGreaterThanOrEqual(tells === 'half' ? HALF : BILL);
      expect(cost_usd).toBeLessThanOrEqual(hold_usd);
    }
    // The output was told, and of the prompt no more counts than was held for it, in each step that was seen.
    if (tells === 'output' && way !== WAYS['a whole answer']) expect(cost_usd).toBeLessThan(5 * BILL);
  });
});
