/** Calls that the API would not take back are mended, or left out of what goes up. The checker of the API refuses the others. */
import { describe, expect, test } from 'vitest';
import { repairCallsInMessages, repairToolName } from '#edge/conversations/history/repaired-calls.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { listMessages, stubOf } from '#test/support/conversations.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  type ScriptedAnswer,
  textAnswer,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn, type StreamEvent, sendTurn } from '#test/support/turns.ts';

const { run: _, ...own } = weatherTool();
const use = (more: object = {}): JsonObject => ({
  type: 'tool_use',
  id: 'toolu_1',
  name: 'get_weather',
  input: {},
  ...more,
});
const result = (id: unknown, content = 'sun') => ({ type: 'tool_result', tool_use_id: id, content });
const shown = (events: readonly StreamEvent[]) =>
  events.flatMap(({ event, data }) => (event === 'content_block_start' ? [data.content_block as JsonObject] : []));
const question = { role: 'user', content: 'How is the weather?' };

/** Has a call answered by its client, who has seen it whole or as a stream. @returns what was shown, and what went up */
async function answered(script: ScriptedAnswer, isWhole: boolean) {
  const bodies = answerByScript((_, number) => (number === 1 ? script : textAnswer('Sun.')));
  let blocks: JsonObject[];
  if (isWhole) {
    const answer = await sendTurn(createBody(question.content, { tools: [own] }), { stream: false });
    if (answer.kind !== 'response') throw new Error(answer.kind);
    blocks = (JSON.parse(answer.body as string) as { content: JsonObject[] }).content;
  } else blocks = shown((await runTurn(createBody(question.content, { tools: [own] }))).events);
  const uses = blocks.filter(({ type }) => type === 'tool_use');
  const results = uses.map(({ id }) => result(id));
  return { bodies, blocks, uses, results };
}

describe.each([
  ['a stream', false],
  ['a whole answer', true],
])('repair of calls in %s', (_, isWhole) => {
  test.each([
    ['a name with other characters', use({ name: 'get weather<|x|>' }), { name: 'get_weather__x__', id: 'toolu_1' }],
    ['a name that is too long', use({ name: 'n'.repeat(300) }), { name: 'n'.repeat(200), id: 'toolu_1' }],
    ['no name', use({ name: '' }), { name: 'tool', id: 'toolu_1' }],
    ['an id with other characters', use({ id: 'call:1' }), { id: expect.stringMatching(/^toolu_[\w-]+$/) }],
    ['an input that is no object', use({ input: 'Bern' }), { id: 'toolu_1' }],
  ])('shows a call with %s in a form that its client can answer', async (_, block, expected) => {
    const { bodies, uses, results } = await answered(callsAnswer(block), isWhole);
    expect(uses).toMatchObject([expected]);
    await runTurn(createBody(results));
    const resent = [question, { role: 'assistant', content: uses }, { role: 'user', content: results }];
    const more = [...resent, { role: 'assistant', content: 'Sun.' }, { role: 'user', content: 'Thanks' }];
    await runTurn({ ...createBody(''), messages: more });
    expect(bodies).toHaveLength(3);
    expect(bodies[2]?.messages).toHaveLength(5);
  });

  test('gives two calls with the same id in a response different ids', async () => {
    const { bodies, uses, results } = await answered(callsAnswer(use(), use()), isWhole);
    expect(new Set(uses.map(({ id }) => id)).size).toBe(2);
    await runTurn(createBody(results));
    expect(bodies).toHaveLength(2);
  });

  test('gives each call a separate id if all calls have the same index', async () => {
    const change = (text: string) => text.replaceAll('"index":1', '"index":0');
    const { bodies, uses, results } = await answered(
      { ...callsAnswer(use({ id: '' }), use({ id: '' })), change },
      isWhole,
    );
    expect(new Set(uses.map(({ id }) => id)).size).toBe(2);
    await runTurn(createBody(results));
    expect(bodies).toHaveLength(2);
  });

  test('shows a repaired call before a signed block, but omits both from the request and sends the result as text', async () => {
    const signed = { type: 'thinking', thinking: 'Hm.', signature: 'sig' };
    const script = callsAnswer(use({ id: 'toolu_0' }), use({ name: 'get weather' }), signed, {
      type: 'text',
      text: 'So.',
    });
    const { bodies, uses, results } = await answered(script, isWhole);
    expect(uses).toHaveLength(2);
    const resent = [question, { role: 'assistant', content: [...uses, { type: 'text', text: 'So.' }] }];
    await runTurn({ ...createBody(''), messages: [...resent, { role: 'user', content: results }] });
    expect(bodies[1]?.messages.slice(1)).toEqual([
      { role: 'assistant', content: [use({ id: 'toolu_0' }), { type: 'text', text: 'So.' }] },
      {
        role: 'user',
        content: [
          result('toolu_0'),
          { type: 'text', text: expect.stringContaining('Its tool was called') },
          { type: 'text', text: 'sun' },
        ],
      },
    ]);
  });
});

