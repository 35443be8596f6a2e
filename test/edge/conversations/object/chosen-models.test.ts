import { expect, onTestFinished, test, vi } from 'vitest';
import { DEPLOYMENT } from '#edge/auth/identity/identity.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { isObject, type JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { computeVersionHash } from '#edge/money/versions/kv-copies.ts';
import { requestEdge } from '#test/support/agents.ts';
import {
  askWhole,
  CHOICE,
  createRouterEdge,
  isLabelRequest,
  LARGE,
  labelByLevelName,
  lastTextOf,
  MIDDLE,
  putJson,
  readLedger,
  SMALL,
} from '#test/support/chosen-models.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import type { SimulatedEdge } from '#test/support/prefixes.ts';
import { type AskedBody, callsAnswer, textAnswer } from '#test/support/scripted-runs.ts';
import { agentNameOf, createTask } from '#test/support/subagents.ts';

test('the first question of a conversation chooses the model, and the response, log and ledger record why', async () => {
  const { app, bob, up, labels, version } = await createRouterEdge();
  const { status, chosen, headers } = await askWhole(app, bob, 'An easy one.');
  expect([status, chosen]).toEqual([
    200,
    expect.stringMatching(/^claude-haiku-5-5; arm=chosen; why=label; label=easy; classifier=difficulty@\w{32}$/),
  ]);
  expect([up.map(({ model }) => model), labels.length]).toEqual([[SMALL], 1]);
  const [turn, choice] = await readLedger();
  const classifier = chosen.split('classifier=')[1];
  const by = { label: 'easy', classifier, arm: 'chosen', why: 'label' };
  expect(turn).toMatchObject({ route: 'messages', model: SMALL, conversation: 'c1', agent: version, chosen_by: by });
  expect(choice).toMatchObject({
    route: 'choice',
    model: SMALL,
    conversation: 'c1',
    agent: version,
    status: 'complete',
    chosen_by: { ...by, label: null, request_id: turn?.request_id },
  });
  expect(choice?.cost_usd).toBeGreaterThan(0);
  expect(app.log.find(({ model_chosen }) => model_chosen === chosen)).toMatchObject({ conversation: 'c1' });
  expect((await requestEdge(app, 'GET', '/conversations/c1', bob)).body).toMatchObject({ model: SMALL });
  expect(await reasonsIn(app, bob, 'c1')).toEqual([undefined, by]);
  expect(headers.get('sluice-agent')).toBe(version);
});

/** @returns how the model of each message's answer was chosen, as a reader is told */
async function reasonsIn(app: SimulatedEdge, reader: Record<string, string>, conversation: string, view = 'stored') {
  const { body } = await requestEdge(app, 'GET', `/conversations/${conversation}/messages?view=${view}`, reader);
  return (body.data as JsonObject[]).map(({ chosen_by }) => chosen_by);
}

test('each chosen model gets the thinking and effort that it supports', async () => {
  const older = 'claude-opus-4-5';
  const thinking = { type: 'adaptive', display: 'omitted' };
  const { app, bob, up } = await createRouterEdge({
    agent: { max_tokens: 5_000, thinking, output_config: { effort: 'high' } },
    choice: { models: { easy: older, hard: LARGE }, otherwise: LARGE },
  });
  for (const text of ['easy', 'hard'])
    expect((await askWhole(app, bob, text, { conversation: text })).status).toBe(200);
  const members = up.map(({ model, thinking, output_config }) => ({ model, thinking, output_config }));
  expect(members).toEqual([
    {
      model: older,
      thinking: { ...thinking, type: 'enabled', budget_tokens: 4_096 },
      output_config: { effort: 'high' },
    },
    { model: LARGE, thinking, output_config: { effort: 'high' } },
  ]);
});

