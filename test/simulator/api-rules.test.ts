/**
 * What the API takes and refuses, as a table: the rules that are published of it, by number, each with a request and what
 * is said to it. The models are those of the edge's own table. What the table leaves out is at its end, with the reason.
 */
import { describe, expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { REFUSAL_TRIGGER } from '#simulator/answer/answer.ts';
import { eventsOf, requiredHeaders } from './api.ts';
import { pngOf } from './pictures.ts';

type Json = Record<string, unknown>;
interface Block extends Json {
  type: string;
}

/** An answer, or a refusal: what a row looks at. */
interface Answer {
  status: number;
  body: Json & { content: Block[]; usage: Json & { input_tokens: number; output_tokens: number } };
  headers: Headers;
  text: string;
}

interface Options {
  headers?: Record<string, string>;
  path?: string;
  method?: string;
  /** As an item of a batch; the answer is its result. */
  inBatch?: boolean;
  /** Of accounts since 2026-08-31. */
  young?: boolean;
}

interface Row extends Options {
  rule: number;
  /** The models for which it holds. */
  of: readonly string[];
  /** What is asked beside model, max_tokens and a question; a whole body as a string. */
  asks: Json | string | ((model: string) => Json | string | Promise<Json | string>);
  is: number;
  /** The words of a refusal. */
  says?: string;
  /** What an answer has. */
  check?: (answer: Answer, model: string) => unknown;
}

/** Makes a row. @param told the words of a refusal, how an answer is looked at, or all that a row has beside */
const rowThat =
  (is: number) =>
  (
    rule: number,
    of: readonly string[],
    asks: Row['asks'],
    told: string | NonNullable<Row['check']> | Partial<Row> = {},
  ): Row => {
    const more = typeof told === 'string' ? { says: told } : typeof told === 'function' ? { check: told } : told;
    return { rule, of, asks, is, ...more };
  };
const takes = rowThat(200);
const refuses = rowThat(400);

const A = ['fable-5-2', 'mythos-5-2', 'fable-5-1', 'mythos-5-1', 'fable-5', 'mythos-5', 'opus-5-5'];
const B = ['opus-5', 'sonnet-5', 'sonnet-5-5', 'haiku-5-5'];
const C = ['opus-4-8', 'opus-4-7'];
const D = ['opus-4-6', 'sonnet-4-6'];
const E = ['opus-4-5-20251101', 'sonnet-4-5-20250929', 'haiku-4-5-20251001'];
const F = ['fable-5-2', 'mythos-5-2', 'fable-5-1', 'mythos-5-1', 'opus-5-5', 'sonnet-5-5'];
const ALL = [...A, ...B, ...C, ...D, ...E];
const without = (all: readonly string[], ...some: string[]) => all.filter((one) => !some.includes(one));

const NOW = Date.parse('2026-11-26T12:00:00Z');
let now = NOW;
const old = createSimulator({ now: () => now });
const young = createSimulator({ now: () => now, newAccounts: true });
const BINDING = 'thinking-binding-controls-2026-08-01';
const beta = (...names: string[]) => ({ 'anthropic-beta': names.join() });

const ENVELOPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  404: 'not_found_error',
  413: 'request_too_large',
};

async function ask(model: string, asked: Json | string, options: Options = {}): Promise<Answer> {
  const { headers = {}, path = '/v1/messages', method = 'POST', inBatch = false } = options;
  const simulator = options.young ? young : old;
  const all = { ...requiredHeaders, ...headers };
  const question = [{ role: 'user', content: 'Why is the sky blue?' }];
  const whole = path.endsWith('/batches') ? {} : { model: `claude-${model}`, messages: question };
  const room = path === '/v1/messages' ? { max_tokens: 8_192 } : {};
  const body = typeof asked === 'string' ? asked : JSON.stringify({ ...whole, ...room, ...asked });
  const send = (to: string, init: RequestInit) => simulator(`https://api.test${to}`, { headers: all, ...init });
  if (!inBatch) {
    const response = await send(path, method === 'POST' ? { method, body } : { method });
    const text = await response.text();
    const isJson = text.startsWith('{');
    return { status: response.status, body: isJson ? JSON.parse(text) : {}, headers: response.headers, text };
  }
  const requests = [{ custom_id: 'one', params: JSON.parse(body) }];
  const made = await send('/v1/messages/batches', { method: 'POST', body: JSON.stringify({ requests }) });
  expect(made.status).toBe(200);
  const { id } = await made.json<{ id: string }>();
  now += 60_000;
  const line = await (await send(`/v1/messages/batches/${id}/results`, {})).text();
  const { result } = JSON.parse(line) as { result: Json };
  const told = (result.message ?? result.error) as Answer['body'];
  return { status: result.type === 'succeeded' ? 200 : 400, body: told, headers: made.headers, text: line };
}

const startsWith =
  (path: string) =>
  ({ body }: Answer) =>
    expect(String((body.error as Json).message).startsWith(path)).toBe(true);
const kinds = ({ body }: Answer) => body.content.map(({ type }) => type);
const thought = ({ body }: Answer) => (body.usage.output_tokens_details as { thinking_tokens: number }).thinking_tokens;
const changes = ({ body }: Answer) =>
  (body.input_transformations as Json[]).map(({ type, reason }) => `${type}: ${reason}`);

const user = (...content: unknown[]) => ({ role: 'user', content });
const says = (text: string) => ({ type: 'text', text });
const QUESTION = user(says('Why is the sky blue?'));
const ANSWER = { role: 'assistant', content: 'So.' };
const NEXT = user(says('And at night?'));
const WEATHER_CALL = { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} }] };
const WEATHER_RESULT = user({ type: 'tool_result', tool_use_id: 'toolu_1', content: 'Sunny.' });
const THINKING = { 'sluice-simulate': 'thinking=60' };
const thinkingOf = (model: string) =>
  E.includes(model) ? { type: 'enabled', budget_tokens: 1_024 } : { type: 'adaptive' };
const LONG = { headers: { 'sluice-simulate': 'thinking=900' } };
const on = (model: string) => ({ thinking: thinkingOf(model) });
const weather = { name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };
const force = { tools: [weather], tool_choice: { type: 'tool', name: 'weather' } };
const loops = { tools: [weather], messages: [user(says('Use weather for Paris.'))] };
const cited = {
  type: 'document',
  citations: { enabled: true },
  source: { type: 'text', media_type: 'text/plain', data: 'x.' },
};
const objectOf = (properties: Json, more: Json = {}) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});
const format = (schema: Json = objectOf({})) => ({ output_config: { format: { type: 'json_schema', schema } } });
const strictly = (schema: Json) => ({ tools: [{ name: 't', strict: true, input_schema: schema }] });
const optional = (count: number) =>
  objectOf(Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, { type: 'string' }])), {
    required: [],
  });
const prefilled = { messages: [QUESTION, { role: 'assistant', content: 'Because' }] };
const image = (width: number, height: number) => ({
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data: pngOf(width, height) },
});
const images = (count: number, side = 10) => ({
  messages: [user(...Array.from({ length: count }, () => image(side, side)), says('What?'))],
});
const effortMessage = (effort: string) => ({ role: 'system', content: [], output_config: { effort } });
const effortNow = (effort: string) => [QUESTION, effortMessage(effort)];
const PER_TURN = beta('mid-conversation-output-config-2026-07-01');

/** A conversation of one answer that was thought, and one more question. */
async function talk(model: string, more: Json = {}, options: Options = {}): Promise<{ messages: Json[] }> {
  const headers = { ...THINKING, ...options.headers };
  const { body } = await ask(model, { ...on(model), messages: [QUESTION], ...more }, { ...options, headers });
  expect(body.content?.[0]?.type, JSON.stringify(body)).toBe('thinking');
  return { messages: [QUESTION, { role: 'assistant', content: body.content }, NEXT] };
}

/** A loop of tools whose first answer was thought, and its result. */
async function loop(model: string, change: (content: Block[]) => Block[]): Promise<Json> {
  const { body } = await ask(model, { ...on(model), ...loops }, { headers: THINKING });
  const call = body.content.find(({ type }) => type === 'tool_use');
  const result = { type: 'tool_result', tool_use_id: call?.id, content: 'Sun.' };
  return {
    ...on(model),
    ...loops,
    messages: [...loops.messages, { role: 'assistant', content: change(body.content) }, user(result)],
  };
}

/** Changes one character of the first block of thinking. */
function altered<Made extends { messages: Json[] }>(made: Made, change: (block: Block) => Block): Made {
  const messages = made.messages.map((message) => {
    if (message.role !== 'assistant') return message;
    const [first, ...rest] = message.content as [Block, ...Block[]];
    return { ...message, content: [change(first), ...rest] };
  });
  return { ...made, messages };
}
const otherSignature = (block: Block) => {
  const signature = String(block.signature);
  return { ...block, signature: `${signature.slice(0, 40)}${signature[40] === 'A' ? 'B' : 'A'}${signature.slice(41)}` };
};