test('an input that is not an object is stored as the field `input` of an object', async () => {
  const { bodies, results } = await answered(callsAnswer(use({ input: ['Bern'] })), false);
  await runTurn(createBody(results));
  expect(bodies[1]?.messages[1]?.content).toEqual([use({ input: { input: ['Bern'] } })]);
});

test('a run calls its tools with repaired ids', async () => {
  const bodies = answerByScript((_, number) => (number < 3 ? callsAnswer(use({ id: 'call:1' })) : textAnswer('Sun.')));
  const called = answerTools(() => new Response('sun'));
  await runTurn(createBody(question.content, { tools: [weatherTool()] }));
  expect(bodies).toHaveLength(3);
  expect(new Set(called.map(({ body }) => body.tool_use_id)).size).toBe(2);
});

test('calls in the history of a first turn are repaired, and recognized when the history is resent', async () => {
  const bodies = answerByScript(() => textAnswer('Sun.'));
  const odd = use({ id: 'call:1', name: 'get weather', input: 'Bern' });
  const round = [question, { role: 'assistant', content: [odd] }, { role: 'user', content: [result('call:1')] }];
  const twice = [
    ...round,
    { role: 'assistant', content: [odd] },
    { role: 'user', content: [result('call:1', 'rain')] },
  ];
  await runTurn({ ...createBody('', { tools: [own] }), messages: twice });
  const more = [...twice, { role: 'assistant', content: 'Sun.' }, { role: 'user', content: 'Thanks' }];
  await runTurn({ ...createBody(''), messages: more });
  expect(bodies.map(({ messages }) => messages.length)).toEqual([5, 7]);
  expect(await stubOf().forkConversation('c2', undefined)).toMatchObject({ ok: true });
  await runTurn(createBody('And?'), { id: 'c2' });
  expect(bodies).toHaveLength(3);
});

test('calls that the API accepts stay unchanged, byte for byte', () => {
  const texts = [`{"role": "assistant", "content": [${JSON.stringify(use())}]}`, '{"role":"user","content":"tool_"}'];
  expect(repairCallsInMessages(texts)).toEqual(texts);
  expect(repairToolName('get_weather-2')).toBe('get_weather-2');
});

describe('tool results after text', () => {
  const text = { type: 'text', text: 'Here you are.' };
  const uses = [use({ id: 'toolu_1' }), use({ id: 'toolu_2' })];
  const results = [result('toolu_1'), result('toolu_2', 'rain')];
  const mixed = [text, results[1], results[0]];
  const inOrder = [...results, text];

  test('are sent and stored first, in the order of their calls, and recognized when the history is resent', async () => {
    const bodies = answerByScript((_, number) => (number === 1 ? callsAnswer(...uses) : textAnswer('Sun.')));
    await runTurn(createBody(question.content, { tools: [own] }));
    expect((await runTurn(createBody(mixed))).events.at(-1)?.event).toBe('message_stop');
    expect(bodies[1]?.messages.at(-1)).toEqual({ role: 'user', content: inOrder });
    expect((await listMessages()).map(({ content }) => content)).toContainEqual(inOrder);
    const resent = [
      question,
      { role: 'assistant', content: uses },
      { role: 'user', content: mixed },
      { role: 'assistant', content: 'Sun.' },
      { role: 'user', content: 'Thanks' },
    ];
    await runTurn({ ...createBody(''), messages: resent });
    expect(bodies.map(({ messages }) => messages.length)).toEqual([1, 3, 5]);
  });

  test('come first in an imported history', () => {
    const texts = [
      { role: 'assistant', content: uses },
      { role: 'user', content: mixed },
    ].map((one) => JSON.stringify(one));
    const [answer, message = ''] = repairCallsInMessages(texts);
    expect(answer).toBe(texts[0]);
    expect(JSON.parse(message)).toEqual({ role: 'user', content: inOrder });
  });
});