test('two `hard` labels in a row switch to the larger model without old thinking', async () => {
  const thinking = { type: 'thinking', thinking: 'Hm.', signature: 'sig' };
  const { app, bob, up, labels } = await createRouterEdge({
    agent: { thinking: { type: 'adaptive' } },
    answer: () => ({ content: [thinking, { type: 'text', text: 'So.' }] }),
  });
  const whys: unknown[] = [];
  for (const text of ['easy', 'hard', 'easy', 'hard', 'hard', 'easy']) {
    whys.push(/why=(\w+)/.exec((await askWhole(app, bob, text)).chosen)?.[1]);
  }
  expect(whys).toEqual(['label', 'kept', 'kept', 'kept', 'step_up', 'step_up']);
  expect(up.map(({ model }) => model)).toEqual([SMALL, SMALL, SMALL, SMALL, LARGE, LARGE]);
  expect(labels).toHaveLength(5);
  // A fork tells of each answer the same, and so does a reader who comes later.
  await requestEdge(app, 'POST', '/conversations/c1/fork', bob, { id: 'forked' });
  for (const conversation of ['c1', 'forked']) {
    const reasons = await reasonsIn(app, bob, conversation);
    expect(reasons.flatMap((reason) => (isObject(reason) ? reason.why : []))).toEqual(whys);
  }
  expect(JSON.stringify(up[3])).toContain('Hm.');
  expect(JSON.stringify(up[4])).not.toContain('Hm.');
});

const FAILED = `${LARGE}; arm=chosen; why=failed`;

test('`otherwise` is used, with the reason, if the classifier fails or times out, or the question has no text', async () => {
  let label: (body: AskedBody) => Response | Promise<Response> = () =>
    Response.json({ type: 'error' }, { status: 529 });
  const { app, bob, up } = await createRouterEdge({ label: (body) => label(body) });
  const errors = vi.spyOn(console, 'error').mockImplementation(() => {});
  const askIn = async (conversation: string, content: unknown = 'easy') =>
    (await askWhole(app, bob, '', { conversation, messages: [{ role: 'user', content }] })).chosen;
  expect(await askIn('broken')).toBe(FAILED);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const left = Promise.withResolvers<Response>();
  label = async () => {
    vi.advanceTimersByTime(5_001);
    return await left.promise;
  };
  expect(await askIn('silent')).toBe(FAILED);
  vi.useRealTimers();
  left.resolve(new Response());
  label = labelByLevelName;
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'aGk=' } };
  expect(await askIn('image', [image])).toBe(FAILED);
  expect(up.map(({ model }) => model)).toEqual([LARGE, LARGE, LARGE]);
  expect(errors).toHaveBeenCalledTimes(3);
  await expect.poll(async () => (await readLedger()).some(({ status }) => status === 'held')).toBe(false);
});

test('an agent uses `otherwise` if its classifier was deleted', async () => {
  const { app, root, bob, up } = await createRouterEdge();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  await requestEdge(app, 'DELETE', '/classifiers/difficulty', root);
  expect((await askWhole(app, bob, 'easy')).chosen).toBe(FAILED);
  expect(up.map(({ model }) => model)).toEqual([LARGE]);
});

test("an account without access to the classifier's model gets `otherwise`, and without the chosen model a 404", async () => {
  const { app, root, bob, up, labels } = await createRouterEdge();
  const errors = vi.spyOn(console, 'error').mockImplementation(() => {});
  await requestEdge(app, 'PUT', '/accounts/bob/limits', root, { models: [LARGE] });
  expect((await askWhole(app, bob, 'easy')).chosen).toBe(FAILED);
  expect([up.length, labels.length]).toEqual([1, 0]);
  await requestEdge(app, 'PUT', '/accounts/bob/limits', root, { models: [SMALL] });
  const refused = await askWhole(app, bob, 'hard', { conversation: 'c2' });
  expect([refused.status, up.length, labels.length]).toEqual([404, 1, 1]);
  const easy = await askWhole(app, bob, 'easy', { conversation: 'c3' });
  expect([easy.status, up.at(-1)?.model]).toEqual([200, SMALL]);
  const list = await requestEdge(app, 'GET', '/conversations', bob);
  expect((list.body.data as JsonObject[]).map(({ id }) => id).toSorted()).toEqual(['c1', 'c3']);
  expect(errors).toHaveBeenLastCalledWith(expect.stringContaining('cannot use claude-haiku-5-5'));
});

