import { runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, installSimulator, listMessages, parseResult, stubOf } from '#test/support/conversations.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { answerByScript } from '#test/support/scripted-runs.ts';
import {
  buildTurnRequest,
  createBody,
  readStream,
  runTurn,
  type StreamEvent,
  sendTurn,
  sendTurnRequest,
} from '#test/support/turns.ts';

const MODELS = ['claude-opus-5-5', 'claude-haiku-5-5'] as const;
const TOOL = { name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };
const betas = { 'anthropic-beta': 'thinking-binding-controls-2026-08-01' };
const ASKED = { thinking: { type: 'adaptive' }, tools: [TOOL], max_tokens: 2_000 };

interface Usage {
  input_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
  output_tokens: number;
  output_tokens_details: { thinking_tokens: number };
}
interface Place {
  id: string;
  account: string;
}
type Block = Record<string, unknown>;

const messageIn = (events: readonly StreamEvent[], text: string) => {
  const start = events.find(({ event }) => event === 'message_start')?.data.message;
  expect(start, text).toBeDefined();
  return start as { model: string; usage: Usage; input_transformations: unknown };
};

/**
 * A turn. Nothing of what went up may have been made elsewhere.
 *
 * @param isForeign whether it continues a tool loop of another account: then its thinking stays, and the API drops it
 */
async function turn(
  place: Place,
  content: unknown,
  model: string,
  { isForeign = false, ...more }: { isForeign?: boolean; system?: string } = {},
) {
  const { events, text } = await runTurn(createBody(content, { model, ...ASKED, ...more }), {
    ...place,
    headers: betas,
  });
  const { input_transformations, ...message } = messageIn(events, text);
  const end = events.find(({ event }) => event === 'message_delta')?.data;
  const told = input_transformations as { reason: string }[];
  expect(told.filter(({ reason }) => !isForeign || reason !== 'end_user_binding_mismatch')).toEqual([]);
  const usage = { ...message.usage, ...(end?.usage as Usage) };
  const prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  return { model: message.model, usage, prompt };
}

/** The calls that wait for results. */
async function openCalls({ id, account }: Place): Promise<string[]> {
  const last = (await listMessages(id, account)).at(-1);
  if (last?.role !== 'assistant') return [];
  return (last.content as Block[]).flatMap((block) => (block.type === 'tool_use' ? [String(block.id)] : []));
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ does: fc.constantFrom('ask', 'call'), model: fc.constantFrom(...MODELS) }) },
  fc.record({ does: fc.constant('limit'), most: fc.constantFrom(null, 300, 900) }),
  fc.record({ does: fc.constantFrom('rewind', 'fork'), at: fc.nat() }),
  fc.record({ does: fc.constantFrom('move', 'forget') }),
) as fc.Arbitrary<{ does: string; model?: (typeof MODELS)[number]; most?: number | null; at?: number }>;

test('thinking is sent only to the model and account that produced it, after any sequence of operations', async () => {
  installSimulator({ UPSTREAM_USER_ID: 'account' });
  let loops = 0;
  let number = 0;
  await tryAsyncCases(25, fc.array(step, { minLength: 4, maxLength: 10 }), async (steps) => {
    number += 1;
    let place: Place = { id: `c${number}`, account: 'alice' };
    let isForeign = false;
    const next = async (model: string, does = 'ask') => {
      const calls = await openCalls(place);
      if (calls.length > 0) loops += 1;
      else isForeign = false;
      const results = calls.map((tool_use_id) => ({ type: 'tool_result', tool_use_id, content: 'Sunny.' }));
      const question = does === 'call' ? 'Tell me the weather in Bern' : 'Why?';
      await turn(place, calls.length > 0 ? results : question, model, { isForeign });
    };
    await next(MODELS[0], 'call');
    for (const { does, model, most, at = 0 } of steps) {
      const stub = stubOf(place.id, place.account);
      const rows = await listMessages(place.id, place.account);
      const { id: message = '' } = rows[at % Math.max(1, rows.length)] ?? {};
      if (model) await next(model, does);
      else if (does === 'limit') {
        await stub.patchConversation({ history: most ? { max_tokens: most, strategy: 'truncate' } : null });
      } else if (does === 'rewind' && rows.length > 0) expect((await stub.rewindConversation(message)).ok).toBe(true);
      else if (does === 'forget')
        await runInDurableObject(stub, (_, state) => state.abort('killed by the test')).catch(() => {});
      else if (rows.length > 0) {
        const id = `${place.id}x`;
        const account = does === 'move' ? `${place.account}x` : place.account;
        if (does === 'fork') await parseResult((await stub.forkConversation(id, message)) as never);
        else {
          const backup = await stub.backup();
          if (!backup.ok) throw new Error('no backup');
          const adopted = await stubOf(id, account).storeCopiedHistory({ id, account }, backup.value as ReadableStream);
          await parseResult(adopted as never);
          isForeign = (await openCalls(place)).length > 0;
        }
        place = { id, account };
      }
    }
    await next(MODELS[1]);
    await next(MODELS[0]);
  });
  expect(loops).toBeGreaterThan(10);
});

