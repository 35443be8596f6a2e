import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { Conversation } from '../../src/conversations/conversation.ts';
import { createSimulator } from '../../src/toolkit/simulator.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { brokenRule } from '../support/api-rules.ts';
import { readOf, rowsOf, simulate, stubOf } from '../support/conversations.ts';
import { eventually } from '../support/eventually.ts';
import { resetAll } from '../support/reset.ts';
import { ask } from '../support/turns.ts';

afterEach(resetAll);

interface Up {
  messages: Parameters<typeof brokenRule>[0];
  max_tokens: number;
  compaction?: object;
}

const UNKNOWN = { type: 'invalid_request_error', message: 'compaction: Extra inputs are not permitted' };

/** Has conversations answered by the simulator, which is seen from outside: as an upstream with blocks or without. */
function upstreamOf({ blocks = true, vars = {} as Record<string, string> } = {}) {
  const settings = simulate(vars);
  const sent: Up[] = [];
  const simulator = createSimulator({ ttftMs: 0, tokensPerSecond: 0 });
  const upstream: Upstream = {
    baseURL: `https://${blocks ? 'with' : 'without'}-blocks.test`,
    apiKey: 'k',
    simulated: false,
    fetch: async (url, init) => {
      const text = await new Response(init.body ?? '').text();
      const body = JSON.parse(text) as Up;
      if (url.includes('count_tokens')) return await simulator(new Request(url, { ...init, body: text }));
      sent.push(body);
      const { messages } = body;
      expect(brokenRule(messages)).toBeUndefined();
      if (body.compaction && !blocks) return Response.json({ type: 'error', error: UNKNOWN }, { status: 400 });
      return await simulator(new Request(url, { ...init, body: text }));
    },
  };
  const spy = vi
    .spyOn(Conversation.prototype as unknown as { upstream(): Upstream }, 'upstream')
    .mockReturnValue(upstream);
  onTestFinished(() => spy.mockRestore());
  return { sent, settings };
}

const place = { account: 'alice', id: 'c1' };
const SUMMARIZED = { max_tokens: 1_000, strategy: 'summarize' as const };
const question = (content: string, more: object = {}) => ({ messages: [{ role: 'user', content }], ...more });
const long = (n: number) => `Remember: the number of box ${n} is ${1_000 + n}. ${'And so on, as before. '.repeat(12)}`;

async function createWith(history: object = SUMMARIZED) {
  await stubOf().create(place, { model: 'claude-opus-5-5', max_tokens: 60, history } as never, {});
}

test('above its limit a conversation goes on behind a summary of its oldest turns', async () => {
  const { sent } = upstreamOf({ blocks: false });
  await createWith();
  let truncated = 0;
  for (let turn = 0; turn < 14; turn += 1) {
    const answer = await ask(question(long(turn)));
    expect(answer.kind).toBe('stream');
    if (answer.kind !== 'stream') continue;
    if (answer.headers['sluice-history'] === 'truncated') truncated += 1;
    await new Response(answer.body).text();
  }
  const first = (body: Up) => JSON.stringify(body.messages[0]);
  expect(sent.some((body) => first(body).includes('This is a summary'))).toBe(true);
  expect(truncated).toBe(0);
  await eventually(async () => {
    const { summaries } = (await readOf()) as { summaries: { cost_usd: number; content: string; until: string }[] };
    expect(summaries.length).toBeGreaterThan(0);
    expect(summaries[0]?.cost_usd).toBeGreaterThan(0);
  });
  expect(await rowsOf()).toHaveLength(28);
});