test('the ledger records whether a question is the first, a repeated or edited, or the next question', async () => {
  const { app, bob } = await createRouterEdge();
  await askWhole(app, bob, 'easy');
  await askWhole(app, bob, 'A worse easy one.');
  const { body } = await requestEdge(app, 'GET', '/conversations/c1/messages', bob);
  const ids = (body.data as JsonObject[]).map(({ id }) => id);
  await requestEdge(app, 'POST', '/conversations/c1/rewind', bob, { before: ids[2] });
  await askWhole(app, bob, 'A better easy one.');
  await askWhole(app, bob, 'And another easy one.');
  const copy = await requestEdge(app, 'POST', '/conversations/c1/fork', bob, { at: ids[1] });
  await askWhole(app, bob, 'An easy one in the copy.', { conversation: copy.body.id });
  const turns = (await readLedger()).filter(({ route }) => route === 'messages');
  expect(turns.map(({ chosen_by }) => chosen_by?.part)).toEqual(['first', 'next', 'again', 'next', 'again']);
});

test('a fork, a rewind and a restored backup continue with the model of their turns', async () => {
  const { app, root, bob, up } = await createRouterEdge();
  for (const text of ['easy', 'hard', 'hard']) await askWhole(app, bob, text);
  expect(up.at(-1)?.model).toBe(LARGE);
  const page = await requestEdge(app, 'GET', '/conversations/c1/messages', bob);
  const [, first, second, , third] = (page.body.data as JsonObject[]).map(({ id }) => String(id));
  await requestEdge(app, 'POST', '/conversations/c1/fork', bob, { id: 'early', at: first });
  await askWhole(app, bob, 'hard', { conversation: 'early' });
  expect(up.at(-1)?.model).toBe(SMALL);
  await requestEdge(app, 'POST', '/conversations/c1/fork', bob, { id: 'whole' });
  await askWhole(app, bob, 'easy', { conversation: 'whole' });
  expect(up.at(-1)?.model).toBe(LARGE);
  await requestEdge(app, 'POST', '/conversations/c1/rewind', bob, { before: third });
  await askWhole(app, bob, 'hard');
  expect(up.at(-1)?.model).toBe(LARGE);
  await requestEdge(app, 'POST', '/conversations/c1/rewind', bob, { before: second });
  expect((await requestEdge(app, 'GET', '/conversations/c1', bob)).body).toMatchObject({ model: SMALL });
  await askWhole(app, bob, 'hard');
  expect(up.at(-1)?.model).toBe(SMALL);
  const at = '/accounts/bob/conversations';
  const lines = await (await app.fetch(`${at}/c1/backup`, { headers: root })).text();
  const restored = { method: 'PUT', headers: { ...root, 'content-type': 'application/jsonl' }, body: lines };
  expect((await app.fetch(`${at}/restored/backup`, restored)).status).toBe(201);
  expect((await askWhole(app, bob, 'hard', { conversation: 'restored' })).chosen).toContain('why=step_up');
});

test('a request may choose one of the models for itself if the agent allows it, but not with a restricted token', async () => {
  const { app, root, bob, up, labels } = await createRouterEdge({ choice: { overridable: true } });
  const asks = (model: string) => ({ ...bob, 'sluice-model': model });
  const { chosen } = await askWhole(app, asks(MIDDLE), 'easy', { model: LARGE });
  expect(chosen).toBe(`${MIDDLE}; arm=asked; why=asked`);
  await askWhole(app, bob, 'easy', { model: LARGE });
  expect([up.map(({ model }) => model), labels.length]).toEqual([[MIDDLE, SMALL], 1]);
  const wrong = await askWhole(app, asks('claude-fable-5'), 'easy');
  expect([wrong.status, wrong.body]).toEqual([400, expect.stringContaining('Name one of these, or remove the header')]);
  const minted = await requestEdge(app, 'POST', '/tokens', root, {
    account: 'bob',
    scopes: ['messages'],
    only: { agents: ['router'] },
  });
  const bound = { authorization: `Bearer ${minted.body.token}`, 'sluice-model': MIDDLE };
  expect((await askWhole(app, bound, 'easy', { conversation: 'c2' })).chosen).toBe(SMALL);
  for (const view of ['stored', 'shown']) {
    expect(await reasonsIn(app, bound, 'c2', view)).toEqual([undefined, undefined]);
    expect(await reasonsIn(app, bob, 'c2', view)).toEqual([undefined, expect.objectContaining({ label: 'easy' })]);
  }
  await putJson(app, root, '/agents/closed', { max_tokens: 64, model: CHOICE });
  const closed = await askWhole(app, asks(MIDDLE), 'easy', { conversation: 'c3', agent: 'closed' });
  expect([closed.status, closed.body]).toEqual([400, expect.stringContaining('Remove the header')]);
});