const notSupported = (type: string) =>
  `"thinking.type.${type}" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`;
const TOO_HIGH = (effort: string) =>
  `output_config.effort '${effort}' is not supported when thinking is disabled on this model. Use effort 'high' or below, or enable thinking.`;
const NO_PREFILL =
  'This model does not support assistant message prefill. The conversation must end with a user message.';
const NO_FORCE = 'tool_choice: type "tool" and "any" are not supported for this model.';
const SWAPPED = 'Invalid `signature` in `thinking` block';
const MOVED =
  'messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".';
const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max'];
const off = (type: string, effort?: string) => ({
  thinking: { type },
  ...(effort === undefined ? {} : { output_config: { effort } }),
});
const unthought = (answer: Answer) => {
  expect(kinds(answer)).toEqual(['text']);
  expect(thought(answer)).toBe(0);
};
/** The questions of a hundred that are answered without thinking. */
async function withoutThought(model: string, effort: string): Promise<number> {
  let count = 0;
  for (let index = 0; index < 100; index++) {
    const messages = [user(says(`What is ${index}?`))];
    const answer = await ask(model, { messages, output_config: { effort } });
    if (thought(answer) === 0) count++;
  }
  return count;
}

const COUNT = '/v1/messages/count_tokens';
const tokensOf = async (model: string, asked: Json) => (await ask(model, asked, { path: COUNT })).body.input_tokens;

/** A streamed answer's events, by name and kind of delta. */
const streamed = ({ text }: Answer) => eventsOf(text);
const deltas = (answer: Answer) =>
  streamed(answer).flatMap(
    ({ data }) => ((data.index === 0 && (data.delta as Json | undefined)?.type) || []) as string,
  );

const THINKS: readonly Row[] = [
  takes(1, [...A, ...B], {}, async (answer, model) => {
    const same = await ask(model, { thinking: { type: 'adaptive' } });
    expect([kinds(same), thought(same)]).toEqual([kinds(answer), thought(answer)]);
    const long = await ask(model, {}, { headers: THINKING });
    expect([kinds(long), thought(long)]).toEqual([['thinking', 'text'], 60]);
  }),
  takes(2, [...C, ...D, ...E], {}, unthought),
  ...[undefined, 'low', 'max'].map((effort) => refuses(3, A, off('disabled', effort), notSupported('disabled'))),
  refuses(4, [...A, ...B, ...C], { thinking: { type: 'enabled', budget_tokens: 2_048 } }, notSupported('enabled')),
  refuses(
    5,
    ['sonnet-5-5'],
    off('disabled'),
    'To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead of {"type": "disabled"}.',
  ),
  ...[undefined, 'low', 'medium', 'high'].map((effort) =>
    takes(6, ['sonnet-5-5'], off('between_tools', effort), unthought),
  ),
  ...['xhigh', 'max'].map((effort) => refuses(7, ['sonnet-5-5'], off('between_tools', effort), TOO_HIGH(effort))),
  ...[{ display: 'omitted' }, { budget_tokens: 2_048 }, { block_binding: { prefix_mismatch_behavior: 'error' } }].map(
    (more) => refuses(8, ['sonnet-5-5'], { thinking: { type: 'between_tools', ...more } }, { headers: beta(BINDING) }),
  ),
  takes(9, ['sonnet-5-5'], off('between_tools'), unthought),
  takes(9, ['sonnet-5-5'], { ...off('between_tools'), ...loops }, (answer) => {
    expect(kinds(answer)).toEqual(['thinking', 'tool_use']);
    expect(answer.body.content[0]?.thinking).toContain('weather');
  }),
  refuses(
    10,
    without(ALL, 'sonnet-5-5'),
    off('between_tools'),
    '"thinking.type.between_tools" is not supported for this model.',
  ),
  ...[undefined, 'low', 'medium', 'high'].map((effort) =>
    takes(11, ['opus-5', 'haiku-5-5'], off('disabled', effort), unthought),
  ),
  ...['xhigh', 'max'].map((effort) => refuses(12, ['opus-5', 'haiku-5-5'], off('disabled', effort), TOO_HIGH(effort))),
  ...[undefined, 'low', 'medium', 'high'].map((effort) => takes(13, ['sonnet-5'], off('disabled', effort), unthought)),
  ...['adaptive', 'disabled'].map((type) => takes(14, [...C, ...D], { thinking: { type } })),
  takes(14, D, { thinking: { type: 'enabled', budget_tokens: 1_024 } }),
  refuses(15, E, { thinking: { type: 'adaptive' } }, 'adaptive thinking is not supported on this model'),
  refuses(16, [...D, ...E], { thinking: { type: 'enabled', budget_tokens: 1_023 } }),
  refuses(16, [...D, ...E], { thinking: { type: 'enabled', budget_tokens: 8_192 } }),
  takes(
    16,
    [...D, ...E],
    { thinking: { type: 'enabled', budget_tokens: 8_192 } },
    { headers: beta('interleaved-thinking-2025-05-14') },
  ),
  ...['summarized', 'omitted'].map((display) =>
    takes(17, ALL, (model: string) => ({ thinking: { ...thinkingOf(model), display } }), {
      headers: THINKING,
      check: ({ body }: Answer) => expect(body.content[0]?.thinking === '').toBe(display === 'omitted'),
    }),
  ),
  takes(17, ALL, on, {
    headers: THINKING,
    check: ({ body }, model) => expect(body.content[0]?.thinking === '').toBe([...A, ...B, ...C].includes(model)),
  }),
  refuses(18, A, { thinking: { type: 'adaptive', display: 'updates' } }, { headers: beta('skills-2025-10-02') }),
  takes(
    18,
    ['fable-5-1', 'fable-5-2'],
    { thinking: { type: 'adaptive', display: 'updates' } },
    { headers: beta('thinking-display-updates-2026-08-18') },
  ),
  refuses(19, [...C, ...D, ...E, 'haiku-5-5'], { thinking: { type: 'disabled', display: 'omitted' } }),
  refuses(
    20,
    ALL,
    (model) => ({ thinking: { ...thinkingOf(model), block_binding: { prefix_mismatch_behavior: 'error' } } }),
    { headers: beta('skills-2025-10-02'), says: 'block_binding: Extra inputs are not permitted' },
  ),
  ...['between_tools', 'disabled', 'enabled'].map((type) =>
    refuses(20, ['sonnet-5-5', 'haiku-5-5'], { thinking: { type, block_binding: {} } }, { headers: beta(BINDING) }),
  ),
  takes(
    21,
    [...D, ...E],
    async (model) => ({
      ...(await loop(model, (content) => content.filter(({ type }) => type !== 'thinking'))),
      thinking: { type: 'enabled', budget_tokens: 1_024 },
    }),
    { headers: THINKING, check: unthought },
  ),
  takes(21, [...C, ...D], (model) => loop(model, (content) => content.filter(({ type }) => type !== 'thinking')), {
    headers: THINKING,
    check: (answer) => expect(kinds(answer)).toEqual(['thinking', 'text']),
  }),
];

