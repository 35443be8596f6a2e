import { describe, expect, test, vi } from 'vitest';
import type { VerifiedToken } from '#edge/auth/identity/caller.ts';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import {
  bindings,
  installSimulator,
  listMessages,
  readConversation,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import {
  buildTurnRequest,
  createBody,
  readStream,
  runTurn,
  sendTurnRequest,
  textOfDeltas,
} from '#test/support/turns.ts';
import { createErrorResponse, sseResponse } from '#test/support/wire.ts';

const account = () => getAccountStub(bindings, {}, 'alice');
const asked = (more: object = {}) => createBody('How is the weather?', { tools: [weatherTool()], ...more });
const reasonOf = (text: string) => /: sluice-paused=(\w+)/.exec(text)?.[1];

/** @returns a token as it was verified, which expires in so many seconds */
function tokenOf(jti: string, seconds = 60): VerifiedToken {
  const now = Math.floor(Date.now() / 1_000);
  const times = { issued_at: now - 60, expires_at: now + seconds };
  return { jti, ...times, scopes: ['messages'], label: undefined, issuer: 'edge' };
}

/** A run as `request` says it. @returns what its client gets */
async function runOf(request: TurnRequest) {
  const answer = await sendTurnRequest(request);
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
  return { headers: answer.headers, ...(await readStream(answer.body)) };
}

describe('a run', () => {
  test('whose token is revoked while a tool is called pauses before the next step', async () => {
    const bodies = answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
    answerTools(async () => {
      await account().revokeToken('lost');
      return new Response('sun');
    });
    const request = buildTurnRequest(asked());
    const { text } = await runOf({ ...request, caller: { ...request.caller, token: tokenOf('lost') } });
    expect(reasonOf(text)).toBe('revoked');
    expect(bodies).toHaveLength(1);
    // What the tool has given is not lost for who may go on.
    await waitUntilAtRest();
    const { text: next } = await runTurn(createBody('Go on.', { tools: [weatherTool()], max_turns: 1 }));
    expect(reasonOf(next)).toBe('max_turns');
    expect(JSON.stringify(bodies[1]?.messages.at(-1))).toContain('sun');
  });

  test('continues after its token has expired', async () => {
    answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
    answerTools(() => new Response('sun'));
    const request = buildTurnRequest(asked());
    const { events } = await runOf({ ...request, caller: { ...request.caller, token: tokenOf('short', -1) } });
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(textOfDeltas(events)).toBe('Sun.');
  });

  test('pauses when its account’s budget is spent between two steps, and continues with a larger budget', async () => {
    const bodies = answerByScript((_, number) =>
      number === 2
        ? textAnswer('Sun.')
        : { ...callsAnswer(weatherCall('toolu_1', 'Bern')), usage: { input_tokens: 100, output_tokens: 200 } },
    );
    answerTools(async () => {
      await account().setLimits({ usd_per_day: 0.004 });
      return new Response('sun');
    });
    const { text } = await runTurn(asked());
    expect(reasonOf(text)).toBe('budget');
    expect(bodies).toHaveLength(1);
    await waitUntilAtRest();
    expect(await readConversation()).toMatchObject({ state: 'idle', paused: 'budget' });
    await account().setLimits(null);
    const { events } = await runTurn(createBody('Go on.', { tools: [weatherTool()] }));
    await waitUntilAtRest();
    expect(await readConversation()).toMatchObject({ paused: null });
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(JSON.stringify(bodies[1]?.messages.at(-1))).toContain('sun');
  });

  test('aborts a tool call, and begins no further step, after its max_seconds', async () => {
    const bodies = answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
    const tools = answerTools(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const began = Date.now();
    const { text, events } = await runTurn(asked({ max_seconds: 1 }));
    expect(reasonOf(text)).toBe('max_seconds');
    expect(Date.now() - began).toBeGreaterThanOrEqual(900);
    expect(tools[0]?.signal.aborted).toBe(true);
    expect(bodies).toHaveLength(1);
    const results = events.filter(({ data }) => (data.content_block as { type?: string })?.type === 'mcp_tool_result');
    expect(results).toHaveLength(1);
    expect(results[0]?.data.content_block).toMatchObject({ is_error: true });
  });

  test('reports calls beyond max_tool_calls as not made, and makes them when the model requests them again', async () => {
    const bodies = answerByScript((_, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo'));
      return number === 2 ? callsAnswer(weatherCall('toolu_3', 'Oslo')) : textAnswer('Sun.');
    });
    const tools = answerTools(() => new Response('sun'));
    const { text } = await runTurn(asked({ max_tool_calls: 1 }));
    expect(reasonOf(text)).toBe('max_tool_calls');
    expect(tools.map(({ body }) => body.tool_use_id)).toEqual(['toolu_1']);
    const { events } = await runTurn(createBody('Go on.', { tools: [weatherTool()], max_tool_calls: 1 }));
    expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
      { tool_use_id: 'toolu_1', content: 'sun' },
      { tool_use_id: 'toolu_2', content: expect.stringContaining('not called'), is_error: true },
      { text: 'Go on.' },
    ]);
    expect(tools.map(({ body }) => body.tool_use_id)).toEqual(['toolu_1', 'toolu_3']);
    expect(textOfDeltas(events)).toBe('Sun.');
  });
});