test('a message without a conversation is labelled by its last question, and a token count is not labelled', async () => {
  const { app, bob, labels, version } = await createRouterEdge();
  const models: unknown[] = [];
  const messages = [
    { role: 'user', content: 'A hard one.' },
    { role: 'assistant', content: 'So.' },
    { role: 'user', content: [{ type: 'text', text: 'And billing?' }] },
  ];
  const sent = async (path: string, body: object) => {
    const response = await app.post(path, { agent: 'router', ...body }, bob);
    const text = await response.text();
    await app.waitUntilSettled();
    models.push(JSON.parse(app.sent.at(-1)?.text ?? '{}').model);
    return { chosen: response.headers.get('sluice-model-chosen'), text };
  };
  const { chosen } = await sent('/v1/messages', { messages });
  expect(chosen).toMatch(/^claude-(haiku|sonnet|opus)-5-5; arm=chosen; why=label; label=/);
  const rows = await readLedger();
  expect(rows.map(({ route, conversation }) => [route, conversation])).toEqual([
    ['messages', null],
    ['choice', null],
  ]);
  expect(rows[0]).toMatchObject({ agent: version, chosen_by: { arm: 'chosen', why: 'label' } });
  const before = app.sent.length;
  await sent('/v1/messages/count_tokens', { messages });
  await askWhole(app, bob, 'easy');
  await sent('/v1/messages/count_tokens', { messages: messages.slice(0, 1), conversation: 'c1' });
  expect([app.sent.length - before, models.slice(1), labels.length]).toEqual([2, [LARGE, SMALL], 1]);
});

test('a run, its subagent and a background turn each choose once, and all steps of a run use one model', async () => {
  const tools = [{ name: 'helper', run: { agent: 'helper' } }];
  const { app, root, bob, up, labels } = await createRouterEdge({
    agent: { tools },
    answer: (body) => {
      const isAnswered = JSON.stringify(body.messages.at(-1)).includes('tool_result');
      if (agentNameOf(body) === 'router' && !isAnswered)
        return callsAnswer(createTask('toolu_1', 'helper', 'A middling task.'));
      return textAnswer('Done.');
    },
  });
  await putJson(app, root, '/agents/helper', { max_tokens: 64, system: 'helper', model: CHOICE });
  await askWhole(app, bob, 'hard');
  expect(up.map((body) => [agentNameOf(body), body.model])).toEqual([
    ['router', LARGE],
    ['helper', MIDDLE],
    ['router', LARGE],
  ]);
  expect(labels).toHaveLength(2);
  const hard = expect.objectContaining({ label: 'hard', why: 'label' });
  expect(await reasonsIn(app, bob, 'c1', 'shown')).toEqual([undefined, hard]);
  expect((await reasonsIn(app, bob, 'c1')).filter(Boolean)).toEqual([hard, hard]);
  const background = await askWhole(app, bob, 'easy', { conversation: 'c2', agent: 'helper', background: true });
  expect([background.status, background.chosen]).toEqual([202, expect.stringContaining('label=easy')]);
  await eventually(() => expect(up.at(-1)?.model).toBe(SMALL));
  const rows = await readLedger();
  expect(rows.filter(({ route }) => route === 'choice')).toHaveLength(3);
  expect(rows.every(({ chosen_by }) => chosen_by !== undefined)).toBe(true);
});

test('an agent with one model, and a request without an agent, cause and record no choice', async () => {
  const { app, root, bob } = await createRouterEdge();
  await putJson(app, root, '/agents/plain', { max_tokens: 64, model: SMALL });
  const spied = vi.spyOn(Account.prototype, 'admitJson');
  const said = await askWhole(app, bob, 'easy', { agent: 'plain' });
  await askWhole(app, bob, 'easy', { agent: null, conversation: 'c2', model: SMALL, max_tokens: 9 });
  expect([said.chosen, spied.mock.calls.length]).toEqual(['', 2]);
  expect(JSON.stringify(spied.mock.calls)).not.toContain('chosen');
  const rows = await readLedger();
  expect(rows.map((row) => [row.route, Object.hasOwn(row, 'chosen_by')])).toEqual([
    ['messages', false],
    ['messages', false],
  ]);
});

