import { expect, test } from 'vitest';
import { type RunnableTool, SluiceError } from '#client/index.ts';
import { answerOf, bytesOf, fakeEdge, frameOf, framesOf, PRICE, request, type Sent, streamed } from './fake-edge.ts';

const weather: RunnableTool = {
  name: 'get_weather',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  run: ({ city }: { city: string }) => {
    if (city === 'Atlantis') throw new Error('It is under water.');
    return `sunny in ${city}`;
  },
};

/** An answer that calls tools. */
function calls(...inputs: [name: string, input: object][]): { type: string }[] {
  const [start, ...rest] = answerOf('');
  const blocks = inputs.flatMap(([name, input], index) => [
    { type: 'content_block_start', index, content_block: { type: 'tool_use', id: `toolu_${index}`, name, input: {} } },
    { type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: JSON.stringify(input) } },
    { type: 'content_block_stop', index },
  ]);
  return [
    ...(start ? [start] : []),
    ...blocks,
    { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 5 } } as { type: string },
    ...rest.slice(-1),
  ];
}

/** An edge that answers each turn as it is told. */
function telling(answers: { type: string }[][]) {
  return fakeEdge((_, count) => {
    const turn = `turn_${count}`;
    return streamed(bytesOf(framesOf(turn, answers[count - 1] ?? []).join('') + PRICE), 'end', turn);
  });
}

const messagesOf = ({ body }: Sent) => body?.messages as { role: string; content: unknown }[];