const ANSWERS: readonly Row[] = [
  takes(23, [...A, ...B, ...C, ...D], on, {
    headers: THINKING,
    check: (answer) => expect(kinds(answer)).toEqual(['thinking', 'text']),
  }),
  takes(23, ['haiku-5-5', 'sonnet-5'], {}, async (_, model) =>
    expect(await withoutThought(model, 'low')).toBeGreaterThan(40),
  ),
  takes(
    24,
    [...A, ...B],
    {},
    {
      headers: THINKING,
      check: ({ body }) =>
        expect(body.content[0]).toEqual({ type: 'thinking', thinking: '', signature: expect.stringMatching(/./) }),
    },
  ),
  takes(25, ALL, (model) => ({ thinking: { ...thinkingOf(model), display: 'summarized' } }), {
    headers: { 'sluice-simulate': 'thinking=700' },
    check: (answer) => {
      expect(thought(answer)).toBe(700);
      expect(answer.body.usage.output_tokens).toBeGreaterThan(700);
      expect(String(answer.body.content[0]?.thinking).length).toBeLessThan(700);
    },
  }),
  takes(
    26,
    [...A, ...B],
    { max_tokens: 30 },
    {
      headers: THINKING,
      check: (answer) => {
        expect(answer.body).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 30 } });
        expect(kinds(answer)).toEqual(['thinking']);
      },
    },
  ),
  takes(
    27,
    [...A, ...B],
    { max_tokens: 40, messages: [user(says('What is 8?'))], output_config: { effort: 'high' } },
    async (answer, model) => {
      const messages = [user(says('What is 8?'))];
      const again = await ask(model, { max_tokens: 40, messages, output_config: { effort: 'high' } });
      expect([kinds(again), again.body.stop_reason]).toEqual([['thinking'], 'max_tokens']);
      expect(kinds(answer)).toEqual(kinds(again));
      expect(kinds(await ask(model, { messages, output_config: { effort: 'high' } }))).toEqual(['thinking', 'text']);
    },
  ),
  takes(28, ['fable-5-2', 'fable-5-1', 'fable-5', 'opus-5-5', 'sonnet-5-5'], loops, {
    headers: THINKING,
    check: async (answer, model) => {
      expect(kinds(answer)).toEqual(['thinking', 'thinking', 'tool_use']);
      expect(answer.body.content[1]?.thinking).toBe('');
      const cut = { ...loops, max_tokens: 65, thinking: { type: 'adaptive', display: 'summarized' } };
      const { content } = (await ask(model, cut, { headers: THINKING })).body;
      expect(content.at(-1)?.thinking).toBe('This part of the response was interrupted before it finished.');
    },
  }),
  takes(28, ['opus-5', 'haiku-5-5'], loops, {
    headers: THINKING,
    check: (answer) => expect(kinds(answer)).toEqual(['thinking', 'text', 'tool_use']),
  }),
  takes(29, ['haiku-5-5'], { ...force, output_config: { effort: 'high' } }, (answer) =>
    expect(kinds(answer)).toEqual(['tool_use']),
  ),
  takes(30, ALL, {}, ({ body }) => expect(body.diagnostics).toBeNull()),
  takes(
    31,
    [...A, ...B],
    { stream: true },
    {
      headers: THINKING,
      check: (answer) => {
        expect(deltas(answer)).toEqual(['signature_delta']);
        const start = streamed(answer).find(({ name }) => name === 'content_block_start');
        expect(start?.data.content_block).toEqual({ type: 'thinking', thinking: '', signature: '' });
      },
    },
  ),
  takes(32, ALL, (model) => ({ stream: true, thinking: { ...thinkingOf(model), display: 'summarized' } }), {
    headers: THINKING,
    check: (answer) => {
      const found = deltas(answer);
      expect(found.pop()).toBe('signature_delta');
      expect(found.length).toBeGreaterThan(3);
      expect(new Set(found)).toEqual(new Set(['thinking_delta']));
    },
  }),
  takes(33, ALL, (model) => ({ ...on(model), stream: true }), {
    headers: THINKING,
    check: (answer) => {
      const [first] = streamed(answer);
      const message = first?.data.message as Json;
      expect([message.stop_reason, message.stop_details, (message.usage as Json).output_tokens_details]).toEqual([
        null,
        null,
        null,
      ]);
      const data: Json = streamed(answer).find(({ name }) => name === 'message_delta')?.data ?? {};
      const usage = data.usage as Json;
      expect([(data.delta as Json).stop_reason, (usage.output_tokens_details as Json).thinking_tokens]).toEqual([
        'end_turn',
        60,
      ]);
      expect(usage.input_tokens).toBe((message.usage as Json).input_tokens);
    },
  }),
  takes(
    34,
    ['haiku-5-5'],
    { stream: true },
    {
      headers: { 'sluice-simulate': 'error-after=6' },
      check: (answer) => {
        const events = streamed(answer);
        expect(events.map(({ name }) => name)).toContain('ping');
        expect(events.at(-1)?.data).toEqual({
          type: 'error',
          error: { type: 'overloaded_error', message: 'Overloaded' },
        });
      },
    },
  ),
  takes(
    35,
    ['fable-5-2', 'haiku-5-5'],
    { stream: true },
    {
      headers: { 'sluice-simulate': 'stop-reason=refusal' },
      check: (answer) => {
        const events = streamed(answer);
        expect(
          events.filter(({ data }) => (data.delta as Json | undefined)?.type === 'text_delta').length,
        ).toBeGreaterThan(0);
        const end: Json = events.find(({ name }) => name === 'message_delta')?.data ?? {};
        expect((end.delta as Json).stop_reason).toBe('refusal');
        expect((end.usage as Json).output_tokens).toBeGreaterThan(5);
      },
    },
  ),
];

const LIMITS: readonly Row[] = [
  refuses(
    36,
    ['sonnet-4-5-20250929', 'haiku-4-5-20251001'],
    { output_config: { effort: 'low' } },
    'This model does not support the effort parameter.',
  ),
  refuses(
    37,
    D,
    { output_config: { effort: 'xhigh' } },
    "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
  ),
  ...['xhigh', 'max'].map((effort) =>
    refuses(
      37,
      ['opus-4-5-20251101'],
      { output_config: { effort } },
      `This model does not support effort level '${effort}'. Supported levels: high, low, medium.`,
    ),
  ),
  takes(
    38,
    without(ALL, 'sonnet-4-5-20250929', 'haiku-4-5-20251001', 'opus-4-5-20251101'),
    { thinking: { type: 'adaptive' } },
    async (answer, model) => {
      const effort = ['opus-5-5', 'haiku-5-5'].includes(model) ? 'medium' : 'high';
      const system = [{ ...says('Be kind. '.repeat(3_000)), cache_control: { type: 'ephemeral' } }];
      const same = await ask(model, { thinking: { type: 'adaptive' }, output_config: { effort } });
      expect(thought(same)).toBe(thought(answer));
      await ask(model, { system, output_config: { effort } });
      expect((await ask(model, { system })).body.usage.cache_read_input_tokens).toBeGreaterThan(5_000);
    },
  ),
  takes(
    39,
    ['fable-5-2', 'mythos-5-2', 'fable-5-1', 'mythos-5-1', 'opus-5', 'opus-5-5', 'sonnet-5-5', 'haiku-5-5'],
    { messages: effortNow('max') },
    { headers: PER_TURN, check: (answer) => expect(thought(answer)).toBeGreaterThanOrEqual(100) },
  ),
  refuses(
    39,
    ['fable-5', 'mythos-5', 'sonnet-5', ...C, ...D, ...E],
    { messages: effortNow('low') },
    {
      headers: PER_TURN,
      says: 'output_config.effort requires a model that supports per-turn effort; this model does not',
    },
  ),
  refuses(39, ['opus-5'], { messages: effortNow('low') }),
  // Between an answer and the next question, from which on it applies; see https://platform.claude.com/docs/en/build-with-claude/effort-per-message.
  takes(
    39,
    ['fable-5-1', 'haiku-5-5'],
    { messages: [QUESTION, ANSWER, effortMessage('max'), NEXT] },
    { headers: PER_TURN, check: (answer) => expect(thought(answer)).toBeGreaterThanOrEqual(100) },
  ),
  // After results of tools it applies from the next question on.
  takes(
    39,
    ['fable-5-1', 'haiku-5-5'],
    {
      tools: [weather],
      thinking: { type: 'adaptive', display: 'summarized' },
      output_config: { effort: 'max' },
      messages: [QUESTION, WEATHER_CALL, WEATHER_RESULT, effortMessage('low')],
    },
    { headers: PER_TURN, check: ({ text }) => expect(text).toContain('With this much effort') },
  ),
  refuses(
    39,
    ['fable-5-1', 'haiku-5-5'],
    { messages: [QUESTION, ANSWER, effortMessage('max'), { role: 'system', content: 'Be short.' }, NEXT] },
    { headers: PER_TURN },
  ),
  refuses(
    40,
    ['opus-5'],
    { ...off('disabled'), messages: effortNow('low') },
    {
      headers: PER_TURN,
      says: "messages.1: output_config.effort 'low' differs from the 'high' in effect before it; effort cannot change when thinking is disabled on this model.",
    },
  ),
  takes(40, ['opus-5'], { ...off('disabled'), messages: effortNow('high') }, { headers: PER_TURN }),
  refuses(
    41,
    ['sonnet-4-5', 'sonnet-4-5-20250929'],
    { max_tokens: 128_000 },
    'max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5-20250929',
  ),
  refuses(41, without(ALL, ...E), { max_tokens: 128_001 }, 'max_tokens: 128001 > 128000'),
  takes(
    42,
    ALL,
    { max_tokens: 0, system: [{ ...says('Wait. '.repeat(6_000)), cache_control: { type: 'ephemeral' } }] },
    ({ body }) => {
      expect(body).toMatchObject({ content: [], stop_reason: 'max_tokens', usage: { output_tokens: 0 } });
      const { cache_creation_input_tokens: written, cache_read_input_tokens: read } = body.usage;
      expect(Number(written) + Number(read)).toBeGreaterThan(4_096);
    },
  ),
  ...[{ stream: true }, format(), force].map((more) =>
    refuses(43, ['haiku-5-5', 'opus-4-6'], { max_tokens: 0, ...more }),
  ),
  refuses(
    43,
    E,
    { max_tokens: 0, thinking: { type: 'enabled', budget_tokens: 1_024 } },
    { headers: beta('interleaved-thinking-2025-05-14') },
  ),
  refuses(43, ['haiku-5-5'], { max_tokens: 0 }, { inBatch: true }),
  takes(44, ['haiku-4-5'], { max_tokens: 64_000, messages: [user(says('sky '.repeat(199_980)))] }, ({ body }) =>
    expect(body.stop_reason).toBe('model_context_window_exceeded'),
  ),
  refuses(44, ['haiku-4-5'], { messages: [user(says('sky '.repeat(200_001)))] }),
  refuses(45, ['opus-4-6-20260205', 'haiku-5-5-20261007', 'opus-4-1', 'mythos-preview', 'unknown'], {}, { is: 404 }),
  takes(45, ['opus-4-5', 'sonnet-4-5', 'haiku-4-5'], {}),
];