test('a plain turn resends all thinking, and reads the previous prompt from the cache', async () => {
  installSimulator({}, true);
  const place = { id: 'c1', account: 'alice' };
  const more = { system: 'You know all rivers. '.repeat(300) };
  let before = await turn(place, 'Why?', MODELS[0], more);
  for (const content of ['And then?', 'And why?']) {
    const next = await turn(place, content, MODELS[0], more);
    expect(before.usage.output_tokens_details.thinking_tokens).toBeGreaterThan(5);
    expect(next.prompt).toBeGreaterThan(before.prompt + before.usage.output_tokens);
    expect(next.usage.cache_read_input_tokens).toBeGreaterThanOrEqual(before.prompt - 20);
    before = next;
  }
  // Another model reads no thinking.
  const other = await turn(place, 'So?', MODELS[1], more);
  expect(other.prompt).toBeLessThan(before.prompt + before.usage.output_tokens);
});

test('a tool loop with thinking keeps its model and the beginning of its prompt', async () => {
  installSimulator({}, true);
  const place = { id: 'c1', account: 'alice' };
  await turn(place, 'Why?', MODELS[0]);
  const first = await turn(place, 'Tell me the weather in Bern', MODELS[0]);
  await stubOf().patchConversation({ history: { max_tokens: 30, strategy: 'truncate' } });
  const result = (await openCalls(place)).map((tool_use_id) => ({
    type: 'tool_result',
    tool_use_id,
    content: 'Sunny.',
  }));
  const second = await turn(place, result, MODELS[1]);
  expect(second.model).toBe(MODELS[0]);
  expect(second.prompt).toBeGreaterThan(first.prompt);
  const third = await turn(place, 'Why?', MODELS[1]);
  expect(third.model).toBe(MODELS[1]);
  expect(third.prompt).toBeLessThan(first.prompt);
});

test('a fallback model gets no thinking of the requested model, and keeps the tool loop that it began', async () => {
  const thinking = { type: 'thinking', thinking: 'Hm.', signature: 'by-the-first' };
  const call = { type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} };
  const bodies = answerByScript((_, number) =>
    number === 2
      ? { content: [thinking, call], stop_reason: 'tool_use' }
      : { content: [thinking, { type: 'text', text: 'So.' }] },
  );
  const go = async (content: unknown, fallbacks: string[]) => {
    const answer = await sendTurnRequest({
      ...buildTurnRequest(createBody(content, { tools: [TOOL] })),
      edgeOptions: { fallback_models: fallbacks },
    });
    if (answer.kind === 'stream') await readStream(answer.body);
    return answer.kind;
  };
  await go('One', []);
  // What is left pays for the cheaper one alone.
  await getAccountStub(bindings, {}, 'alice').setLimits({ usd_per_day: 0.004 });
  await go('Two', [MODELS[1]]);
  expect(bodies.map(({ model }) => model)).toEqual(MODELS);
  expect(JSON.stringify(bodies[1])).toContain('So.');
  expect(JSON.stringify(bodies[1])).not.toContain('by-the-first');
  // The loop belongs to the model that has stepped in.
  const result = [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'Sunny.' }];
  await go(result, []);
  expect(bodies[2]?.model).toBe(MODELS[1]);
  expect(JSON.stringify(bodies[2]).split('by-the-first').length - 1).toBe(1);
});

test('a tool loop uses no fallback model', async () => {
  const call = { type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} };
  const bodies = answerByScript(() => ({ content: [call], stop_reason: 'tool_use' }));
  await sendTurn(createBody('One', { tools: [TOOL] }));
  await expect.poll(() => openCalls({ id: 'c1', account: 'alice' })).toEqual(['toolu_1']);
  await getAccountStub(bindings, {}, 'alice').setLimits({ usd_per_day: 0.004 });
  const result = [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'Sunny.' }];
  const answer = await sendTurnRequest({
    ...buildTurnRequest(createBody(result, { tools: [TOOL] })),
    edgeOptions: { fallback_models: [MODELS[1]] },
  });
  expect(answer.kind).toBe('error');
  expect(bodies.length).toBe(1);
});