test('a request that is rejected because of its token, a parameter or a pending turn is not labelled', async () => {
  let isAsked = false;
  let isReleased = false;
  const { app, root, bob, labels } = await createRouterEdge({
    before: async (body) => {
      if (!isLabelRequest(body) || !lastTextOf(body).includes('slow')) return;
      isAsked = true;
      await eventually(() => expect(isReleased).toBe(true));
    },
  });
  const minted = await requestEdge(app, 'POST', '/tokens', root, {
    account: 'bob',
    scopes: ['messages'],
    only: { agents: ['router'], max_requests: 1 },
  });
  const bound = { authorization: `Bearer ${minted.body.token}` };
  const statuses = [];
  for (const conversation of ['c1', 'c2', undefined, 'c3'])
    statuses.push((await askWhole(app, bound, 'easy', { conversation })).status);
  expect([statuses, labels.length]).toEqual([[200, 403, 403, 403], 1]);
  for (const more of [{ agent_tools: ['no-such-tool'] }, { max_usd: 'much' }]) {
    expect((await askWhole(app, bob, 'easy', { conversation: undefined, ...more })).status).toBe(400);
  }
  expect(labels).toHaveLength(1);
  const slow = askWhole(app, bob, 'slow and easy', { conversation: 'c4' });
  await eventually(() => expect(isAsked).toBe(true));
  const others = await Promise.all(
    Array.from({ length: 3 }, async (_, nth) => {
      const messages = [{ role: 'user', content: `easy ${nth}` }];
      return (await app.post('/v1/messages', { agent: 'router', conversation: 'c4', messages }, bob)).status;
    }),
  );
  isReleased = true;
  expect([others, (await slow).status]).toEqual([[409, 409, 409], 200]);
  expect(labels).toHaveLength(2);
});

test('tool results go to the model that made the calls, whatever model the request names', async () => {
  const thinking = { type: 'thinking', thinking: 'Hm.', signature: 'sig' };
  const tool = { name: 'pick', input_schema: { type: 'object' } };
  const { app, root, bob, up } = await createRouterEdge({
    answer: (_, number) =>
      number <= 2
        ? { content: [thinking, { type: 'tool_use', id: 'toolu_1', name: 'pick', input: {} }], stop_reason: 'tool_use' }
        : textAnswer('So.'),
  });
  await putJson(app, root, '/agents/router', {
    max_tokens: 64,
    model: { ...CHOICE, overridable: true },
    tools: [tool],
  });
  await askWhole(app, bob, 'easy');
  const content = [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'This one.' }];
  const result = await askWhole(app, { ...bob, 'sluice-model': LARGE }, '', { messages: [{ role: 'user', content }] });
  expect([result.status, result.chosen]).toEqual([200, expect.stringMatching(/^claude-haiku-5-5; arm=chosen/)]);
  expect(up.map(({ model }) => model)).toEqual([SMALL, SMALL]);
});

test('a model name with half a character is reported with a replacement character, and no hold remains', async () => {
  const { app, root, bob } = await createRouterEdge();
  const agent = { max_tokens: 64, model: { ...CHOICE, models: { easy: `${SMALL}\ud800` } } };
  const { status: refused } = await requestEdge(app, 'PUT', '/agents/router', root, agent);
  expect(refused).toBe(400);
  // A version that was stored before the edge refused such names.
  const bytes = new TextEncoder().encode(JSON.stringify({ ...agent, system: [], tools: [], limits: {} }));
  const version = { kind: 'agent', name: 'older', hash: await computeVersionHash(bytes), bytes, description: null };
  await (getAccountStub(bindings, {}, DEPLOYMENT) as unknown as Account).putVersion(version);
  const { status, chosen } = await askWhole(app, bob, 'easy', { agent: 'older', conversation: undefined });
  expect([status, chosen]).toEqual([expect.any(Number), expect.stringContaining('%EF%BF%BD')]);
  await eventually(async () => expect((await readLedger()).map((row) => row.status)).not.toContain('held'));
});