const SAMPLES: readonly Row[] = [
  ...[{ temperature: 1 }, { top_p: 0.99 }, { top_k: 5 }, { temperature: 0 }].map((more) =>
    refuses(46, ALL, more, {
      headers: { 'anthropic-version': '2026-10-21' },
      says: `${Object.keys(more)[0]}: Extra inputs are not permitted`,
    }),
  ),
  refuses(47, [...A, ...B, ...C], { temperature: 0.5 }, '`temperature` is deprecated for this model.'),
  takes(47, [...A, ...B, ...C], { temperature: 1 }),
  refuses(48, [...A, ...B, ...C], { top_p: 0.98 }),
  takes(48, [...A, ...B, ...C], { top_p: 0.99 }),
  refuses(48, ['haiku-5-5', 'fable-5-1', 'fable-5-2'], { top_p: 1 }),
  refuses(49, [...A, ...B, ...C], { top_k: 40 }),
  refuses(49, [...A, ...B, ...C], { temperature: 1, top_p: 0.99 }),
  refuses(
    50,
    [...D, ...E],
    { temperature: 0.5, top_p: 0.5 },
    'temperature and top_p cannot both be specified for this model. Please use only one.',
  ),
  ...[{ temperature: 0.5 }, { top_p: 0.5 }].map((more) => takes(50, [...D, ...E], more)),
  ...[{ temperature: 0.5 }, { top_p: 0.94 }, { top_k: 5 }].map((more) =>
    refuses(51, [...D, ...E], (model: string) => ({ ...on(model), ...more })),
  ),
  ...[{ temperature: 1 }, { top_p: 0.95 }].map((more) =>
    takes(51, [...D, ...E], (model: string) => ({ ...on(model), ...more })),
  ),
  refuses(52, [...A, ...B, ...C, ...D], prefilled, NO_PREFILL),
  refuses(52, ['haiku-5-5', 'opus-5', ...C, ...D], { ...prefilled, ...off('disabled') }, NO_PREFILL),
  takes(53, E, prefilled),
  refuses(53, E, { ...prefilled, thinking: { type: 'enabled', budget_tokens: 1_024 } }),
  ...['any', 'tool'].flatMap((type) => {
    const choice = { tools: [weather], tool_choice: type === 'any' ? { type } : { type, name: 'weather' } };
    return [
      refuses(54, F, choice, NO_FORCE),
      refuses(54, F, choice, { path: COUNT, says: NO_FORCE }),
      takes(55, without([...B, ...C, ...D], 'sonnet-5-5'), choice),
      refuses(56, [...D, ...E], { ...choice, thinking: { type: 'enabled', budget_tokens: 1_024 } }),
    ];
  }),
  ...['auto', 'none'].map((type) => takes(57, ALL, { tools: [weather], tool_choice: { type } })),
  refuses(58, ALL, { ...format(), messages: [user(cited, says('What?'))] }),
  refuses(58, E, { ...format(), ...prefilled }),
  ...[20, 21].map((count) => ({
    rule: 58,
    of: ['haiku-5-5'],
    is: count > 20 ? 400 : 200,
    asks: { tools: Array.from({ length: count }, (_, at) => ({ ...strictly(objectOf({})).tools[0], name: `t${at}` })) },
  })),
  refuses(58, ['haiku-5-5'], format(optional(25)), 'Schemas contains too many optional parameters (25)'),
  refuses(58, ['haiku-5-5'], { ...format(optional(20)), ...strictly(optional(5)) }, 'optional parameters (25)'),
  takes(58, ['haiku-5-5'], { ...format(optional(19)), ...strictly(optional(5)) }),
  refuses(58, ['haiku-5-5'], format(optional(1_001)), 'Schema is too complex for compilation.'),
  ...['refusal', 'max_tokens'].map((reason) =>
    takes(59, ['haiku-5-5', 'fable-5-2'], format(objectOf({ words: { type: 'string' } })), {
      headers: { 'sluice-simulate': `stop-reason=${reason}` },
      check: ({ body }: Answer) => {
        expect(body.stop_reason).toBe(reason);
        expect(() => JSON.parse(String(body.content.at(-1)?.text))).toThrow();
      },
    }),
  ),
  ...['opus-5-5', 'sonnet-5-5', 'fable-5-2', 'haiku-5-5'].map((model) => {
    const type = model === 'haiku-5-5' ? 'computer_20250124' : 'computer_20251124';
    return refuses(
      60,
      [model],
      { tools: [{ type, name: 'computer', display_width_px: 800, display_height_px: 600 }] },
      {
        headers: beta('computer-use-2025-11-24'),
        says: `'claude-${model}' does not support tool types: ${type}. Did you mean one of`,
      },
    );
  }),
  ...[
    ['sonnet-5-5', ['opus-4-7', 'opus-4-8', 'sonnet-5', 'haiku-5-5'], 400],
    ['sonnet-5-5', ['opus-5-5'], 200],
    ['fable-5-2', ['fable-5-1', 'opus-5-5', 'haiku-4-5'], 400],
    ['fable-5-2', ['fable-5-2', 'mythos-5-2'], 200],
  ].flatMap(([model, advisors, is]) =>
    (advisors as string[]).map((advisor) =>
      refuses(
        61,
        [String(model)],
        { tools: [{ type: 'advisor_20260301', name: 'advisor', model: `claude-${advisor}` }] },
        { is: Number(is), headers: beta('advisor-tool-2026-03-01') },
      ),
    ),
  ),
  takes(62, [...without(A, 'none'), 'opus-4-8', 'opus-5', 'sonnet-5-5', 'haiku-5-5'], {
    messages: [QUESTION, { role: 'system', content: 'Be short.' }],
  }),
  refuses(
    62,
    ['opus-4-7', 'sonnet-4-6', 'haiku-4-5-20251001', 'sonnet-5'],
    { messages: [QUESTION, { role: 'system', content: 'Be short.' }] },
    "role 'system' is not supported on this model",
  ),
  refuses(
    63,
    ['opus-5', 'haiku-5-5'],
    { messages: [{ role: 'system', content: 'Be short.' }, QUESTION] },
    "messages.0: use the top-level 'system' parameter for the initial system prompt",
  ),
  ...['opus-4-7', 'sonnet-5'].map((model) => ({
    rule: 62,
    of: [model],
    asks: { messages: [QUESTION, { role: 'system', content: 'Be short.' }] },
    headers: beta('mid-conversation-system-2026-04-07'),
    is: model === 'sonnet-5' ? 200 : 400,
  })),
  ...[
    [{ role: 'system', content: 'Be short.' }, QUESTION],
    [QUESTION, { role: 'system', content: 'Be short.' }, NEXT],
    [QUESTION, ANSWER, { role: 'system', content: 'Be short.' }],
  ].map((messages) => refuses(63, ['opus-5', 'haiku-5-5'], { messages })),
  refuses(
    64,
    ALL,
    {
      tools: [weather],
      messages: [QUESTION, WEATHER_CALL, NEXT],
    },
    'tool_use` ids were found without `tool_result` blocks immediately after',
  ),
];

const reads: readonly (readonly [reader: string, makers: readonly string[], isRead: boolean])[] = [
  ['fable-5-2', ['mythos-5-2', 'fable-5-2'], true],
  ['mythos-5-2', ['opus-5', 'opus-5-5', 'sonnet-5-5'], false],
  ['fable-5-1', ['mythos-5-1', 'fable-5', 'opus-5', 'sonnet-5', 'opus-4-6', 'haiku-4-5-20251001', 'opus-5-5'], true],
  ['fable-5-1', ['fable-5-2', 'sonnet-5-5', 'haiku-5-5'], false],
  ['opus-5-5', ['opus-5', 'sonnet-5', 'opus-4-7', 'sonnet-4-5-20250929', 'sonnet-5-5'], true],
  ['opus-5-5', ['fable-5', 'fable-5-1', 'haiku-5-5'], false],
  ['sonnet-5-5', ['sonnet-5', 'opus-4-8', 'haiku-4-5-20251001', 'sonnet-4-6'], true],
  ['sonnet-5-5', ['opus-5', 'opus-5-5', 'fable-5'], false],
];
const BOUND = ['fable-5-2', 'mythos-5-2'];
const NEWLY = ['fable-5-1', 'opus-5-5', 'sonnet-5-5', 'haiku-5-5'];
const dropping = { block_binding: { prefix_mismatch_behavior: 'drop_block' } };
const CHANGED: readonly ((made: { messages: Json[] }) => Json)[] = [
  (made) => ({ ...made, system: 'Be short.' }),
  (made) => ({ ...made, tools: [weather] }),
  ({ messages }) => ({ messages: [user(says('Why is the sea blue?')), ...messages.slice(1)] }),
];
const PREFIX = 'prefix_binding_mismatch';

