import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { accountStub } from '#edge/durable/stubs.ts';
import type { UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import { passTime } from '#test/support/calendar.ts';
import { atRest, bindings, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { as, simulatedEdge } from '#test/support/prefixes.ts';
import { answeringBy, call, calls, says, servingTools, TOOL_VARS, weather } from '#test/support/scripted-runs.ts';
import { ask, bodyOf, listen, say } from '#test/support/turns.ts';
import { refusal } from '#test/support/wire.ts';

const TOOLS = { tools: [weather(), weather({}, 'get_news')] };
const asked = (more: object = {}) => bodyOf('How is the weather?', { ...TOOLS, ...more });

/** The usage of alice by tool: calls, errors and requests of each; null for what took up none. */
async function usage() {
  await atRest();
  const { data, total } = await accountStub(bindings, {}, 'alice').usage({ group_by: 'tool' });
  const tools = Object.fromEntries(
    data.map(({ key, calls, errors, requests }) => [String(key), { calls, errors, requests }]),
  );
  return { tools, total, data };
}

test('usage by tool counts calls, errors and milliseconds with the step that takes up their results', async () => {
  answeringBy((_, number) => {
    if (number === 1)
      return calls(call('toolu_1', 'Bern'), call('toolu_2', 'Oslo'), call('toolu_3', 'Oslo', 'get_news'));
    return number === 2 ? calls(call('toolu_4', 'Rome')) : says('Sun.');
  });
  servingTools(async ({ body }) => {
    passTime(20);
    return new Response('sun', { status: (body.input as { city: string }).city === 'Oslo' ? 500 : 200 });
  });
  await say(asked());
  await say(bodyOf('Thank you.', TOOLS));
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

test('what a paused run has called is counted with the next turn, once', async () => {
  answeringBy((_, number) => (number === 1 ? calls(call('toolu_1', 'Bern')) : says('Sun.')));
  servingTools(() => new Response('sun'));
  await say(asked({ max_turns: 1 }));
  expect((await usage()).tools).toEqual({ null: { calls: undefined, errors: undefined, requests: 1 } });
  await say(bodyOf('Go on.'));
  await say(bodyOf('And?'));
  expect((await usage()).tools).toMatchObject({ get_weather: { calls: 1, requests: 1 }, null: { requests: 2 } });
});

test('a step that fails takes up nothing; the one that is asked again does', async () => {
  const busy = () => refusal(529, 'overloaded_error');
  answeringBy((_, number) => (number === 1 ? calls(call('toolu_1', 'Bern')) : number === 2 ? busy() : says('Sun.')), {
    vars: { UPSTREAM_MAX_RETRIES: '2' },
  });
  servingTools(() => new Response('sun'));
  await say(asked());
  expect((await usage()).tools.get_weather).toEqual({ calls: 1, errors: 0, requests: 1 });
});

test('a crash in a call changes nothing of it', async () => {
  answeringBy((_, number) => (number === 1 ? calls(call('toolu_1', 'Bern')) : says('Sun.')));
  const tools = servingTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
  const answer = await ask(asked());
  if (answer.kind !== 'stream') throw new Error(answer.kind);
  const listening = listen(answer.body);
  await eventually(() => expect(tools).toHaveLength(1));
  await abortAllDurableObjects();
  await listening;
  await eventually(async () => expect(await stubOf().read()).toMatchObject({ ok: true }));
  await eventually(() => expect(tools).toHaveLength(2));
  await eventually(async () => expect((await usage()).tools.get_weather?.calls).toBe(1));
  expect((await usage()).tools).toMatchObject({ get_weather: { calls: 1, errors: 0, requests: 1 } });
});

test('an admin sees the tools of any account, as a table too', async () => {
  const edge = simulatedEdge(TOOL_VARS);
  let answers = 0;
  answeringBy(() => {
    answers += 1;
    return answers % 2 === 1 ? calls(call('toolu_1', 'Bern')) : says('Sun.');
  });
  servingTools((_, number) => new Response('sun', { status: number === 1 ? 500 : 200 }));
  for (const account of ['alice', 'bob']) {
    const headers = await as(account, 'messages', 'tools');
    expect((await edge.post('/v1/messages', { ...asked(), conversation: 'c1' }, headers)).status).toBe(200);
    await edge.settled();
  }
  const headers = await as('root', 'admin');
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
