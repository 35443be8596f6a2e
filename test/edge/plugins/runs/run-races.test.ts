import { describe, expect, test } from 'vitest';
import type { RpcText } from '#edge/conversations/object/contract.ts';
import { readRpcText } from '#edge/conversations/object/rpc-response.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { bindings, listMessages, readConversation, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';

const asked = () => createBody('How is the weather?', { tools: [weatherTool()] });

/** A run whose tool is called, and answers when that is wanted. */
async function calling() {
  const answered = Promise.withResolvers<Response>();
  const bodies = answerByScript((_, number) =>
    number === 1
      ? callsAnswer({ type: 'text', text: 'I look. ' }, weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo'))
      : textAnswer('Sun.'),
  );
  const tools = answerTools(({ body, signal }) =>
    body.tool_use_id === 'toolu_1'
      ? new Response('sun')
      : Promise.race([
          answered.promise,
          new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        ]),
  );
  const answer = await sendTurn(asked(), { key: 'one' });
  if (answer.kind !== 'stream') throw new Error(answer.kind);
  const listening = readStream(answer.body);
  await eventually(() => expect(tools).toHaveLength(2));
  return { bodies, tools, listening, turn: answer.turn, answer: () => answered.resolve(new Response('rain')) };
}

describe('during a tool call', () => {
  test('two stops end the run once, and both succeed', async () => {
    const { listening, bodies } = await calling();
    const stops = await Promise.all([stubOf().stopRunningTurn(), stubOf().stopRunningTurn()]);
    expect(stops.map(({ ok }) => ok)).toEqual([true, true]);
    const { events, text } = await listening;
    expect(events.filter(({ event }) => event === 'message_stop')).toHaveLength(1);
    expect(text).toContain(': sluice-stopped');
    expect(bodies).toHaveLength(1);
    await waitUntilAtRest();
    expect(await readConversation()).toMatchObject({ state: 'idle', turns: 1 });
    await runTurn(createBody('And now?', { tools: [weatherTool()] }));
    expect(findBrokenRule((bodies.at(-1)?.messages ?? []) as never)).toBeUndefined();
  });

  test('the same request attaches to the turn, and another request or a rewind is rejected with 409', async () => {
    const { listening, answer, bodies, tools, turn } = await calling();
    const [first] = await listMessages();
    expect(first).toBeDefined();
    const again = await sendTurn(asked(), { key: 'one' });
    if (again.kind !== 'stream') throw new Error(again.kind);
    expect(again.turn).toBe(turn);
    expect(await sendTurn(createBody('Hello?'))).toMatchObject({ kind: 'error', error: { status: 409 } });
    expect(await stubOf().rewindConversation(String(first?.id))).toMatchObject({ ok: false, error: { status: 409 } });
    const attached = readStream(again.body);
    answer();
    const all = await Promise.all([listening, attached]);
    expect(all[1].events.filter(({ id }) => id)).toEqual(all[0].events.filter(({ id }) => id));
    expect(bodies).toHaveLength(2);
    expect(tools).toHaveLength(2);
  });

  test('a fork has the results so far, and an error result for each missing one', async () => {
    const { listening, answer, bodies, turn } = await calling();
    await eventually(async () => {
      const told = await stubOf().readTurnReport(turn);
      expect(told.ok && (await readRpcText(told.value as RpcText))).toContain('"is_error":false');
    });
    const copied = await stubOf().forkConversation('c2', undefined);
    expect(copied.ok).toBe(true);
    answer();
    expect(textOfDeltas((await listening).events)).toBe('I look. Sun.');
    await runTurn(createBody('And now?', { tools: [weatherTool()] }), { id: 'c2' });
    expect(findBrokenRule((bodies.at(-1)?.messages ?? []) as never)).toBeUndefined();
    expect(bodies.at(-1)?.messages.at(-1)?.content).toMatchObject([
      { tool_use_id: 'toolu_1', content: 'sun' },
      { tool_use_id: 'toolu_2', is_error: true },
      { text: 'And now?' },
    ]);
  });

  test('deleting the conversation ends the run, settles its cost and leaves no data', async () => {
    const { listening } = await calling();
    expect(await stubOf().erase()).toBe(true);
    await listening;
    const account = getAccountStub(bindings, {}, 'alice');
    await eventually(async () => expect((await account.getQuotaReport()).running_requests).toBe(0));
    const { data } = await account.listRequests({ limit: 10 });
    expect(data.map(({ status }) => status)).toEqual(['complete']);
    expect(await readConversation()).toBeUndefined();
    await eventually(async () => expect((await account.listConversations({ limit: 10 })).data).toEqual([]));
  });
});

describe('a tool that answers', () => {
  test.each([
    ['no UTF-8', () => new Response(new Uint8Array([0x73, 0xff, 0xfe, 0x75])), /^s\uFFFD+u$/],
    [
      'an image of a kind that the API does not take',
      () => new Response('<svg/>', { headers: { 'content-type': 'image/svg+xml' } }),
      /^<svg\/>$/,
    ],
    [
      'a redirect',
      () => new Response(null, { status: 302, headers: { location: 'https://169.254.169.254/' } }),
      /redirect/,
    ],
    ['without end', () => endless(), /more than 1000000 bytes/],
    ['and breaks off', () => breaking(), /could not be reached/],
  ])('%s gives the model a result, and the run continues', async (_, answer, told) => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'),
    );
    answerTools(answer);
    const { events } = await runTurn(asked());
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([{ content: expect.stringMatching(told) }]);
  });
});

/** Pieces of 64 kB, until somebody has had enough of them. */
function endless(): Response {
  const piece = new Uint8Array(65_536).fill(0x61);
  return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(piece) }));
}

function breaking(): Response {
  let isFirst = true;
  return new Response(
    new ReadableStream({
      pull(controller) {
        if (isFirst) controller.enqueue(new TextEncoder().encode('su'));
        else controller.error(new Error('the connection broke'));
        isFirst = false;
      },
    }),
  );
}