const overloaded = () => createErrorResponse(529, 'overloaded_error');

describe('an upstream that stays busy', () => {
  const RETRIES = { vars: { UPSTREAM_MAX_RETRIES: '2' } };
  const later = (number: number, busy: () => Response) =>
    number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : number < 9 ? busy() : textAnswer('Sun.');

  test('gets three attempts of a later step, even for a retrying client, before the run pauses', async () => {
    const bodies = answerByScript((_, number) => later(number, overloaded), RETRIES);
    answerTools(() => new Response('sun'));
    // A client that repeats by itself cannot repeat a later step.
    const { events, text } = await runTurn(asked(), { headers: { 'x-stainless-retry-count': '0' } });
    expect(bodies).toHaveLength(4);
    expect(reasonOf(text)).toBe('upstream');
    expect(events.at(-2)?.data).toMatchObject({ delta: { stop_reason: 'pause_turn' } });
    await waitUntilAtRest();
    // What the tool has given goes up with what is said next.
    const next = answerByScript(() => textAnswer('Sun.'));
    await runTurn(createBody('Go on.'));
    expect(JSON.stringify(next[0]?.messages)).toContain('"content":"sun"');
  });

  test('gets the next attempt after its retry-after, or none if that is too late', async () => {
    const wait = (seconds: number) => () =>
      Response.json(
        { type: 'error', error: { type: 'rate_limit_error', message: 'Later.' } },
        { status: 429, headers: { 'retry-after': String(seconds) } },
      );
    const patient = answerByScript((_, number) => (number > 2 ? textAnswer('Sun.') : later(number, wait(50))), RETRIES);
    answerTools(() => new Response('sun'));
    expect(textOfDeltas((await runTurn(asked())).events)).toBe('Sun.');
    expect(patient).toHaveLength(3);
    const bodies = answerByScript((_, number) => later(number, wait(3_000)), RETRIES);
    expect(reasonOf((await runTurn(asked(), { id: 'c2' })).text)).toBe('upstream');
    expect(bodies).toHaveLength(2);
    // Before anything was said the refusal is the answer, with its time.
    const refused = answerByScript(wait(3_000), RETRIES);
    const answer = await sendTurnRequest(buildTurnRequest(asked(), { id: 'c3' }));
    expect(JSON.stringify(answer)).toContain('"retry-after":"3000"');
    expect(answer).toMatchObject({ status: 429 });
    expect(refused).toHaveLength(1);
  });
});