const COMES_BACK: readonly Row[] = [
  takes(65, ALL, async (model) => {
    const shown = { thinking: { ...thinkingOf(model), display: 'summarized' } };
    return { ...shown, ...altered(await talk(model, shown), (block) => ({ ...block, thinking: 'Another summary.' })) };
  }),
  ...[
    otherSignature,
    (block: Block) => ({ ...block, signature: '' }),
    (block: Block) => ({ ...block, signature: String(block.signature).slice(0, -8) }),
  ].map((change) =>
    refuses(
      65,
      ALL,
      async (model: string) => ({ ...on(model), ...altered(await talk(model), change) }),
      `messages.1.content.0: ${SWAPPED}`,
    ),
  ),
  refuses(
    66,
    ALL,
    (model) => loop(model, ([first, ...rest]) => (first ? [otherSignature(first), ...rest] : rest)),
    '`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.',
  ),
  refuses(
    66,
    ['fable-5-1', 'opus-5-5', 'sonnet-5-5'],
    (model) => loop(model, ([, ...rest]) => rest),
    '`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.',
  ),
  takes(66, ALL, (model) => loop(model, (content) => content)),
  takes(
    67,
    ['fable-5-2', 'mythos-5-2', 'sonnet-5-5', 'haiku-5-5'],
    async (model) => ({ ...on(model), ...(await talk('opus-5', {}, LONG)) }),
    {
      headers: beta(BINDING),
      check: (answer) => {
        expect(changes(answer)).toEqual(['thinking_dropped: model_binding_mismatch']);
        expect(answer.body.input_transformations).toMatchObject([{ path: 'messages.1.content.0' }]);
        expect(answer.body.usage.input_tokens).toBeLessThan(900);
      },
    },
  ),
  ...['sonnet-5-5', 'haiku-5-5'].map((model) =>
    takes(67, [model], async () => ({ ...on(model), ...(await talk(model, {}, LONG)) }), {
      headers: { ...beta(BINDING), 'x-api-key': 'another' },
      check: async (answer: Answer) => {
        expect(changes(answer)).toEqual(['thinking_dropped: organization_binding_mismatch']);
        expect(answer.body.usage.input_tokens).toBeLessThan(900);
      },
    }),
  ),
  ...reads.flatMap(([reader, makers, isRead]) =>
    makers.map((maker) =>
      takes(68, [reader], async () => ({ ...on(reader), ...(await talk(maker)) }), {
        headers: beta(BINDING),
        check: (answer: Answer) =>
          expect(changes(answer)).toEqual(isRead ? [] : ['thinking_dropped: model_binding_mismatch']),
      }),
    ),
  ),
  ...CHANGED.flatMap((change) => {
    const asks = async (model: string) => ({ ...on(model), ...change(await talk(model)) });
    const asksYoung = async (model: string) => ({ ...on(model), ...change(await talk(model, {}, { young: true })) });
    const allowed = (answer: Answer) => expect(changes(answer)).toEqual([`thinking_mismatch_allowed: ${PREFIX}`]);
    return [
      refuses(69, BOUND, asks, MOVED),
      refuses(69, NEWLY, asksYoung, { young: true, says: MOVED }),
      refuses(70, BOUND, asks, { headers: beta(BINDING), says: MOVED }),
      takes(70, NEWLY, asks, { headers: beta(BINDING), check: allowed }),
      refuses(
        70,
        NEWLY,
        async (model: string) => ({
          ...change(await talk(model)),
          thinking: { type: 'adaptive', block_binding: { prefix_mismatch_behavior: 'error' } },
        }),
        { headers: beta(BINDING), says: MOVED },
      ),
      takes(70, ['fable-5', 'opus-5', 'sonnet-5', ...C, ...D, ...E], asksYoung, {
        young: true,
        headers: beta(BINDING),
        check: (answer: Answer) => expect(changes(answer)).toEqual([]),
      }),
      takes(
        71,
        [...BOUND, ...NEWLY],
        async (model: string) => ({ ...change(await talk(model)), thinking: { type: 'adaptive', ...dropping } }),
        {
          headers: beta(BINDING),
          check: (answer: Answer) => expect(changes(answer)).toEqual([`thinking_dropped: ${PREFIX}`]),
        },
      ),
      takes(71, BOUND, asks, {
        headers: beta(BINDING),
        inBatch: true,
        check: (answer: Answer) => expect(changes(answer)).toEqual([`thinking_dropped: ${PREFIX}`]),
      }),
    ];
  }),
  ...[
    { output_config: { effort: 'low' } },
    { max_tokens: 999 },
    { tools: [weather], tool_choice: { type: 'none' } },
    { metadata: { user_id: 'someone' } },
    { cache_control: { type: 'ephemeral' } },
  ].map((more) =>
    takes(
      72,
      [...BOUND, ...NEWLY],
      async (model: string) => {
        const tools = 'tools' in more ? { tools: [weather] } : {};
        return { ...on(model), ...(await talk(model, tools, { young: true })), ...more };
      },
      { headers: beta(BINDING), young: true, check: (answer: Answer) => expect(changes(answer)).toEqual([]) },
    ),
  ),
  takes(73, [...BOUND, ...NEWLY], (model) => threeAnswers(model, 0), {
    young: true,
    headers: beta(BINDING),
    check: (answer) => expect(changes(answer)).toEqual([]),
  }),
  refuses(73, [...BOUND, ...NEWLY], (model) => threeAnswers(model, 1), { young: true, says: SWAPPED }),
  refuses(74, BOUND, async (model) => ({ ...on(model), ...CHANGED[0]?.(await talk(model)) }), {
    says: MOVED,
    check: async (_, model) => {
      const body = { ...on(model), ...CHANGED[0]?.(await talk(model)) };
      const [first, second] = [await ask(model, body), await ask(model, body)];
      expect([second.status, second.body.error]).toEqual([first.status, first.body.error]);
    },
  }),
  takes(
    75,
    without(ALL, 'mythos-5-1'),
    async (model) => ({
      ...on(model),
      ...(await talk(model, {}, LONG)),
    }),
    ({ body }, model) => {
      const isStripped = ['sonnet-4-5-20250929', 'haiku-4-5-20251001'].includes(model);
      expect(body.usage.input_tokens > 900).toBe(!isStripped);
    },
  ),
];

/** A conversation of three answers, of which one lost its thinking. */
async function threeAnswers(model: string, lost: number): Promise<Json> {
  const messages: Json[] = [QUESTION];
  for (const text of ['And at night?', 'And at noon?', 'And now?']) {
    const { body } = await ask(model, { ...on(model), messages }, { headers: THINKING, young: true });
    messages.push({ role: 'assistant', content: body.content }, user(says(text)));
  }
  const message = messages[1 + 2 * lost] as { content: Block[] };
  message.content = message.content.filter(({ type }) => type !== 'thinking');
  return { ...on(model), messages };
}

const SPEEDS: readonly Row[] = [
  ...['fable-5-2', 'mythos-5-2', 'opus-5-5'].map((model) =>
    takes(83, [model], { speed: 'fast' }, ({ body }: Answer) => expect(body.usage.speed).toBe('fast')),
  ),
  refuses(84, ['opus-5', 'opus-4-8'], { speed: 'fast' }),
  takes(
    84,
    ['opus-5', 'opus-4-8'],
    { speed: 'fast' },
    {
      headers: beta('fast-mode-2026-02-01'),
      check: async ({ body }, model) => {
        expect(body.usage.speed).toBe('fast');
        const later = createSimulator({ now: () => Date.parse('2026-11-30T00:00:00Z') });
        const asked = { model: `claude-${model}`, max_tokens: 99, messages: [QUESTION], speed: 'fast' };
        const headers = { ...requiredHeaders, ...beta('fast-mode-2026-02-01') };
        const init = { method: 'POST', headers, body: JSON.stringify(asked) };
        expect((await later('https://api.test/v1/messages', init)).status).toBe(model === 'opus-5' ? 200 : 400);
      },
    },
  ),
  takes(85, ['opus-4-6'], { speed: 'fast' }, ({ body }) => expect(body.usage.speed).toBe('standard')),
  refuses(
    85,
    without(ALL, 'fable-5-2', 'mythos-5-2', 'opus-5-5', 'opus-5', 'opus-4-8', 'opus-4-6'),
    { speed: 'fast' },
    { headers: beta('fast-mode-2026-02-01') },
  ),
  refuses(86, ['fable-5-2', 'opus-5-5'], { speed: 'fast' }, { inBatch: true }),
  takes(86, ['opus-5-5'], { speed: 'fast' }, ({ headers }) => {
    for (const kind of ['input', 'output'])
      expect(headers.get(`anthropic-fast-${kind}-tokens-remaining`)).toMatch(/^\d+$/);
  }),
  refuses(87, E, { inference_geo: 'us' }),
  takes(87, without(ALL, ...E), { inference_geo: 'us' }),
];

