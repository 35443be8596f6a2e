import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { bindings, installSimulator, listMessages, readConversation } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createDyingStream, followRun, Killer } from '#test/support/killed-runs.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, textOfDeltas } from '#test/support/turns.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

/** Where an object dies: the waits of a step. Between two of them everything is stored as one. */
const POINTS = [
  'hold stands',
  'last byte sent up',
  'answer before its row',
  'before a call’s answer',
  'after a call’s answer',
  'step committed',
  'in mid-settlement',
] as const;

/** Of a fifth of them each point still gets six. */
const RUNS = caseCount(210);
const STEPS = 5;
const MOST_USD = 0.06;
/** What the API bills for a step, at the prices of claude-opus-5-5. */
const USAGE = { input_tokens: 100, output_tokens: 100 };
const STEP_USD = 100 * 4e-6 + 100 * 20e-6;

test('calls before a crash count towards the max_tool_calls of a run', async () => {
  const killer = new Killer(['step committed']);
  answerByScript((_, number) => callsAnswer(weatherCall(`toolu_${number}`, `${number}`)), {
    before: () => killer.reachPoint('step committed'),
  });
  const tools = answerTools(() => Response.json({ said: 'sun' }));
  for (const after of [1, 2, 3]) {
    killer.planKills([{ point: 'step committed', after }]);
    const body = createBody('Go on and on.', { tools: [weatherTool()], max_tool_calls: 3, max_turns: 20 });
    const before = tools.length;
    await killer.runWithKills(followRun(body, `counted${after}`));
    expect(tools.length - before).toBe(3);
  }
  expect(killer.killCounts.get('step committed')).toBe(3);
});

test.each([3, 4, 5, 6, 7])(
  'a client that resumes a run after a crash sees each block begin and end once: %i events shown',
  async (shown) => {
    const killer = new Killer(['event shown']);
    let received = '\n';
    const dieOnceShown = async () => {
      // Deltas are shown some time after they come: the client must have all events before the object dies.
      while (received.split('\nid: ').length <= shown) await yieldToEventLoop();
      await killer.reachPoint('event shown');
    };
    answerByScript((_, number) => {
      if (number > 1) return textAnswer('Done.');
      const change = (text: string) => createDyingStream(text, dieOnceShown, shown);
      return {
        content: [
          { type: 'text', text: 'One. ' },
          { type: 'text', text: 'Two. ' },
        ],
        change,
      };
    });
    killer.planKills([{ point: 'event shown', after: 0 }]);
    const decoder = new TextDecoder();
    const run = followRun(createBody('Plan my day.', { tools: [weatherTool()] }), `blocks${shown}`, (piece) => {
      received += decoder.decode(piece, { stream: true });
    });
    const { events } = await killer.runWithKills(run);
    const listBlocks = (type: string) => events.filter(({ event }) => event === type).map(({ data }) => data.index);
    const started = listBlocks('content_block_start');
    expect(started).toEqual(started.map((_, index) => index));
    expect(listBlocks('content_block_stop')).toEqual(started);
    expect(textOfDeltas(events)).toContain('Done.');
    expect(killer.killCounts.get('event shown')).toBe(1);
  },
);

