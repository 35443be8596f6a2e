import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import type { RpcResult, RpcText } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { turnReport } from '#edge/conversations/object/conversations-answers.schema.ts';
import { readRpcText } from '#edge/conversations/object/rpc-response.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { computeSubagentConversationId } from '#edge/plugins/runs/subagents/call-agent.ts';
import {
  listApprovals,
  listMessages,
  readConversation,
  sendDecision,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  callsAnswer,
  type ScriptedAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import {
  agentNameOf,
  createAgentTool,
  createTask,
  storeAgents,
  toolResultsOf,
  wrapOutcomes,
} from '#test/support/subagents.ts';
import { createBody, readStream, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';

const asked = (more: object = {}) => createBody('Find out.', { tools: [createAgentTool('researcher')], ...more });
const idOf = (turn: string, tool_use_id: string, conversation = 'c1') =>
  computeSubagentConversationId({ conversation, turn, tool_use_id });

/** A client's run that calls these tools once, and then says `Done.` */
const calling =
  (subagent: (body: AskedBody) => ScriptedAnswer | Response, ...tasks: JsonObject[]) =>
  (body: AskedBody): ScriptedAnswer | Response => {
    if (agentNameOf(body) !== undefined) return subagent(body);
    return toolResultsOf(body).size === 0 ? callsAnswer(...tasks) : textAnswer('Done.');
  };

/** An answer that has begun, and goes on only once the promise is kept. */
const unfinished = (until: Promise<unknown>, said = 'Slowly.'): ScriptedAnswer => ({
  ...textAnswer(said),
  change: (text) => {
    const at = text.indexOf('event: content_block_stop');
    const pieces = [text.slice(0, at), text.slice(at)];
    return new ReadableStream({
      type: 'bytes',
      async pull(controller) {
        const piece = pieces.shift();
        if (pieces.length === 0) await until;
        if (piece !== undefined) controller.enqueue(new TextEncoder().encode(piece));
        if (pieces.length === 0) controller.close();
      },
    });
  },
});

/** @returns what runs have told their subagents, each as the body of its turn */
function toldToSubagents(): JsonObject[] {
  const told: JsonObject[] = [];
  const { handleTurn: turn } = Conversation.prototype;
  vi.spyOn(Conversation.prototype, 'handleTurn').mockImplementation(function (this: Conversation, call, body) {
    if ((JSON.parse(call) as JsonObject).parent) told.push(JSON.parse(String(body)) as JsonObject);
    return turn.call(this, call, body);
  });
  return told;
}

/** Has a person approve what waits in a subagent before its run hears of it, and lets it go on. */
function approvingBeforeOutcomes(untilEnded: boolean): void {
  wrapOutcomes(async (subagent, ask) => {
    const first = await ask();
    if (!first.ok || first.value?.paused !== 'approval') return first;
    const waiting = await listApprovals(subagent);
    if (!waiting.ok) throw new TypeError('There is no conversation.');
    const { data } = JSON.parse(await readRpcText(waiting.value)) as { data: { id: string }[] };
    for (const { id } of data) {
      await sendDecision(subagent, { id, decision: 'approve', isAdmin: false, requestId: createRequestId() });
    }
    if (untilEnded) await eventually(() => expect(JSON.parse(text(subagent.read()))).toMatchObject({ state: 'idle' }));
    return await ask();
  });
}

const text = (result: RpcResult<RpcText>): string => {
  if (!result.ok) throw new TypeError(result.error.message);
  return String(result.value);
};

const resultOf = (bodies: readonly AskedBody[], id = 'toolu_1') =>
  bodies.flatMap((body) => (agentNameOf(body) === undefined ? [toolResultsOf(body).get(id)] : [])).find(Boolean);

describe('a subagent', () => {
  test('does its task in its own conversation, and its last text is the result', async () => {
    const bodies = answerByScript(
      calling(() => textAnswer('The answer is 42.'), createTask('toolu_1', 'researcher', 'What is it?')),
    );
    await storeAgents({ researcher: {} });
    const { events, turn, text } = await runTurn(asked());
    expect(textOfDeltas(events)).toBe('Done.');
    expect(resultOf(bodies)).toEqual({ type: 'tool_result', tool_use_id: 'toolu_1', content: 'The answer is 42.' });
    const id = await idOf(turn, 'toolu_1');
    expect(await readConversation(id)).toMatchObject({ state: 'idle', turns: 1, parent: 'c1', tool_use_id: 'toolu_1' });
    expect((await listMessages(id)).map(({ content }) => content)).toEqual([
      'What is it?',
      [{ type: 'text', text: 'The answer is 42.' }],
    ]);
    // The run tells what all of it has cost; its conversation has its own cost alone, as the ledger has it.
    const [own, other] = [await readConversation(), await readConversation(id)];
    const whole = Number(own?.cost_usd) + Number(other?.cost_usd);
    expect(Number(/sluice-cost-usd=(\S+)/.exec(text)?.[1])).toBeCloseTo(whole, 9);
    expect(Number(other?.cost_usd)).toBeGreaterThan(0);
  });

  test('is a tool with a required `task` for the model if the tool has no schema', async () => {
    const bodies = answerByScript(() => textAnswer('Nothing to do.'));
    await runTurn(asked());
    expect(bodies[0]?.tools).toEqual([
      expect.objectContaining({ name: 'researcher', input_schema: expect.objectContaining({ required: ['task'] }) }),
    ]);
    expect(JSON.stringify(bodies[0]?.tools)).not.toContain('"run"');
  });

  test('gets a share of its run’s remaining max_usd, and the unused part returns to the run', async () => {
    const bodies = answerByScript((body) => {
      if (agentNameOf(body) !== undefined) return textAnswer('Found.');
      const done = body.messages.filter(({ role }) => role === 'assistant').length;
      if (done === 0) return callsAnswer(createTask('toolu_1', 'researcher'), createTask('toolu_2', 'researcher'));
      return done === 1 ? callsAnswer(createTask('toolu_3', 'researcher')) : textAnswer('Done.');
    });
    await storeAgents({ researcher: {} });
    const told = toldToSubagents();
    const { events } = await runTurn(asked({ max_usd: 0.06 }));
    expect(textOfDeltas(events)).toBe('Done.');
    const step = (bodies: number) => bodies * (100 * 4e-6 + 10 * 20e-6);
    expect(told.map(({ max_usd }) => max_usd)).toEqual([
      expect.closeTo((0.06 - step(1)) / 3, 8),
      expect.closeTo((0.06 - step(1)) / 3, 8),
      expect.closeTo((0.06 - step(4)) / 2, 8),
    ]);
    expect(bodies).toHaveLength(6);
  });

  test('may call subagents, which cannot call further subagents', async () => {
    const results: unknown[] = [];
    const bodies = answerByScript((body) => {
      const agent = agentNameOf(body);
      const [result] = toolResultsOf(body).values();
      if (result) results.push([agent, result.content, result.is_error]);
      if (result) return textAnswer(`${agent ?? 'root'} has it.`);
      return callsAnswer(createTask(`toolu_${bodies.length}`, 'researcher'));
    });
    await storeAgents({ researcher: { tools: [createAgentTool('researcher')] } });
    const { events } = await runTurn(asked());
    expect(textOfDeltas(events)).toBe('root has it.');
    expect(results).toEqual([
      ['researcher', expect.stringContaining('no subagents'), true],
      ['researcher', 'researcher has it.', undefined],
      [undefined, 'researcher has it.', undefined],
    ]);
  });

  for (const [how, answer, told] of [
    [
      'fails',
      () => Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'No.' } }, { status: 400 }),
      'failed. No.',
    ],
    ['refuses', () => ({ ...textAnswer(''), content: [], stop_reason: 'refusal' }), 'refused'],
    [
      'pauses at a limit',
      ({ messages }) => callsAnswer(createTask(`toolu_${messages.length}`, 'nobody', 'The same.')),
      'paused (repeated_call)',
    ],
    [
      'is cut',
      () => ({ ...textAnswer('Half of'), stop_reason: 'max_tokens' }),
      'cut off (max_tokens). What it said:\n\nHalf of',
    ],
    ['asks for a tool that a client has', () => callsAnswer(createTask('toolu_9', 'unknown')), 'only a client'],
  ] as const satisfies readonly [string, (body: AskedBody) => ScriptedAnswer | Response, string][]) {
    test(`that ${how} gives its run an error result with the reason`, async () => {
      const bodies = answerByScript(calling(answer, createTask('toolu_1', 'researcher')));
      await storeAgents({
        researcher: { tools: [createAgentTool('nobody'), { name: 'unknown', input_schema: { type: 'object' } }] },
      });
      const { events } = await runTurn(asked());
      expect(textOfDeltas(events)).toBe('Done.');
      expect(resultOf(bodies)).toMatchObject({ is_error: true, content: expect.stringContaining(told) });
    });
  }

  test('that does not exist, or has no task, gives its run an error result', async () => {
    const bodies = answerByScript(
      calling(() => textAnswer('?'), createTask('toolu_1', 'researcher'), {
        ...createTask('toolu_2', 'researcher'),
        input: { work: 1 },
      }),
    );
    const { events } = await runTurn(asked());
    expect(textOfDeltas(events)).toBe('Done.');
    expect(resultOf(bodies)).toMatchObject({ is_error: true, content: expect.stringContaining('failed') });
    expect(resultOf(bodies, 'toolu_2')).toMatchObject({ is_error: true, content: expect.stringContaining('"task"') });
  });

  test.each([
    [2, 'Found.'],
    [9, 'The subagent has failed. Busy.'],
  ])('whose upstream is busy %i times makes three attempts', async (times, content) => {
    let tries = 0;
    const bodies = answerByScript(
      calling(
        () => {
          tries += 1;
          if (tries > times) return textAnswer('Found.');
          return Response.json(
            { type: 'error', error: { type: 'overloaded_error', message: 'Busy.' } },
            { status: 529 },
          );
        },
        createTask('toolu_1', 'researcher'),
      ),
      { vars: { UPSTREAM_MAX_RETRIES: '2' } },
    );
    await storeAgents({ researcher: {} }, { UPSTREAM_MAX_RETRIES: '2' });
    await runTurn(asked({ max_usd: 0.06 }), { headers: { 'x-stainless-retry-count': '0' } });
    expect(resultOf(bodies)).toMatchObject({ content });
    expect(tries).toBe(3);
  });

  test('that waits for approval gives its run an error result, and adds its whole max_usd to the run’s cost', async () => {
    const bodies = answerByScript((body) => {
      if (agentNameOf(body) !== undefined) return callsAnswer(weatherCall('toolu_9', 'Bern', 'book'));
      return toolResultsOf(body).size === 0 ? callsAnswer(createTask('toolu_1', 'researcher')) : textAnswer('Done.');
    });
    const book = weatherTool({ approval: 'always' }, 'book');
    await storeAgents({ researcher: { tools: [book] } }, TOOL_VARS);
    const { text } = await runTurn(asked({ max_usd: 0.06 }));
    expect(resultOf(bodies)).toMatchObject({ is_error: true, content: expect.stringContaining('approval') });
    const step = 100 * 4e-6 + 10 * 20e-6;
    // Two steps, and half of what the first one left.
    expect(Number(/sluice-cost-usd=(\S+)/.exec(text)?.[1])).toBeCloseTo(2 * step + (0.06 - step) / 2, 7);
  });

  for (const [when, hasEnded] of [
    ['has gone on since, and come to its end', true],
    ['goes on since', false],
  ] as const) {
    test(`that waited for approval when its run asked, and ${when}, adds its final or maximum cost to the run’s`, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const bodies = answerByScript((body) => {
        const isDone = toolResultsOf(body).size > 0;
        if (agentNameOf(body) === undefined)
          return isDone ? textAnswer('Done.') : callsAnswer(createTask('toolu_1', 'researcher'));
        if (!isDone) return callsAnswer(weatherCall('toolu_9', 'Bern', 'book'));
        return hasEnded ? textAnswer('It is booked.') : unfinished(promise);
      });
      answerTools(() => new Response('booked'));
      const book = weatherTool({ approval: 'always' }, 'book');
      await storeAgents({ researcher: { tools: [book] } }, TOOL_VARS);
      // A person is faster than the run: it has died meanwhile, say.
      approvingBeforeOutcomes(hasEnded);
      const { events, text, turn } = await runTurn(asked({ max_usd: 0.06 }));
      expect(textOfDeltas(events)).toBe('Done.');
      const step = 100 * 4e-6 + 10 * 20e-6;
      const cost = Number(/sluice-cost-usd=(\S+)/.exec(text)?.[1]);
      if (hasEnded) {
        expect(resultOf(bodies)).toEqual({ type: 'tool_result', tool_use_id: 'toolu_1', content: 'It is booked.' });
        expect(cost).toBeCloseTo(4 * step, 9);
      } else {
        expect(resultOf(bodies)).toMatchObject({ is_error: true, content: expect.stringContaining('approval') });
        expect(cost).toBeCloseTo(2 * step + (0.06 - step) / 2, 7);
      }
      resolve();
      const id = await idOf(turn, 'toolu_1');
      await eventually(async () => expect(await readConversation(id)).toMatchObject({ state: 'idle', turns: 2 }));
      await waitUntilAtRest();
    });
  }

  test('that is deleted before its run reads the outcome adds its maximum cost to the run’s cost', async () => {
    const bodies = answerByScript(calling(() => textAnswer('Found.'), createTask('toolu_1', 'researcher')));
    await storeAgents({ researcher: {} });
    wrapOutcomes(async (subagent, ask) => {
      const first = await ask();
      if (first.ok && first.value?.status === 'complete') await subagent.erase();
      return await ask();
    });
    const { text, events } = await runTurn(asked({ max_usd: 0.06 }));
    expect(textOfDeltas(events)).toBe('Done.');
    expect(resultOf(bodies)).toMatchObject({ is_error: true });
    const step = 100 * 4e-6 + 10 * 20e-6;
    expect(Number(/sluice-cost-usd=(\S+)/.exec(text)?.[1])).toBeCloseTo(2 * step + (0.06 - step) / 2, 7);
    expect(bodies).toHaveLength(3);
  });

  test('that is deleted while it works adds its cost so far to the run’s cost', async () => {
    const bodies = answerByScript(
      calling(() => unfinished(new Promise(() => {}), 'So far.'), createTask('toolu_1', 'researcher')),
    );
    await storeAgents({ researcher: {} });
    const answer = await sendTurn(asked({ max_usd: 0.06 }));
    if (answer.kind !== 'stream') throw new Error('no stream');
    const heard = readStream(answer.body);
    await eventually(() => expect(bodies).toHaveLength(2));
    const id = await idOf(answer.turn, 'toolu_1');
    await eventually(async () => expect(await readConversation(id)).toMatchObject({ state: 'running' }));
    await stubOf(id).erase();
    const { text } = await heard;
    expect(resultOf(bodies)).toMatchObject({ is_error: true });
    const step = 100 * 4e-6 + 10 * 20e-6;
    expect(Number(/sluice-cost-usd=(\S+)/.exec(text)?.[1])).toBeGreaterThan(2 * step + 100 * 4e-6);
    expect(bodies).toHaveLength(3);
  });

  test('is stopped with its run, and so are its own subagents', async () => {
    const reached: string[] = [];
    answerByScript((body) => {
      const agent = agentNameOf(body);
      if (agent === 'helper') {
        reached.push(agent);
        return unfinished(new Promise(() => {}));
      }
      return callsAnswer(agent === undefined ? createTask('toolu_1', 'lead') : createTask('toolu_2', 'helper'));
    });
    await storeAgents({ lead: { tools: [createAgentTool('helper')] }, helper: {} });
    const answer = await sendTurn(asked({ tools: [createAgentTool('lead')] }));
    if (answer.kind !== 'stream') throw new Error('no stream');
    const heard = readStream(answer.body);
    await eventually(() => expect(reached).toHaveLength(1));
    const id = await idOf(answer.turn, 'toolu_1');
    await stubOf().stopRunningTurn();
    expect(await readConversation()).toMatchObject({ state: 'idle' });
    expect(await readConversation(id)).toMatchObject({ state: 'idle' });
    const { text, isWhole: whole } = await heard;
    expect(whole).toBe(true);
    expect(text).toContain(': sluice-stopped');
    expect(text).toContain('"is_error":true');
    await waitUntilAtRest();
  });

  test('is stopped at its timeout, and the error result contains its text so far', async () => {
    const bodies = answerByScript(
      calling(() => unfinished(new Promise(() => {}), 'So far.'), createTask('toolu_1', 'researcher')),
    );
    await storeAgents({ researcher: {} });
    const { events } = await runTurn(asked({ tools: [createAgentTool('researcher', { timeout_seconds: 1 })] }));
    expect(textOfDeltas(events)).toBe('Done.');
    expect(resultOf(bodies)).toMatchObject({
      is_error: true,
      content: expect.stringMatching(/took longer than 1 s.*So far\./s),
    });
  });

  test('is attached to again after a crash of its run, and does its task once', async () => {
    let reached = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    const bodies = answerByScript(
      calling(
        () => {
          reached += 1;
          return reached === 1 ? unfinished(promise) : textAnswer('Found.');
        },
        createTask('toolu_1', 'researcher'),
      ),
    );
    await storeAgents({ researcher: {} });
    const told = toldToSubagents();
    const answer = await sendTurn(asked({ max_usd: 0.06 }), { key: 'k' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const first = readStream(answer.body);
    await eventually(() => expect(reached).toBe(1));
    await abortAllDurableObjects();
    resolve();
    const { events } = await first;
    const resumed = await stubOf().resumeTurnStream(events.findLast(({ id }) => id)?.id);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    const rest = await readStream(resumed.body as ReadableStream<Uint8Array>);
    expect(textOfDeltas(rest.events)).toBe('Done.');
    // Its step that was interrupted is one of the run that goes on.
    expect(resultOf(bodies)).toMatchObject({ content: expect.stringContaining('Found.') });
    expect(told).toHaveLength(1);
    expect(await readConversation(await idOf(answer.turn, 'toolu_1'))).toMatchObject({ turns: 1, state: 'idle' });
  });

  test('that is unknown after a long interruption is not started again, and adds its maximum cost to the run’s', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const bodies = answerByScript(calling(() => unfinished(promise), createTask('toolu_1', 'researcher')));
    await storeAgents({ researcher: {} });
    const told = toldToSubagents();
    const answer = await sendTurn(asked({ max_usd: 0.06 }), { key: 'k' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const first = readStream(answer.body);
    await eventually(() => expect(bodies).toHaveLength(2));
    await abortAllDurableObjects();
    resolve();
    const { events } = await first;
    // As if its failed turn had been deleted meanwhile.
    await runInDurableObject(stubOf(await idOf(answer.turn, 'toolu_1')), (_, state) => state.storage.deleteAll());
    await abortAllDurableObjects();
    const { now } = Conversation.prototype as unknown as { now(): number };
    vi.spyOn(Conversation.prototype as unknown as { now(): number }, 'now').mockImplementation(function (
      this: Conversation,
    ) {
      return now.call(this) + 11 * 60_000;
    });
    const resumed = await stubOf().resumeTurnStream(events.findLast(({ id }) => id)?.id);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    await readStream(resumed.body as ReadableStream<Uint8Array>);
    expect(resultOf(bodies)).toMatchObject({ is_error: true, content: expect.stringContaining('is not known') });
    expect(told).toHaveLength(1);
    const account = turnReport.parse(JSON.parse(text(await stubOf().readTurnReport(answer.turn))));
    expect(account.cost_usd).toBeGreaterThan(0.02);
    // Whoever reads the turn finds the conversation of its call.
    expect(account.steps[0]?.calls).toMatchObject([{ conversation: await idOf(answer.turn, 'toolu_1') }]);
  });

  test('that was approved is paid by the continued run, even if that run dies after the subagent’s response', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let later = 0;
    const bodies = answerByScript((body) => {
      if (agentNameOf(body) !== undefined) return textAnswer('Found.');
      if (toolResultsOf(body).size === 0) return callsAnswer(createTask('toolu_1', 'researcher'));
      later += 1;
      return later === 1 ? unfinished(promise) : textAnswer('Done.');
    });
    await storeAgents({ researcher: {} });
    await runTurn(asked({ tools: [createAgentTool('researcher', { approval: 'always' })], max_usd: 0.06 }));
    const waiting = JSON.parse(text(await listApprovals(stubOf()))) as { data: { id: string }[] };
    const [{ id } = { id: '' }] = waiting.data;
    const decision = { id, decision: 'approve', isAdmin: false, requestId: createRequestId() } as const;
    const decided = await sendDecision(stubOf(), decision);
    if (!decided.ok) throw new TypeError(decided.error.message);
    await eventually(() => expect(later).toBe(1));
    await abortAllDurableObjects();
    resolve();
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf());
      expect(await readConversation()).toMatchObject({ state: 'idle', turns: 2 });
    });
    expect(resultOf(bodies)).toMatchObject({ content: 'Found.' });
    const told = JSON.parse(text(await stubOf().readTurnReport(decided.value.turn))) as {
      cost_usd: number;
      steps: JsonObject[];
    };
    const own = told.steps.reduce((sum, { cost_usd }) => sum + Number(cost_usd), 0);
    expect(told.cost_usd - own).toBeCloseTo(100 * 4e-6 + 10 * 20e-6, 9);
    await waitUntilAtRest();
  });
});
