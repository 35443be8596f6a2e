import { expect, test } from 'vitest';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

const LONG = 'The river is long. '.repeat(1_000);
const many = (count: number) => Array.from({ length: count }, (_, nth) => nth);
const twelve = many(12).map((nth) => weatherCall(`toolu_${nth}`, `City ${nth}`));
const { run: _, ...clientTool } = weatherTool();

/** Sends requests to an API that caches prompts. @returns how many tokens each has read from the cache, and not */
async function usagesOf(bodies: readonly AskedBody[]) {
  const simulate = createSimulator({ ttftMs: 0, tokensPerSecond: 0 });
  const usages: { read: number; other: number }[] = [];
  for (const body of bodies) {
    const response = await simulate('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': 'key', 'anthropic-version': '2023-06-01' },
      body: JSON.stringify({ ...body, stream: false }),
    });
    const { usage, error } = (await response.json()) as {
      usage?: Record<'input_tokens' | 'cache_read_input_tokens' | 'cache_creation_input_tokens', number>;
      error?: unknown;
    };
    if (!usage) throw new Error(JSON.stringify(error));
    const other = usage.input_tokens + usage.cache_creation_input_tokens;
    usages.push({ read: usage.cache_read_input_tokens, other });
  }
  return usages;
}

const CASES: [string, () => Promise<AskedBody[]>][] = [
  [
    'an answer of 24 blocks',
    async () => {
      const content = many(24).map((nth) => ({ type: 'text', text: `Part ${nth}.` }));
      const bodies = answerByScript((_, number) => (number === 1 ? { content } : textAnswer('So.')));
      await runTurn(createBody(LONG));
      await runTurn({ messages: [{ role: 'user', content: 'And then?' }] });
      return bodies;
    },
  ],
  [
    'twelve calls of its client’s tools',
    async () => {
      const bodies = answerByScript((_, number) => (number === 1 ? callsAnswer(...twelve) : textAnswer('So.')));
      await runTurn(createBody([{ type: 'text', text: LONG }], { tools: [clientTool] }));
      const content = twelve.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'sun' }));
      await runTurn({ messages: [{ role: 'user', content }] });
      return bodies;
    },
  ],
  [
    'twelve calls of a run',
    async () => {
      answerTools(() => new Response('sun'));
      const bodies = answerByScript((_, number) => (number === 1 ? callsAnswer(...twelve) : textAnswer('So.')));
      await runTurn(createBody(LONG, { tools: [weatherTool()] }));
      return bodies;
    },
  ],
];

test.each(CASES)('the history before %s is read from the cache', async (_, talk) => {
  const bodies = await talk();
  const marks = JSON.stringify(bodies[1]).split('"cache_control"').length - 1;
  expect(marks).toBe(2);
  const [first, second] = await usagesOf(bodies);
  expect(second?.read).toBe(first?.other);
});

test('a short response gets no second breakpoint, and a later turn keeps none from an earlier turn', async () => {
  const content = many(24).map((nth) => ({ type: 'text', text: `Part ${nth}.` }));
  const bodies = answerByScript((_, number) => (number === 1 ? { content } : textAnswer('So.')));
  await runTurn(createBody(LONG));
  for (const text of ['One', 'Two']) await runTurn({ messages: [{ role: 'user', content: text }] });
  const marks = bodies.map((body) => JSON.stringify(body).split('"cache_control"').length - 1);
  expect(marks).toEqual([1, 2, 1]);
  const usages = await usagesOf(bodies);
  expect(usages[2]?.read).toBe((usages[1]?.read ?? 0) + (usages[1]?.other ?? 0));
});

test('a request with the caller’s own breakpoint gets no further breakpoint', async () => {
  const content = many(24).map((nth) => ({ type: 'text', text: `Part ${nth}.` }));
  const bodies = answerByScript((_, number) => (number === 1 ? { content } : textAnswer('So.')));
  await runTurn(createBody(LONG));
  const own = { type: 'text', text: 'And then?', cache_control: { type: 'ephemeral' } };
  await runTurn({ messages: [{ role: 'user', content: [own] }] });
  expect(JSON.stringify(bodies[1]).split('"cache_control"').length - 1).toBe(1);
});