const refused = { messages: [user(says(REFUSAL_TRIGGER))] };
const FALLING = beta('server-side-fallback-2026-07-01');
const STOPS: readonly Row[] = [
  takes(88, [...A, ...B], refused, ({ body }) =>
    expect(body).toMatchObject({
      content: [],
      stop_reason: 'refusal',
      stop_details: { type: 'refusal', category: null, explanation: null },
    }),
  ),
  takes(89, ['fable-5-2', 'haiku-5-5'], refused, {
    headers: { 'x-api-key': 'of rule 89' },
    check: async ({ headers }, model) => {
      const next = await ask(model, refused, { headers: { 'x-api-key': 'of rule 89' } });
      const left = (of: Headers) => Number(of.get('anthropic-ratelimit-input-tokens-remaining'));
      expect(left(next.headers)).toBeLessThan(left(headers));
    },
  }),
  takes(90, [...A, ...B], refused, ({ body }) => {
    expect(body.usage.input_tokens).toBeGreaterThan(20);
    expect(body.usage.output_tokens).toBe(0);
  }),
  ...[[{ model: 'claude-opus-4-8' }], 'default'].map((fallbacks) =>
    takes(
      91,
      ['fable-5-2', 'opus-5', 'sonnet-5-5'],
      { ...refused, fallbacks },
      {
        headers: FALLING,
        check: (answer: Answer, model: string) => {
          expect(answer.body.stop_reason).toBe('end_turn');
          expect(answer.body.model).not.toBe(`claude-${model}`);
          expect(kinds(answer)).toEqual([
            'fallback',
            ...(kinds(answer).includes('thinking') ? ['thinking'] : []),
            'text',
          ]);
        },
      },
    ),
  ),
  refuses(91, ['fable-5-2'], { fallbacks: 'default' }, 'fallbacks: Extra inputs are not permitted'),
  takes(
    91,
    ['haiku-5-5'],
    { ...refused, fallbacks: 'default' },
    {
      headers: FALLING,
      check: ({ body }) => expect([body.model, body.stop_reason]).toEqual(['claude-haiku-5-5', 'refusal']),
    },
  ),
  refuses(91, ['fable-5-2'], { fallbacks: ['a', 'b', 'c', 'd'].map((model) => ({ model })) }, { headers: FALLING }),
  refuses(91, ['haiku-5-5'], { fallbacks: [{ model: 'claude-opus-4-8' }] }, { headers: FALLING }),
  refuses(91, ['fable-5-2'], { fallbacks: [{ model: 'claude-opus-4-8' }] }, { headers: FALLING, inBatch: true }),
];

const BATCHES = '/v1/messages/batches';
const items = (...ids: string[]) => ({ requests: ids.map((custom_id) => ({ custom_id, params: {} })) });
const COUNTED: readonly Row[] = [
  ...[items(), items('a', 'a'), items('a b'), items('x'.repeat(65)), items('')].map((asks) =>
    refuses(94, ['haiku-5-5'], asks, { path: BATCHES }),
  ),
  refuses(94, ['haiku-5-5'], () => items(...Array.from({ length: 100_001 }, (_, index) => String(index))), {
    path: BATCHES,
  }),
  takes(94, ['haiku-5-5'], items('a_-9'.repeat(16)), { path: BATCHES }),
  ...[{ stream: true }, { speed: 'fast' }, { max_tokens: 0 }, { fallbacks: 'default' }, { messages: [] }].map((more) =>
    refuses(95, ['fable-5-2', 'haiku-5-5'], more, { headers: FALLING, inBatch: true }),
  ),
  takes(96, ['haiku-5-5'], items('one'), {
    path: BATCHES,
    headers: { 'sluice-simulate': `batch-ms=${30 * 3_600_000}` },
    check: async ({ body }) => {
      const path = `${BATCHES}/${body.id}`;
      const hours = 3_600_000;
      const begun = now;
      expect((await ask('', {}, { path, method: 'DELETE' })).status).toBe(400);
      now = begun + 25 * hours;
      expect((await ask('', {}, { path: `${path}/results`, method: 'GET' })).text).toMatch(
        /"type":"(errored|expired)"/,
      );
      now = begun + 30 * 24 * hours;
      expect((await ask('', {}, { path: `${path}/results`, method: 'GET' })).status).toBe(404);
      now = begun;
    },
  }),
  takes(
    97,
    ['opus-5-5', 'opus-5', ...C, ...D, 'sonnet-5-5', 'sonnet-5', 'haiku-5-5'],
    { max_tokens: 300_000 },
    { headers: beta('output-300k-2026-03-24'), inBatch: true },
  ),
  refuses(97, ['haiku-5-5'], { max_tokens: 300_001 }, { headers: beta('output-300k-2026-03-24'), inBatch: true }),
  refuses(97, ['haiku-5-5'], { max_tokens: 300_000 }, { headers: beta('output-300k-2026-03-24') }),
  refuses(97, ['fable-5-2', ...E], { max_tokens: 300_000 }, { headers: beta('output-300k-2026-03-24'), inBatch: true }),
  takes(98, without(ALL, 'haiku-4-5-20251001'), async (model) => {
    const tools = [{ type: 'web_search_20250305', name: 'web_search' }];
    const messages = [user(says('Search the web for the news of today.'))];
    const { body } = await ask(model, { tools, messages });
    const end = body.content.findLastIndex(({ type }) => type === 'web_search_tool_result');
    expect(end).toBeGreaterThan(0);
    return { tools, messages: [...messages, { role: 'assistant', content: body.content.slice(0, end + 1) }] };
  }),
  takes(99, ALL, on, { path: COUNT, check: ({ body }) => expect(Object.keys(body)).toEqual(['input_tokens']) }),
  refuses(99, A, off('disabled'), { path: COUNT, says: notSupported('disabled') }),
  refuses(
    99,
    E,
    { thinking: { type: 'adaptive' } },
    { path: COUNT, says: 'adaptive thinking is not supported on this model' },
  ),
  refuses(99, ['haiku-5-5'], off('disabled', 'max'), { path: COUNT, says: TOO_HIGH('max') }),
  takes(
    99,
    without(ALL, 'mythos-5-1'),
    async (model) => ({
      ...on(model),
      ...(await talk(model, {}, LONG)),
    }),
    { path: COUNT, check: ({ body }) => expect(Number(body.input_tokens)).toBeLessThan(900) },
  ),
];

const account = (name: string) => ({ 'sluice-simulate': `account=${name}` });
const HELD = ['/v1/messages', COUNT, BATCHES, '/v1/files'];
const ERRORS: readonly Row[] = [
  ...(
    [
      ['/v1/messages', 32],
      [COUNT, 32],
      [BATCHES, 256],
      ['/v1/files', 500],
    ] as const
  ).map(([path, megabytes]) =>
    refuses(101, ['haiku-5-5'], '{}', {
      is: 413,
      path,
      headers: {
        'content-length': String(megabytes * 1_048_576 + 1),
        ...(path === '/v1/files' && { 'content-type': 'multipart/form-data; boundary=b' }),
      },
    }),
  ),
  refuses(
    104,
    ['haiku-5-5'],
    {},
    { headers: account('limit'), says: 'You have reached your specified API usage limits' },
  ),
  refuses(
    104,
    ['haiku-5-5'],
    {},
    { headers: account('workspace-limit'), says: 'specified workspace API usage limits' },
  ),
  refuses(
    105,
    ['haiku-5-5'],
    {},
    { headers: account('credit'), says: 'Your credit balance is too low to access the Anthropic API' },
  ),
  ...HELD.map((path) =>
    refuses(
      106,
      ['haiku-5-5'],
      {},
      {
        path,
        headers: account('on-hold'),
        says: 'This organization has been disabled.',
        check: ({ body }: Answer) =>
          expect(body.error).toMatchObject({
            details: { error_code: 'organization_on_hold', appeal_url: expect.stringContaining('https://') },
          }),
      },
    ),
  ),
  refuses(106, ['haiku-5-5'], '', {
    path: '/v1/models',
    method: 'GET',
    headers: account('on-hold'),
    says: 'This organization has been disabled.',
  }),
];

