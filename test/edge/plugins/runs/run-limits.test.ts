import { describe, expect, test, vi } from 'vitest';
import type { VerifiedToken } from '#edge/auth/identity/caller.ts';
import { upstreamOf } from '#edge/claude/upstream.ts';
import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { eventsOf } from '#edge/conversations/turn/message-events.ts';
import { accountStub } from '#edge/durable/stubs.ts';
import { atRest, bindings, readOf, rowsOf, simulate } from '#test/support/conversations.ts';
import { answeringBy, call, calls, says, servingTools, TOOL_VARS, weather } from '#test/support/scripted-runs.ts';
import { bodyOf, listen, requestOf, say, textOf, turnOf } from '#test/support/turns.ts';
import { refusal, sse } from '#test/support/wire.ts';

const account = () => accountStub(bindings, {}, 'alice');
const asked = (more: object = {}) => bodyOf('How is the weather?', { tools: [weather()], ...more });
const reasonOf = (text: string) => /: sluice-paused=(\w+)/.exec(text)?.[1];

/** @returns a token as it was verified, which expires in so many seconds */
function tokenOf(jti: string, seconds = 60): VerifiedToken {
  const now = Math.floor(Date.now() / 1_000);
  const times = { issued_at: now - 60, expires_at: now + seconds };
  return { jti, ...times, scopes: ['messages'], label: undefined, issuer: 'edge' };
}

/** A run as `request` says it. @returns what its client gets */
async function runOf(request: TurnRequest) {
  const answer = await turnOf(request);
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
  return { headers: answer.headers, ...(await listen(answer.body)) };
}

describe('a run', () => {
  test('whose token is revoked while a tool is called pauses before the next step', async () => {
    const bodies = answeringBy(() => calls(call('toolu_1', 'Bern')));
    servingTools(async () => {
      await account().revokeToken('lost');
      return new Response('sun');
    });
    const request = requestOf(asked());
    const { text } = await runOf({ ...request, caller: { ...request.caller, token: tokenOf('lost') } });
    expect(reasonOf(text)).toBe('revoked');
    expect(bodies).toHaveLength(1);
    // What the tool has given is not lost for who may go on.
    await atRest();
    const { text: next } = await say(bodyOf('Go on.', { tools: [weather()], max_turns: 1 }));
    expect(reasonOf(next)).toBe('max_turns');
    expect(JSON.stringify(bodies[1]?.messages.at(-1))).toContain('sun');
  });

  test('outlives the expiry of its token', async () => {
    answeringBy((_, number) => (number === 1 ? calls(call('toolu_1', 'Bern')) : says('Sun.')));
    servingTools(() => new Response('sun'));
    const request = requestOf(asked());
    const { events } = await runOf({ ...request, caller: { ...request.caller, token: tokenOf('short', -1) } });
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(textOf(events)).toBe('Sun.');
  });

  test('pauses where the budget of its account is spent between two steps, and goes on with more', async () => {
    const bodies = answeringBy((_, number) =>
      number === 2
        ? says('Sun.')
        : { ...calls(call('toolu_1', 'Bern')), usage: { input_tokens: 100, output_tokens: 200 } },
    );
    servingTools(async () => {
      await account().setLimits({ usd_per_day: 0.004 });
      return new Response('sun');
    });
    const { text } = await say(asked());
    expect(reasonOf(text)).toBe('budget');
    expect(bodies).toHaveLength(1);
    await atRest();
    await account().setLimits(null);
    const { events } = await say(bodyOf('Go on.', { tools: [weather()] }));
    expect(textOf(events)).toBe('Sun.');
    expect(JSON.stringify(bodies[1]?.messages.at(-1))).toContain('sun');
  });

  test('leaves a tool, and begins no step, after its max_seconds', async () => {
    const bodies = answeringBy(() => calls(call('toolu_1', 'Bern')));
    const tools = servingTools(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const began = Date.now();
    const { text, events } = await say(asked({ max_seconds: 1 }));
    expect(reasonOf(text)).toBe('max_seconds');
    expect(Date.now() - began).toBeGreaterThanOrEqual(900);
    expect(tools[0]?.signal.aborted).toBe(true);
    expect(bodies).toHaveLength(1);
    const results = events.filter(({ data }) => (data.content_block as { type?: string })?.type === 'mcp_tool_result');
    expect(results).toHaveLength(1);
    expect(results[0]?.data.content_block).toMatchObject({ is_error: true });
  });

  test('says of calls beyond max_tool_calls that they were not made, and has them made when the model asks again', async () => {
    const bodies = answeringBy((_, number) => {
      if (number === 1) return calls(call('toolu_1', 'Bern'), call('toolu_2', 'Oslo'));
      return number === 2 ? calls(call('toolu_3', 'Oslo')) : says('Sun.');
    });
    const tools = servingTools(() => new Response('sun'));
    const { text } = await say(asked({ max_tool_calls: 1 }));
    expect(reasonOf(text)).toBe('max_tool_calls');
    expect(tools.map(({ body }) => body.tool_use_id)).toEqual(['toolu_1']);
    const { events } = await say(bodyOf('Go on.', { tools: [weather()], max_tool_calls: 1 }));
    expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
      { tool_use_id: 'toolu_1', content: 'sun' },
      { tool_use_id: 'toolu_2', content: expect.stringContaining('not called'), is_error: true },
      { text: 'Go on.' },
    ]);
    expect(tools.map(({ body }) => body.tool_use_id)).toEqual(['toolu_1', 'toolu_3']);
    expect(textOf(events)).toBe('Sun.');
  });
});