test('a client run calls tools until a response calls none, and reports the cost of each turn', async () => {
  const { client, sent, until } = telling([
    calls(['get_weather', { city: 'Bern' }], ['get_weather', { city: 'Atlantis' }], ['fly', {}]),
    answerOf('Sunny.'),
  ]);
  const run = client.messages.run({ ...request, tools: [weather] });
  const types: string[] = [];
  for await (const { type } of run) types.push(type);
  expect(types.filter((type) => type === 'message_start')).toHaveLength(2);
  const results = [
    { type: 'tool_result', tool_use_id: 'toolu_0', content: 'sunny in Bern' },
    { type: 'tool_result', tool_use_id: 'toolu_1', content: 'It is under water.', is_error: true },
    { type: 'tool_result', tool_use_id: 'toolu_2', content: 'There is no tool fly.', is_error: true },
  ];
  expect(run.steps).toMatchObject([
    { costUsd: 0.000012, turn: 'turn_1', results },
    { costUsd: 0.000012, turn: 'turn_2', results: [] },
  ]);
  expect(run.costUsd).toBe(0.000024);
  expect(await until(run.text())).toBe('Sunny.');
  expect(run.owed).toEqual([]);
  expect(sent[0]?.body?.tools).toEqual([{ name: 'get_weather', input_schema: weather.input_schema }]);
  expect(sent[1] && messagesOf(sent[1]).map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  expect(sent[1] && messagesOf(sent[1])[2]?.content).toEqual(results);
});

test('a client run with an agent finds handlers by name, and sends no tool definitions', async () => {
  const { client, sent, until } = telling([calls(['get_weather', { city: 'Bern' }]), answerOf('Sunny.')]);
  const { messages } = request;
  const handlers = [{ name: 'get_weather', run: () => 'sunny' }];
  const run = client.messages.run({ agent: 'guide', conversation: 'c1', messages, tools: handlers });
  expect(await until(run.text())).toBe('Sunny.');
  expect(sent.map(({ body }) => Object.keys(body ?? {}).toSorted())).toEqual([
    ['agent', 'conversation', 'messages'],
    ['agent', 'conversation', 'messages'],
  ]);
  expect(sent[1] && messagesOf(sent[1])[0]?.content).toMatchObject([{ type: 'tool_result', content: 'sunny' }]);
  const call = calls(['get_weather', { city: 'Bern' }]);
  const ended = telling([call, call]);
  const last = ended.client.messages.run({ agent: 'guide', messages, tools: [weather], max_turns: 2 });
  await ended.until(last.finalMessage());
  expect(ended.sent.map(({ body }) => body?.tool_choice)).toEqual([undefined, undefined]);
  expect(last.owed).toHaveLength(1);
});

test('a client run sends only new messages to a conversation, and a paused response separately', async () => {
  const { client, sent, until } = telling([
    answerOf('Searching …', 'pause_turn'),
    calls(['get_weather', { city: 'Bern' }]),
    answerOf('Sunny.'),
  ]);
  const run = client.messages.run({ ...request, conversation: 'c1', tools: [weather] });
  await until(run.finalMessage());
  expect(sent.map((one) => messagesOf(one).map(({ role }) => role))).toEqual([['user'], ['assistant'], ['user']]);
  expect(sent[2] && messagesOf(sent[2])[0]?.content).toMatchObject([{ type: 'tool_result' }]);
});

test('a client run allows no tool calls in its last turn, so that it ends with a text', async () => {
  const call = calls(['get_weather', { city: 'Bern' }]);
  const { client, sent, until } = telling([call, call, answerOf('That is all.')]);
  const run = client.messages.run({ ...request, tools: [weather], max_turns: 3 });
  expect(await until(run.text())).toBe('That is all.');
  expect(sent.map(({ body }) => body?.tool_choice)).toEqual([undefined, undefined, { type: 'none' }]);
  const many = telling(Array.from({ length: 30 }, () => call));
  await many.until(many.client.messages.run({ ...request, tools: [weather] }).finalMessage());
  expect(many.sent).toHaveLength(10);
});

test('a client run stopped during a tool call starts no further turn and returns the unsent results', async () => {
  const { client, sent, until } = telling([calls(['get_weather', { city: 'Bern' }])]);
  let stop = async () => {};
  const slow: RunnableTool = {
    ...weather,
    run: async () => {
      await stop();
      return 'late';
    },
  };
  const run = client.messages.run({ ...request, tools: [slow] });
  stop = () => run.stop();
  await until(run.finalMessage());
  expect(sent).toHaveLength(1);
  expect(run.owed).toEqual([{ type: 'tool_result', tool_use_id: 'toolu_0', content: 'late' }]);
});

test('a client run fails with the error of its turn, and keeps the earlier steps', async () => {
  const { client, until } = fakeEdge((_, count) => {
    if (count === 1)
      return streamed(bytesOf(framesOf('turn_1', calls(['get_weather', { city: 'Bern' }])).join('') + PRICE));
    return streamed(
      bytesOf(
        frameOf(undefined, { type: 'error', error: { type: 'overloaded_error', message: 'Later.' } } as {
          type: string;
        }),
      ),
    );
  });
  const run = client.messages.run({ ...request, tools: [weather] });
  await expect(until(run.finalMessage())).rejects.toBeInstanceOf(SluiceError);
  expect(run.steps).toHaveLength(1);
});

test('a paused server-side run continues only if goesOn returns true', async () => {
  const paused = (stop_reason: string) =>
    answerOf('Well. ').map((event) => (event.type === 'message_delta' ? { ...event, delta: { stop_reason } } : event));
  const pausing = () =>
    fakeEdge((_, count) => {
      const frames = framesOf(`turn_${count}`, paused(count < 3 ? 'pause_turn' : 'end_turn'));
      const remark = count < 3 ? [': sluice-paused=max_turns\n\n'] : [];
      const text = [...frames.slice(0, -1), ...remark, ...frames.slice(-1)].join('') + PRICE;
      return streamed(bytesOf(text), 'end', `turn_${count}`);
    });
  const edgeTool = { name: 'get_time', run: 'worker' as const };
  const asked = { ...request, conversation: 'c1', tools: [weather, edgeTool] };
  const first = pausing();
  const ended = first.client.messages.run(asked);
  expect(await first.until(ended.finalMessage())).toMatchObject({ stop_reason: 'pause_turn' });
  expect(first.sent).toHaveLength(1);
  expect(first.sent[0]?.body?.tools).toEqual([{ ...weather, run: undefined }, edgeTool]);
  const second = pausing();
  const reasons: string[] = [];
  const gone = second.client.messages.run({
    ...asked,
    goesOn: (reason, { costUsd }) => {
      reasons.push(reason);
      return costUsd < 1;
    },
  });
  expect(await second.until(gone.finalMessage())).toMatchObject({ stop_reason: 'end_turn' });
  expect(reasons).toEqual(['max_turns', 'max_turns']);
  expect(second.sent.map((one) => messagesOf(one).map(({ role }) => role))).toEqual([
    ['user'],
    ['assistant'],
    ['assistant'],
  ]);
});