const LISTED: readonly Row[] = [
  takes(113, ALL, '', {
    path: '/v1/models?limit=100',
    method: 'GET',
    check: ({ body }, model) => {
      const row = (body.data as Json[]).find(({ id }) => id === `claude-${model}`);
      const { line, display_name, max_input_tokens, max_tokens } =
        MODELS.find(({ id }) => id === `claude-${model}`) ?? {};
      expect(row).toMatchObject({
        type: 'model',
        line,
        display_name,
        max_input_tokens,
        max_tokens,
        created_at: expect.any(String),
      });
      const isLeaving = ['opus-4-5-20251101', 'sonnet-4-5-20250929'].includes(model);
      expect(row?.lifecycle).toBe(isLeaving ? 'deprecated' : 'active');
      expect(row?.retires_at === null).toBe(!isLeaving);
      expect(row).toHaveProperty('deprecated_at');
    },
  }),
  takes(113, ['haiku-5-5'], '', {
    path: '/v1/models?lifecycle=deprecated',
    method: 'GET',
    check: ({ body }) =>
      expect((body.data as Json[]).map(({ id }) => id).sort()).toEqual([
        'claude-opus-4-5-20251101',
        'claude-sonnet-4-5-20250929',
      ]),
  }),
  takes(114, ALL, '', {
    path: '/v1/models?limit=100',
    method: 'GET',
    check: async ({ body }, model) => {
      const row = (body.data as Json[]).find(({ id }) => id === `claude-${model}`);
      const { thinking, effort } = Object(row?.capabilities) as { thinking: { types: Json }; effort: Json };
      const status = (await ask(model, off('disabled'))).status;
      expect(thinking.types.disabled).toEqual({ supported: status === 200 });
      for (const type of ['adaptive', 'between_tools', 'enabled']) {
        const budget = type === 'enabled' ? { budget_tokens: 2_048 } : {};
        const { status } = await ask(model, { thinking: { type, ...budget } });
        expect(thinking.types[type]).toEqual({ supported: status === 200 });
      }
      for (const level of EFFORTS) {
        const { status } = await ask(model, { output_config: { effort: level } });
        expect(effort[level]).toEqual({ supported: status === 200 });
      }
    },
  }),
  refuses(115, without(ALL, ...E), images(601)),
  takes(115, ['haiku-5-5'], images(600)),
  refuses(115, E, images(101)),
  takes(115, E, images(100)),
  ...[
    [1, 8_001, 400],
    [20, 2_001, 200],
    [21, 2_001, 400],
  ].map(([count = 0, side, is = 0]) => ({
    rule: 115,
    of: ['haiku-5-5', 'haiku-4-5-20251001'],
    asks: images(count, side),
    is,
    ...(is === 400 && {
      check: ({ body }: Answer) =>
        expect(body.error).toMatchObject({ details: { error_code: 'image_dimensions_too_large' } }),
    }),
  })),
  takes(116, ALL, images(1), async (_, model) => {
    const of = (width: number, height: number) => tokensOf(model, { messages: [user(image(width, height))] });
    const one = Number(await of(1, 1)) - 1;
    expect(Number(await of(300, 250)) - one).toBe(11 * 9);
    const isNew = [...A, ...B, ...C].includes(model);
    // The long side alone is scaled: to 2,576 and 1,568 pixels.
    expect(Number(await of(5_152, 28)) - one).toBe(isNew ? 92 : 56);
    const largest = Number(await of(4_000, 4_000)) - one;
    expect(largest).toBeLessThanOrEqual(isNew ? 4_784 : 1_568);
    expect(largest).toBeGreaterThan(isNew ? 4_600 : 1_450);
  }),
];

/** Schemas that are refused, and the words. Seen by others with Opus 5.5, 2026-09-27. */
const SCHEMAS: readonly (readonly [rule: number, schema: Json, says: string])[] = [
  ...[{}, { additionalProperties: true }, { additionalProperties: { type: 'string' } }].map(
    (more) =>
      [
        117,
        objectOf({ inner: { type: 'object', properties: {}, ...more } }),
        "For 'object' type, 'additionalProperties' must be explicitly set to false",
      ] as const,
  ),
  ...Object.entries({
    integer: { minimum: 1, maximum: 9, exclusiveMinimum: 0, exclusiveMaximum: 9, multipleOf: 2 },
    number: { minimum: 1, maximum: 9, exclusiveMinimum: 0, exclusiveMaximum: 9, multipleOf: 2 },
    string: { minLength: 1, maxLength: 9 },
    array: { maxItems: 3, uniqueItems: true, contains: { type: 'string' }, prefixItems: [{ type: 'string' }] },
    object: {
      minProperties: 1,
      patternProperties: { a: { type: 'string' } },
      propertyNames: { type: 'string' },
      dependentRequired: { a: ['b'] },
      unevaluatedProperties: false,
    },
  }).flatMap(([type, keywords]) =>
    Object.entries(keywords).map(([name, value]) => {
      const own = type === 'object' ? objectOf({}) : { type };
      const schema = objectOf({ inner: { ...own, [name]: value } });
      return [118, schema, `For '${type}' type, property '${name}' is not supported`] as const;
    }),
  ),
  [118, objectOf({ inner: { type: 'array', items: [{ type: 'string' }] } }), "For 'array' type, property 'items'"],
  [
    119,
    objectOf({ inner: { type: 'array', items: { type: 'string' }, minItems: 2 } }),
    "'minItems' values other than 0 or 1 are not supported",
  ],
  [120, objectOf({ inner: { oneOf: [{ type: 'string' }] } }), "Schema type 'oneOf' is not supported"],
  ...['not', 'if', 'then', 'else'].map(
    (name) =>
      [
        120,
        objectOf({ inner: { type: 'string', [name]: { type: 'string' } } }),
        `Schema keyword '${name}' is not supported`,
      ] as const,
  ),
  [120, objectOf({ inner: { type: 'string', anyOf: [{ type: 'string' }] } }), "For 'anyOf', 'type' is not supported"],
  [121, objectOf({ inner: {} }), 'Empty schema ({}) that accepts any JSON value is not supported'],
  [
    121,
    objectOf({ inner: { $ref: '#/$defs/a' } }, { $defs: { a: objectOf({ b: { $ref: '#/$defs/a' } }) } }),
    'Circular reference detected in schema definitions',
  ],
  [121, objectOf({ inner: { $ref: '#' } }), 'Circular reference detected in schema definitions'],
  [121, objectOf({ inner: { type: 'integer', enum: [1, 'film'] } }), "Enum value 'film' does not match declared type"],
  [121, objectOf({ inner: { type: 'string', format: 'regex' } }), 'format'],
];
const TAKEN: readonly Json[] = [
  objectOf({ inner: { type: ['string', 'null'] } }),
  objectOf({ inner: { allOf: [{ type: 'string' }, { description: 'x' }] } }),
  objectOf({ inner: { anyOf: [{ type: 'string' }, { type: 'null' }], description: 'x' } }),
  objectOf({ a: { $ref: '#/$defs/a' }, b: { $ref: '#/$defs/a' } }, { $defs: { a: objectOf({}) } }),
  objectOf({ inner: { type: 'array', items: { type: 'string', format: 'date' }, minItems: 1 } }),
  objectOf({ inner: { type: 'string', enum: ['a', 'b'], default: 'a', title: 'x' } }),
  // Members may have the names of keywords.
  objectOf({ minimum: { type: 'integer' }, properties: objectOf({}), oneOf: { type: 'string', pattern: '^a+$' } }),
];
const WRITES: readonly Row[] = [
  ...SCHEMAS.flatMap(([rule, schema, words]) => [
    refuses(rule, ['opus-5-5'], format(schema), { says: words, check: startsWith('output_config.format.schema: ') }),
    refuses(rule, ['haiku-5-5'], strictly(schema), { says: words, check: startsWith('tools.0.custom.input_schema: ') }),
    // A tool that is not strict may have any keyword of the dialect.
    words.includes("property 'items'")
      ? refuses(137, ['haiku-5-5'], { tools: [{ name: 't', input_schema: schema }] }, 'JSON Schema draft 2020-12')
      : takes(rule, ['haiku-5-5'], { tools: [{ name: 't', input_schema: schema }] }),
  ]),
  ...TAKEN.flatMap((schema) => [takes(121, ['opus-5-5'], format(schema)), takes(121, ['haiku-5-5'], strictly(schema))]),
  ...['anyOf', 'oneOf', 'allOf'].flatMap((name) =>
    [true, false].map((strict) =>
      refuses(
        122,
        ['opus-5-5', 'sonnet-5-5', 'haiku-4-5-20251001'],
        { tools: [weather, { name: 't', strict, input_schema: { type: 'object', [name]: [objectOf({})] } }] },
        'tools.1.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level',
      ),
    ),
  ),
];