const overloaded = () => refusal(529, 'overloaded_error');

describe('an upstream that stays busy', () => {
  const RETRIES = { vars: { UPSTREAM_MAX_RETRIES: '2' } };
  const later = (number: number, busy: () => Response) =>
    number === 1 ? calls(call('toolu_1', 'Bern')) : number < 9 ? busy() : says('Sun.');

  test('is asked three times in mid-run, whatever client waits, and then the run pauses', async () => {
    const bodies = answeringBy((_, number) => later(number, overloaded), RETRIES);
    servingTools(() => new Response('sun'));
    // A client that repeats by itself cannot repeat a later step.
    const { events, text } = await say(asked(), { headers: { 'x-stainless-retry-count': '0' } });
    expect(bodies).toHaveLength(4);
    expect(reasonOf(text)).toBe('upstream');
    expect(events.at(-2)?.data).toMatchObject({ delta: { stop_reason: 'pause_turn' } });
    await atRest();
    // What the tool has given goes up with what is said next.
    const next = answeringBy(() => says('Sun.'));
    await say(bodyOf('Go on.'));
    expect(JSON.stringify(next[0]?.messages)).toContain('"content":"sun"');
  });

  test('and says when it takes more is asked then, or not again where that is too late', async () => {
    const wait = (seconds: number) => () =>
      Response.json(
        { type: 'error', error: { type: 'rate_limit_error', message: 'Later.' } },
        { status: 429, headers: { 'retry-after': String(seconds) } },
      );
    const patient = answeringBy((_, number) => (number > 2 ? says('Sun.') : later(number, wait(50))), RETRIES);
    servingTools(() => new Response('sun'));
    expect(textOf((await say(asked())).events)).toBe('Sun.');
    expect(patient).toHaveLength(3);
    const bodies = answeringBy((_, number) => later(number, wait(3_000)), RETRIES);
    expect(reasonOf((await say(asked(), { id: 'c2' })).text)).toBe('upstream');
    expect(bodies).toHaveLength(2);
    // Before anything was said the refusal is the answer, with its time.
    const refused = answeringBy(wait(3_000), RETRIES);
    const answer = await turnOf(requestOf(asked(), { id: 'c3' }));
    expect(JSON.stringify(answer)).toContain('"retry-after":"3000"');
    expect(answer).toMatchObject({ status: 429 });
    expect(refused).toHaveLength(1);
  });
});

