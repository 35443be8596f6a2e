// In workerd: requests, answers and objects are the runtime's.
import { describe, expect, test } from 'vitest';
import { createTestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { contentBlock, messageEnd, messageStart, messageWith, sseResponse } from '#test/support/wire.ts';

// "Before output, `bio`, `frontier_llm` and `reasoning_extraction` are billed, the others not; in the middle always." (rule 89:
// platform.claude.com/docs, "Refusals and fallback", since 2026-09-24). Opus 5.5: $4 a million tokens of input, $20 of output.
const PROMPT = 100_000;
const BILL = 0.4;
const ASK = { model: 'claude-opus-5-5', max_tokens: 1_000, messages: [{ role: 'user', content: 'x'.repeat(PROMPT) }] };
const TEXT = { type: 'text', text: '' };

interface Refused {
  /** Absent as a member where it is undefined. */
  stop_details?: unknown;
  output?: number;
  /** What came before the refusal. */
  blocks?: object[];
  stop_reason?: string;
}

const of = (category: unknown) => ({ stop_details: { type: 'refusal', category, explanation: null } });

/** What is free, and what is billed, with the bill in US dollars. */
const REFUSALS: [name: string, refused: Refused, bill: number][] = [
  ['cyber', of('cyber'), 0],
  ['general_harms', of('general_harms'), 0],
  ['no category', of(null), 0],
  ['cyber, with one token of output', { ...of('cyber'), output: 1 }, 0],
  ['bio', of('bio'), BILL],
  ['frontier_llm', of('frontier_llm'), BILL],
  ['reasoning_extraction', of('reasoning_extraction'), BILL],
  ['a category of tomorrow', of('weather'), BILL],
  ['a category that is missing', { stop_details: { type: 'refusal', explanation: null } }, BILL],
  ['missing stop_details', {}, BILL],
  ['stop_details that are null', { stop_details: null }, BILL],
  ['stop_details that are a text', { stop_details: 'cyber' }, BILL],
  ['stop_details of another type', { stop_details: { type: 'other', category: 'cyber' } }, BILL],
  ['cyber, with two tokens of output', { ...of('cyber'), output: 2 }, 0.400_04],
  ['cyber, behind a block', { ...of('cyber'), output: 1, blocks: [TEXT] }, 0.400_02],
  ['another stop reason', { ...of('cyber'), stop_reason: 'end_turn' }, BILL],
];

const endOf = ({ stop_reason = 'refusal', stop_details }: Refused) => ({
  stop_reason,
  stop_sequence: null,
  ...(stop_details === undefined ? {} : { stop_details }),
});
const usageOf = ({ output = 0 }: Refused) => ({ input_tokens: PROMPT, output_tokens: output });

const whole = (refused: Refused) =>
  Response.json(messageWith({ content: refused.blocks ?? [], ...endOf(refused), usage: usageOf(refused) }));
const stream = (refused: Refused) =>
  sseResponse(
    messageStart({ usage: { input_tokens: PROMPT, output_tokens: 0 } }) +
      (refused.blocks ?? []).map((one, index) => contentBlock(one, [], index)).join('') +
      messageEnd({ output_tokens: refused.output ?? 0 }, endOf(refused)),
  );

const WAYS = {
  'a whole answer': { answer: whole, body: ASK },
  'a stream': { answer: stream, body: { ...ASK, stream: true } },
  'an answer that rides': { answer: stream, body: ASK, vars: { DEFAULT_LIMITS: '{"usd_per_day":1000}' } },
  'a turn that came whole': { answer: whole, body: { ...ASK, conversation: '' } },
  'a turn that streams': { answer: stream, body: { ...ASK, stream: true, conversation: '' } },
};

interface Way {
  answer: (refused: Refused) => Response;
  body: object;
  vars?: Record<string, string>;
}

let asked = 0;

/** @returns what the ledger says of a refusal, and what it has of its tokens */
async function booked({ answer, body, vars = {} }: Way, refused: Refused, own: Record<string, string> = {}) {
  stopClock();
  const all = { ...vars, ...own };
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', ...all });
  setConversationUpstream(async () => answer(refused));
  const app = createTestApp(() => answer(refused), all);
  const named = 'conversation' in body ? { conversation: `refused-${++asked}` } : {};
  const response = await app.post('/v1/messages', { ...body, ...named });
  await response.text();
  await app.waitUntilSettled();
  // Another test's settlement may be repeated late: only this request counts.
  const id = response.headers.get('sluice-request-id');
  const row = (await (await app.fetch(`/usage/requests/${id}`)).json()) as {
    cost_usd: number;
    estimated: boolean;
    usage: object;
    tries: object[];
  };
  expect(row.tries).toHaveLength(1);
  return row;
}

describe.each(Object.entries<Way>(WAYS))('%s', (_, way) => {
  test.each(REFUSALS)(
    'is settled at the billed cost if it ends with this refusal or stop details: %s',
    async (_name, refused, bill) => {
      const row = await booked(way, refused);
      expect(row).toMatchObject({ cost_usd: bill, estimated: false, usage: { input_tokens: PROMPT } });
    },
  );

  test('is settled at its full cost if it is a refusal from another gateway', async () => {
    const row = await booked(way, of('cyber'), { ANTHROPIC_BASE_URL: 'https://gateway.example' });
    expect(row).toMatchObject({ cost_usd: BILL, estimated: false });
  });
});

describe('a refusal by one of several upstreams', () => {
  const key = { UPSTREAM_ONE_KEY: 'key' };
  const listed = (fields: object) => ({ ...key, UPSTREAMS: JSON.stringify([{ name: 'one', ...fields }]) });

  test.each([
    ['the Claude API', { kind: 'anthropic' }, 0],
    ['the Claude API by its address', { kind: 'anthropic', base_url: 'https://api.anthropic.com/v1' }, 0],
    ['a gateway', { kind: 'anthropic', base_url: 'https://gateway.example' }, BILL],
    ['Bedrock', { kind: 'bedrock', region: 'us-east-1' }, BILL],
    ['Foundry', { kind: 'foundry', resource: 'r' }, BILL],
  ])('is free only if the upstream is the Claude API: %s', async (_, fields, bill) => {
    const row = await booked(WAYS['a whole answer'], of('cyber'), listed(fields));
    expect(row).toMatchObject({ cost_usd: bill });
  });
});

test('does not bill a refusal of the simulator', async () => {
  const app = createTestApp(() => new Response('not asked', { status: 500 }), {
    UPSTREAM: 'simulator',
    ANTHROPIC_API_KEY: undefined,
  });
  const content =
    'ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86';
  const answer = await app.post('/v1/messages', { ...ASK, messages: [{ role: 'user', content }] });
  expect(await answer.json()).toMatchObject({ stop_reason: 'refusal', stop_details: { category: null } });
  await app.waitUntilSettled();
  expect(await (await app.fetch('/usage/requests')).json()).toMatchObject({ data: [{ cost_usd: 0 }] });
});