/** What a beta brings: its name, what needs it, and the path that is named without it. */
const BROUGHT: readonly (readonly [name: string, asks: Json, path: string])[] = [
  ['context-management-2025-06-27', { context_management: { edits: [] } }, 'context_management'],
  ['mcp-client-2025-11-20', { mcp_servers: [] }, 'mcp_servers'],
  ['message-threads-2026-08-12', { thread: { type: 'create' } }, 'thread'],
  [
    'user-profiles-billing-2026-10-01',
    { billing_policy: { type: 'billing_policy', bill_to: 'self' } },
    'billing_policy',
  ],
  ['fallback-credit-2026-07-01', { fallback_credit_token: 'x' }, 'fallback_credit_token'],
  ['server-side-fallback-2026-07-01', { fallbacks: 'default' }, 'fallbacks'],
  ['structured-outputs-2025-11-13', { output_format: { type: 'json_schema', schema: objectOf({}) } }, 'output_format'],
  [
    'task-budgets-2026-03-13',
    { output_config: { task_budget: { type: 'tokens', total: 9 } } },
    'output_config.task_budget',
  ],
  [BINDING, { thinking: { type: 'adaptive', block_binding: {} } }, 'thinking.adaptive.block_binding'],
  ['dangerous-tool-use-2026-09-03', { safeguards: [{ type: 'dangerous_tool_use' }] }, 'safeguards'],
  [
    'mid-conversation-system-clear-at-2026-08-21',
    { messages: [QUESTION, { role: 'system', content: 'x', clear_at: 'never' }] },
    'messages.1.clear_at',
  ],
  [
    'prompt-caching-scope-2026-01-05',
    { cache_control: { type: 'ephemeral', scope: 'global' } },
    'cache_control.ephemeral.scope',
  ],
];
const BETAS: readonly Row[] = [
  ...BROUGHT.flatMap(([name, asks, path]) => [
    takes(123, ['opus-5-5'], asks, { headers: beta(name) }),
    ...[{}, beta('files-api-2025-04-14')].map((headers) =>
      refuses(123, ['opus-5-5'], asks, { headers, says: `${path}: Extra inputs are not permitted` }),
    ),
  ]),
  refuses(123, ['opus-5-5'], { inference_hooks: [] }, 'inference_hooks: Extra inputs are not permitted'),
  ...['novelty', 'novelty-2026-01-01', 'compact-2026-09-05'].map((name) =>
    refuses(
      124,
      ['opus-5-5'],
      {},
      {
        headers: beta('files-api-2025-04-14', name),
        says: `Unexpected value(s) \`${name}\` for the \`anthropic-beta\` header`,
      },
    ),
  ),
  // The list may be old: what is newer passes, with what belongs to it.
  ...['novelty-2026-10-22', 'novelty-20270101'].map((name) =>
    takes(
      124,
      ['opus-5-5'],
      { novelty: true, messages: [user({ type: 'hologram' }, says('Hi'))] },
      { headers: beta(name) },
    ),
  ),
  refuses(
    125,
    ['opus-5-5'],
    { novelty: true },
    { headers: beta('files-api-2025-04-14', BINDING), says: 'novelty: Extra inputs are not permitted' },
  ),
  refuses(
    126,
    ['opus-5-5'],
    { thread: { type: 'continue', previous_message_id: 'msg_1' } },
    {
      is: 404,
      headers: beta('message-threads-2026-08-12'),
      check: ({ body }) => expect(body.error).toMatchObject({ details: { error_code: 'thread_not_found' } }),
    },
  ),
];

const marked = (ttl: string) => ({ ...says('Why?'), cache_control: { type: 'ephemeral', ttl } });
const CACHES: readonly Row[] = ['5m', '1h'].flatMap((ttl) => [
  takes(78, ['opus-5-5'], { cache_control: { type: 'ephemeral', ttl }, messages: [user(marked(ttl))] }),
  refuses(78, ['opus-5-5'], {
    cache_control: { type: 'ephemeral', ttl: ttl === '5m' ? '1h' : '5m' },
    messages: [user(marked(ttl))],
  }),
]);

const ROWS: readonly Row[] = [
  ...WRITES,
  ...BETAS,
  ...CACHES,
  ...THINKS,
  ...ANSWERS,
  ...LIMITS,
  ...SAMPLES,
  ...COMES_BACK,
  ...SPEEDS,
  ...STOPS,
  ...COUNTED,
  ...ERRORS,
  ...LISTED,
];

const to = (from: number, last: number) => Array.from({ length: last - from + 1 }, (_, index) => from + index);
/** The rules that the simulator obeys. The others of the cache are in prompt-cache.test.ts, and some are a gateway's. */
const RULES = [...to(1, 75), 78, ...to(83, 91), ...to(94, 99), 101, ...to(104, 106), ...to(113, 126), 137];

/** Rules that have no row, wholly or in part, and why. */
const LEFT_OUT: readonly (readonly [rule: number, what: string, why: string])[] = [
  [13, 'Sonnet 5, `disabled` at xhigh and max', 'The guide says yes, a live note no. The simulator follows the guide.'],
  [22, 'rules 1 to 21 at version 2026-10-21', 'A guess, from the types of the SDK. The simulator makes no difference.'],
  [29, 'Opus 5, Sonnet 5, Opus 4.8 to 4.6', 'It is said of Haiku 5.5 alone; of the others it is a guess.'],
  [
    31,
    'an empty `thinking_delta` before the signature',
    'Older pages have none, newer ones do. The simulator sends none.',
  ],
  [
    48,
    '`top_p: 1` on others than Haiku 5.5 and Fable 5.1 and 5.2',
    'Pages contradict each other. The simulator takes it.',
  ],
  [55, 'Fable 5 and Mythos 5', 'Pages say that they take forced tools, a client says no. The simulator takes them.'],
  [62, 'models before Opus 4.7', 'A guess. The simulator refuses.'],
  [68, 'whether 5.2 reads blocks of 5.1', 'Not seen. The simulator drops them.'],
  [
    70,
    'Mythos 5.1',
    'The pages of September and of November contradict each other. The simulator treats it as Fable 5.1.',
  ],
  [71, 'Mythos 5.1', 'As rule 70.'],
  [86, 'cache factors at the fast price', 'Prices are no part of an answer.'],
  [87, 'prices times 1.1', 'Prices are no part of an answer.'],
  [
    89,
    'what of a refusal is billed',
    'Bills are no part of an answer: its usage has the tokens in any case (rule 90).',
  ],
  [91, 'which model `default` means', 'Not published for all. The simulator takes the next of its table.'],
  [94, '256 MB', 'They are in the rows of rule 101.'],
  [96, 'half price', 'Prices are no part of an answer.'],
  [124, 'a name that is newer than the list', 'The list may be old: it passes, with members that are not known.'],
  [126, 'a thread that goes on', 'The simulator keeps none. The official client then sends the whole conversation.'],
];

describe('the simulated API', () => {
  test.each(ROWS.flatMap((row) => row.of.map((model) => [row.rule, model, row] as const)))(
    'follows published rule %i of the Claude API for the model %s',
    async (_, model, row) => {
      const asked = typeof row.asks === 'function' ? await row.asks(model) : row.asks;
      const answer = await ask(model, asked, row);
      expect(answer.status, answer.text.slice(0, 2_000)).toBe(row.is);
      if (row.is >= 400) {
        const { type, message } = (row.inBatch ? (answer.body.error ?? answer.body) : answer.body.error) as Json;
        expect({ type }).toEqual({ type: ENVELOPES[row.is] });
        expect(message).toContain(row.says ?? '');
      }
      await row.check?.(answer, model);
    },
  );

  test.each(['haiku-5-5', 'sonnet-5', 'opus-5'])(
    'thinks about fewer questions and in fewer tokens at lower effort: %s',
    async (model) => {
      const low = await withoutThought(model, 'low');
      const medium = await withoutThought(model, 'medium');
      expect([low > 45 && low < 75, medium > 8 && medium < 32]).toEqual([true, true]);
      expect(await withoutThought(model, 'high')).toBe(0);
      for (const [effort, least, most] of [
        ['low', 0, 300],
        ['medium', 0, 800],
        ['high', 100, 6_000],
        ['max', 100, 6_000],
      ] as const) {
        const found: number[] = [];
        for (let index = 0; index < 120; index++) {
          const messages = [user(says(`Why is ${index} a number?`))];
          found.push(thought(await ask(model, { messages, output_config: { effort } })));
        }
        expect(Math.min(...found)).toBeGreaterThanOrEqual(least);
        expect(Math.max(...found)).toBeLessThanOrEqual(most);
        const long = found.filter((tokens) => tokens > 2_000).length;
        expect([long, effort]).toEqual(
          most === 6_000 ? [expect.toSatisfy((many: number) => many > 0 && many < 10), effort] : [0, effort],
        );
      }
    },
  );

  test('includes thinking at low and medium effort for a model that always thinks', async () => {
    for (const effort of ['low', 'medium']) expect(await withoutThought('opus-5-5', effort)).toBe(0);
  });

  test('is tested with a row for each rule, except rules with a reason for leaving them out', () => {
    const told = new Set(ROWS.map(({ rule }) => rule));
    expect(RULES.filter((rule) => !told.has(rule))).toEqual(
      LEFT_OUT.flatMap(([rule]) => (told.has(rule) ? [] : [rule])),
    );
    expect([...told].filter((rule) => !RULES.includes(rule))).toEqual([]);
    expect(LEFT_OUT.filter(([rule]) => !RULES.includes(rule))).toEqual([]);
  });
});