describe('another model', () => {
  test('does not step in between two steps, also where the budget pays for it alone', async () => {
    const bodies = answeringBy(() => calls(call('toolu_1', 'Bern')));
    servingTools(async () => {
      await account().setLimits({ usd_per_day: 0.0045 });
      return new Response('sun');
    });
    const { text } = await runOf({ ...requestOf(asked()), asked: { fallback_models: ['claude-haiku-5-5'] } });
    expect(reasonOf(text)).toBe('budget');
    expect(bodies.map(({ model }) => model)).toEqual(['claude-opus-5-5']);
  });

  test('that has stepped in for the first step answers all of them', async () => {
    const bodies = answeringBy((_, number) => (number === 1 ? calls(call('toolu_1', 'Bern')) : says('Sun.')));
    // It pays for a step of the cheaper one alone.
    await account().setLimits({ usd_per_day: 0.004 });
    servingTools(() => new Response('sun'));
    const { events, headers } = await runOf({
      ...requestOf(asked()),
      asked: { fallback_models: ['claude-haiku-5-5'] },
    });
    expect(textOf(events)).toBe('Sun.');
    expect(headers).toMatchObject({ 'sluice-fallback-from': 'claude-opus-5-5' });
    expect(bodies.map(({ model }) => model)).toEqual(['claude-haiku-5-5', 'claude-haiku-5-5']);
  });
});

test('a step whose upstream fails goes to the next one, and the run is one message all the same', async () => {
  const list = ['one', 'two'].map((name) => ({ name, kind: 'anthropic', base_url: `https://${name}.example.com` }));
  const settings = simulate({
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
    const content = asks.length === 1 ? [call('toolu_1', 'Bern')] : [{ type: 'text', text: 'Sun.' }];
    const ends = {
      stop_reason: asks.length === 1 ? 'tool_use' : 'end_turn',
      usage: { input_tokens: 9, output_tokens: 9 },
    };
    const message = { id: `msg_${asks.length}`, type: 'message', role: 'assistant', model: 'claude-opus-5-5' };
    return sse(eventsOf({ ...message, content, ...ends }));
  });
  vi.spyOn(Conversation.prototype as unknown as { upstream(): unknown }, 'upstream').mockReturnValue(
    upstreamOf(settings, (url, init) => fetch(url, init)),
  );
  const { events, whole } = await runOf(requestOf(asked()));
  expect(whole).toBe(true);
  const [first, second] = asks;
  expect(second).toBe(first);
  expect(asks).toHaveLength(3);
  expect(asks[2]).not.toBe(first);
  expect(textOf(events)).toBe('Sun.');
  expect(events.filter(({ event }) => event === 'message_start')).toHaveLength(1);
  await atRest();
  expect((await rowsOf()).map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  expect(await readOf()).toMatchObject({ turns: 1 });
});

test('the results of one step have a limit together, and the model is told which of them are missing', async () => {
  const names = ['Bern', 'Oslo', 'Rome', 'Lima', 'Bonn', 'Kiev'];
  const bodies = answeringBy((_, number) =>
    number === 1 ? calls(...names.map((name) => call(`toolu_${name}`, name))) : says('Big.'),
  );
  const image = new Uint8Array(3_000_000);
  image.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  servingTools(() => new Response(image, { headers: { 'content-type': 'image/png' } }));
  const { text } = await runOf(requestOf(asked({ parallel_tools: 2 })));
  expect(text).toContain('Big.');
  const results = bodies[1]?.messages.at(-1)?.content as { is_error?: boolean; content: unknown }[];
  expect(results).toHaveLength(6);
  const [missing, kept] = [results.filter(({ is_error }) => is_error), results.filter(({ is_error }) => !is_error)];
  expect(kept).toHaveLength(3);
  for (const { content } of missing) expect(content).toContain('Call this one again by itself');
});