test(`${RUNS} runs of ${STEPS} steps with two tools each end within max_usd under kills, and lose no data`, async () => {
  const killer = new Killer(POINTS);
  const billed = new Map<string, number>();
  const faults: string[] = [];
  const simulator = getUpstreamBySettings(installSimulator());
  /** Of the run that is looked at. */
  let conversation = '';
  answerByScript(
    (body) => {
      const fault = findBrokenRule(body.messages as never);
      if (fault !== undefined) faults.push(fault);
      billed.set(conversation, (billed.get(conversation) ?? 0) + STEP_USD);
      const step =
        body.messages.filter(({ role, content }) => role === 'user' && JSON.stringify(content).includes('tool_result'))
          .length + 1;
      const place = `${conversation}_${step}_${body.messages.length}`;
      const answer =
        step < STEPS
          ? callsAnswer(
              { type: 'text', text: `${step}. ` },
              weatherCall(`toolu_${place}_a`, `${step}a`),
              weatherCall(`toolu_${place}_b`, `${step}b`, 'book'),
            )
          : textAnswer('Done.');
      return {
        ...answer,
        usage: USAGE,
        change: (text) => createDyingStream(text, () => killer.reachPoint('answer before its row')),
      };
    },
    { before: () => killer.reachPoint('step committed'), after: () => killer.reachPoint('last byte sent up') },
  );
  const { admitJson, settleJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...request) {
    const answer = await admitJson.apply(this, request);
    await killer.reachPoint('hold stands');
    return answer;
  });
  vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (this: Account, ...settlement) {
    const answer = settleJson.apply(this, settlement);
    // As a call it is awaited, whatever it returns.
    return killer.reachPoint('in mid-settlement').then(() => answer) as never;
  });
  const tools = answerTools(async ({ body }, number) => {
    await killer.reachPoint('before a call’s answer');
    if (number % 97 === 0) await new Promise(() => {});
    if (number % 7 === 0) throw new TypeError('connection refused');
    if (number % 5 === 0) await yieldToEventLoop(10);
    await killer.reachPoint('after a call’s answer');
    return number % 11 === 0 ? new Response('busy', { status: 503 }) : Response.json({ said: body.input });
  });

  const kill = fc.record({ point: fc.constantFrom(...POINTS), after: fc.integer({ min: 0, max: 4 }) });
  let number = 0;
  let done = 0;
  await tryAsyncCases({ numRuns: RUNS, endOnFailure: true }, fc.array(kill, { maxLength: 3 }), async (kills) => {
    number += 1;
    conversation = `run${number}`;
    const sure = { point: POINTS[number % POINTS.length] ?? POINTS[0], after: number % 3 };
    killer.planKills([sure, ...kills]);
    const body = createBody('Plan my day.', {
      tools: [
        weatherTool({ timeout_seconds: 1 }, 'get_weather'),
        weatherTool({ once: true, timeout_seconds: 1 }, 'book'),
      ],
      max_usd: MOST_USD,
      max_tokens: 300,
      max_turns: 20,
    });
    const { events, failed } = await killer.runWithKills(followRun(body, conversation));
    killer.planKills([]);

    expect(events.at(-1)?.event).toBe('message_stop');
    // What died is settled from above. Where that leaves too little of max_usd for a step, the run pauses.
    const { delta } = events.findLast(({ event }) => event === 'message_delta')?.data ?? {};
    const isDone = (delta as { stop_reason: string }).stop_reason === 'end_turn';
    if (isDone) done += 1;
    if (isDone) expect(textOfDeltas(events)).toContain('Done.');
    const ids = events.flatMap((event) => event.id ?? []);
    expect(new Set(ids).size).toBe(ids.length);
    const numbers = ids.map((id) => Number(id.split('-').at(-1)));
    expect(numbers).toEqual([...numbers].sort((one, other) => one - other));
    const starts = events.filter(({ event }) => event === 'content_block_start').map(({ data }) => data.index);
    expect(starts).toEqual(starts.map((_, index) => index));
    const blocks = events.flatMap(({ data: { content_block } }) =>
      content_block ? [content_block as JsonObject] : [],
    );
    const idsOf = (type: string, name: string) =>
      blocks.filter((block) => block.type === type).map((block) => String(block[name]));
    // Each call that was shown has its result once, also one that was lost with its step.
    expect(idsOf('mcp_tool_result', 'tool_use_id').toSorted()).toEqual(idsOf('mcp_tool_use', 'id').toSorted());

    expect(faults).toEqual([]);
    // What one has lost may leave too little of max_usd for a step: then it fails, and another run begins with all of it.
    const most = MOST_USD * (1 + failed);
    expect(billed.get(conversation) ?? 0).toBeLessThanOrEqual(most);
    const messages = (await listMessages(conversation)).map(({ role, content }) => ({ role, content }));
    expect(findBrokenRule(messages as never)).toBeUndefined();
    const question = { type: 'text', text: 'And?' };
    const counted = await simulator.fetch('https://api.anthropic.com/v1/messages/count_tokens', {
      method: 'POST',
      headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'claude-opus-5-5',
        messages: [...messages, { role: 'user', content: [...resultsOf(messages.at(-1)), question] }],
        tools: [
          { name: 'get_weather', input_schema: { type: 'object' } },
          { name: 'book', input_schema: { type: 'object' } },
        ],
      }),
    });
    expect(await counted.json()).toHaveProperty('input_tokens');

    const own = tools.filter(({ body: sent }) => sent.conversation === conversation);
    const byId = new Map<string, JsonObject[]>();
    for (const { headers, body: sent } of own) {
      const id = String(headers.get('webhook-id'));
      expect(id.endsWith(String(sent.tool_use_id))).toBe(true);
      byId.set(id, [...(byId.get(id) ?? []), sent]);
    }
    expect(new Set(own.map(({ body: sent }) => sent.tool_use_id)).size).toBe(byId.size);
    for (const sent of byId.values()) if (sent[0]?.name === 'book') expect(sent).toHaveLength(1);
    expect(await readConversation(conversation)).toMatchObject({ state: 'idle', turns: 1, messages: messages.length });
    await eventually(async () => {
      // What it was booked at is never less than what was billed, and never more than was allowed.
      const { data } = await getAccountStub(bindings, {}, 'alice').getUsageReport({ group_by: 'conversation' });
      const booked = data.find(({ key }) => key === conversation)?.cost_usd ?? 0;
      expect(booked).toBeGreaterThanOrEqual((billed.get(conversation) ?? 0) - 1e-9);
      expect(booked).toBeLessThanOrEqual(most);
      const { cost_usd = 0 } = (await readConversation(conversation)) ?? {};
      if (failed === 0) expect(cost_usd).toBeCloseTo(booked, 9);
    });
  });
  // biome-ignore lint/suspicious/noConsole: where it died is what one wants to know of this test.
  console.log(Object.fromEntries(killer.killCounts));
  expect(done).toBeGreaterThan(0.7 * RUNS);
  for (const times of killer.killCounts.values()) expect(times).toBeGreaterThanOrEqual(5);
  const account = getAccountStub(bindings, {}, 'alice');
  await eventually(async () => expect((await account.getQuotaReport()).running_requests).toBe(0));
}, 600_000);

/** @returns results for the calls of a run that has paused: they go up with its next message */
function resultsOf(last: { role: string; content: unknown } | undefined): JsonObject[] {
  const blocks = last?.role === 'assistant' ? (last.content as JsonObject[]) : [];
  return blocks.flatMap(({ type, id }) =>
    type === 'tool_use' ? [{ type: 'tool_result', tool_use_id: id, content: 'sun' }] : [],
  );
}