describe('a fallback model', () => {
  test('does not replace the model between two steps, even if the budget covers only the fallback', async () => {
    const bodies = answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
    answerTools(async () => {
      await account().setLimits({ usd_per_day: 0.0045 });
      return new Response('sun');
    });
    const { text } = await runOf({
      ...buildTurnRequest(asked()),
      edgeOptions: { fallback_models: ['claude-haiku-5-5'] },
    });
    expect(reasonOf(text)).toBe('budget');
    expect(bodies.map(({ model }) => model)).toEqual(['claude-opus-5-5']);
  });

  test('that is used for the first step is used for all steps', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'),
    );
    // It pays for a step of the cheaper one alone.
    await account().setLimits({ usd_per_day: 0.004 });
    answerTools(() => new Response('sun'));
    const { events, headers } = await runOf({
      ...buildTurnRequest(asked()),
      edgeOptions: { fallback_models: ['claude-haiku-5-5'] },
    });
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(headers).toMatchObject({ 'sluice-fallback-from': 'claude-opus-5-5' });
    expect(bodies.map(({ model }) => model)).toEqual(['claude-haiku-5-5', 'claude-haiku-5-5']);
  });
});

test('a step whose upstream fails is sent to the next upstream, and the run remains one message', async () => {
  const list = ['one', 'two'].map((name) => ({ name, kind: 'anthropic', base_url: `https://${name}.example.com` }));
  const settings = installSimulator({
    UPSTREAM: 'anthropic',
    UPSTREAMS: JSON.stringify(list),
    UPSTREAM_ONE_KEY: 'one',
    UPSTREAM_TWO_KEY: 'two',
    ...TOOL_VARS,
  });
  const asks: string[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    const { host } = new URL(request.url);
    if (host === 'tools.example.com') return new Response('sun');
    asks.push(host);
    if (asks.length === 2) return overloaded();
    const content = asks.length === 1 ? [weatherCall('toolu_1', 'Bern')] : [{ type: 'text', text: 'Sun.' }];
    const ends = {
      stop_reason: asks.length === 1 ? 'tool_use' : 'end_turn',
      usage: { input_tokens: 9, output_tokens: 9 },
    };
    const message = { id: `msg_${asks.length}`, type: 'message', role: 'assistant', model: 'claude-opus-5-5' };
    return sseResponse(createMessageEventStream({ ...message, content, ...ends }));
  });
  vi.spyOn(Conversation.prototype as unknown as { upstream(): unknown }, 'upstream').mockReturnValue(
    getUpstreamBySettings(settings, (url, init) => fetch(url, init)),
  );
  const { events, isWhole: whole } = await runOf(buildTurnRequest(asked()));
  expect(whole).toBe(true);
  const [first, second] = asks;
  expect(second).toBe(first);
  expect(asks).toHaveLength(3);
  expect(asks[2]).not.toBe(first);
  expect(textOfDeltas(events)).toBe('Sun.');
  expect(events.filter(({ event }) => event === 'message_start')).toHaveLength(1);
  await waitUntilAtRest();
  expect((await listMessages()).map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  expect(await readConversation()).toMatchObject({ turns: 1 });
});

test('the results of one step share a size limit, and an omitted result is an error', async () => {
  const names = ['Bern', 'Oslo', 'Rome', 'Lima', 'Bonn', 'Kiev'];
  const bodies = answerByScript((_, number) =>
    number === 1 ? callsAnswer(...names.map((name) => weatherCall(`toolu_${name}`, name))) : textAnswer('Big.'),
  );
  const image = new Uint8Array(3_000_000);
  image.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  answerTools(() => new Response(image, { headers: { 'content-type': 'image/png' } }));
  const { text } = await runOf(buildTurnRequest(asked({ parallel_tools: 2 })));
  expect(text).toContain('Big.');
  const results = bodies[1]?.messages.at(-1)?.content as { is_error?: boolean; content: unknown }[];
  expect(results).toHaveLength(6);
  const [missing, kept] = [results.filter(({ is_error }) => is_error), results.filter(({ is_error }) => !is_error)];
  expect(kept).toHaveLength(3);
  for (const { content } of missing) expect(content).toContain('Call this tool again by itself');
});
