import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { bindings, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { authorizationFor, createSimulatedEdge } from '#test/support/prefixes.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, sendTurn } from '#test/support/turns.ts';
import { createErrorResponse } from '#test/support/wire.ts';

const TOOLS = { tools: [weatherTool(), weatherTool({}, 'get_news')] };
const asked = (more: object = {}) => createBody('How is the weather?', { ...TOOLS, ...more });

/** The usage of alice by tool: calls, errors and requests of each; null for what took up none. */
async function usage() {
  await waitUntilAtRest();
  const { data, total } = await getAccountStub(bindings, {}, 'alice').getUsageReport({ group_by: 'tool' });
  const tools = Object.fromEntries(
    data.map(({ key, calls, errors, requests }) => [String(key), { calls, errors, requests }]),
  );
  return { tools, total, data };
}

test('usage by tool counts calls, errors and milliseconds with the step that sends their results', async () => {
  answerByScript((_, number) => {
    if (number === 1)
      return callsAnswer(
        weatherCall('toolu_1', 'Bern'),
        weatherCall('toolu_2', 'Oslo'),
        weatherCall('toolu_3', 'Oslo', 'get_news'),
      );
    return number === 2 ? callsAnswer(weatherCall('toolu_4', 'Rome')) : textAnswer('Sun.');
  });
  answerTools(async ({ body }) => {
    advanceClock(20);
    return new Response('sun', { status: (body.input as { city: string }).city === 'Oslo' ? 500 : 200 });
  });
  await runTurn(asked());
  await runTurn(createBody('Thank you.', TOOLS));
  const { tools, total, data } = await usage();
  expect(tools).toEqual({
    get_weather: { calls: 3, errors: 1, requests: 2 },
    get_news: { calls: 1, errors: 1, requests: 1 },
    null: { calls: undefined, errors: undefined, requests: 2 },
  });
  expect(total.requests).toBe(4);
  const ms = new Map(data.map((group) => [group.key, group.ms ?? 0]));
  expect(ms.get('get_weather')).toBeGreaterThanOrEqual(50);
  expect(ms.get('get_weather')).toBeGreaterThan(ms.get('get_news') ?? 0);
});

test('the calls of a paused run are counted once, with the next turn', async () => {
  answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
  answerTools(() => new Response('sun'));
  await runTurn(asked({ max_turns: 1 }));
  expect((await usage()).tools).toEqual({ null: { calls: undefined, errors: undefined, requests: 1 } });
  await runTurn(createBody('Go on.'));
  await runTurn(createBody('And?'));
  expect((await usage()).tools).toMatchObject({ get_weather: { calls: 1, requests: 1 }, null: { requests: 2 } });
});

test('usage by tool counts calls once if the step with their results fails and is retried', async () => {
  const busy = () => createErrorResponse(529, 'overloaded_error');
  answerByScript(
    (_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : number === 2 ? busy() : textAnswer('Sun.'),
    {
      vars: { UPSTREAM_MAX_RETRIES: '2' },
    },
  );
  answerTools(() => new Response('sun'));
  await runTurn(asked());
  expect((await usage()).tools.get_weather).toEqual({ calls: 1, errors: 0, requests: 1 });
});

test('a tool call is counted once when its object crashes during the call', async () => {
  answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
  const tools = answerTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
  const answer = await sendTurn(asked());
  if (answer.kind !== 'stream') throw new Error(answer.kind);
  const listening = readStream(answer.body);
  await eventually(() => expect(tools).toHaveLength(1));
  await abortAllDurableObjects();
  await listening;
  await eventually(async () => expect(await stubOf().read()).toMatchObject({ ok: true }));
  await eventually(() => expect(tools).toHaveLength(2));
  await eventually(async () => expect((await usage()).tools.get_weather?.calls).toBe(1));
  expect((await usage()).tools).toMatchObject({ get_weather: { calls: 1, errors: 0, requests: 1 } });
});

test('an admin reads any account’s usage by tool, also as CSV', async () => {
  const edge = createSimulatedEdge(TOOL_VARS);
  let answers = 0;
  answerByScript(() => {
    answers += 1;
    return answers % 2 === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.');
  });
  answerTools((_, number) => new Response('sun', { status: number === 1 ? 500 : 200 }));
  for (const account of ['alice', 'bob']) {
    const headers = await authorizationFor(account, 'messages', 'tools');
    expect((await edge.post('/v1/messages', { ...asked(), conversation: 'c1' }, headers)).status).toBe(200);
    await edge.waitUntilSettled();
  }
  const headers = await authorizationFor('root', 'admin');
  const { data } = (await (await edge.fetch('/usage?group_by=tool&account=alice', { headers })).json()) as UsageReport;
  expect(Object.fromEntries(data.map(({ key, ...group }) => [String(key), group]))).toMatchObject({
    get_weather: { calls: 1, errors: 1, requests: 1 },
    null: { requests: 1 },
  });
  expect(data).toHaveLength(2);
  // Without an account it is the admin's own, as it is for everybody.
  const own = (await (await edge.fetch('/usage?group_by=tool', { headers })).json()) as UsageReport;
  expect(own.data).toEqual([]);
  expect((await edge.fetch('/usage?group_by=tool&group=red', { headers })).status).toBe(400);
  const csv = await (await edge.fetch('/usage?group_by=tool&format=csv&account=alice', { headers })).text();
  const [names = [], weatherLine = []] = csv.split('\r\n').map((line) => line.split(','));
  expect([names.at(0), names.slice(-3)]).toEqual(['tool', ['calls', 'errors', 'ms']]);
  expect([weatherLine.at(0), weatherLine.slice(-3, -1)]).toEqual(['get_weather', ['1', '1']]);
});
