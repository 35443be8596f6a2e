/** What conversations of agents do on an edge without the room of agents, and so without that of the choice of a model. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { agentsRoom } from '../../../../src/edge/rooms/agents/room.ts';
import { choiceRoom } from '../../../../src/edge/rooms/choice/room.ts';
import { ask, edgeWithSky, SKY, turnWith } from '../../../support/agents.ts';
import { ledgerOf } from '../../../support/chosen-models.ts';
import { bindings, readOf, rowsOf, stubOf } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { servingTools } from '../../../support/scripted-runs.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';
import { requestOf } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const LACKS = 'This is for an agent to answer, and this edge has no room "agents". Deploy one that has it.';
const QUESTION = { role: 'user', content: 'Is it sunny?' };
const refused = { status: 409, message: LACKS, headers: { 'x-should-retry': 'false' } };

const withoutAgents = () => withoutRooms(agentsRoom, choiceRoom);

/** What the ledger has of bob, and what is held of his money. */
async function moneyOf() {
  const { total } = await accountStub(bindings, {}, 'bob').standing({});
  return { rows: await ledgerOf('bob'), held: total.held_usd };
}

test('it wakes, is read, listed, exported, backed up, copied and gone back in; what its agent answers is a 409', async () => {
  const { app, bob, bodies } = await edgeWithSky();
  servingTools(() => new Response('sun'));
  await turnWith(app, bob, { agent: 'sky' });
  const paths = ['', '/messages', '/export'].map((path) => `/conversations/c1${path}`);
  const read = async () => {
    const texts = paths.map(async (path) => (await app.fetch(path, { headers: bob })).text());
    return await Promise.all([...texts, readOf('c1', 'bob'), rowsOf('c1', 'bob')]);
  };
  const before = { read: await read(), money: await moneyOf() };
  const sent = bodies.length;
  const again = withoutAgents();
  await abortAllDurableObjects();
  expect(await read()).toEqual(before.read);
  const listed = await ask(app, 'GET', '/conversations', bob);
  expect(listed.body.data).toMatchObject([{ id: 'c1' }]);
  const kept = await stubOf('c1', 'bob').backup();
  const lines = kept.ok ? await new Response(kept.value as ReadableStream).text() : '';
  expect(lines).toContain('You are Sky.');
  expect(lines.trimEnd().endsWith('["end",null]')).toBe(true);

  const turn = await turnWith(app, bob, {});
  expect(turn).toMatchObject({ status: 409, body: { error: { type: 'conflict_error', message: LACKS } } });
  const counted = await ask(app, 'POST', '/count-tokens', bob, { conversation: 'c1', messages: [QUESTION] });
  expect(counted).toMatchObject({ status: 409, body: { error: { message: LACKS } } });
  // The release before asks so: it has the room.
  const named = { ...requestOf({ messages: [QUESTION] }, { id: 'c2', account: 'bob' }), asked: { agent: 'sky' } };
  const created = await stubOf('c2', 'bob').create(named.place, { agent: 'sky' }, {});
  expect(created).toMatchObject({ ok: false, error: refused });
  const { body: _, ...call } = named;
  expect(await stubOf('c2', 'bob').turn(JSON.stringify(call), named.body)).toMatchObject({
    kind: 'error',
    error: refused,
  });
  expect(await readOf('c2', 'bob')).toBeUndefined();
  const asked = { agent: 'sky', messages: [QUESTION] };
  for (const [path, body] of [
    ['/v1/messages', asked],
    ['/v1/messages', { ...asked, conversation: 'c1' }],
    ['/count-tokens', asked],
    ['/conversations', { id: 'c2', agent: 'sky' }],
  ] as const) {
    expect(await ask(app, 'POST', path, bob, body)).toMatchObject({
      status: 400,
      body: { error: { message: 'agent: this edge is without what reads it. Leave it out.' } },
    });
  }
  expect(bodies).toHaveLength(sent);
  expect(await moneyOf()).toEqual(before.money);
  const plain = { conversation: 'plain', model: SKY.model, max_tokens: 20 };
  expect(await turnWith(app, bob, plain)).toMatchObject({ status: 200 });

  const copy = await ask(app, 'POST', '/conversations/c1/fork', bob, { id: 'c3' });
  expect(copy).toMatchObject({ status: 201, body: { agent: { name: 'sky' }, messages: 4 } });
  const [first] = (await rowsOf('c3', 'bob')) as unknown as { id: string }[];
  expect(await stubOf('c3', 'bob').rewind(first?.id ?? '')).toMatchObject({ ok: true });
  expect(await stubOf('c3', 'bob').erase()).toBe(true);
  expect(await readOf('c3', 'bob')).toBeUndefined();
  again();
  expect(await turnWith(app, bob, {})).toMatchObject({ status: 200 });
  expect(bodies.length).toBeGreaterThan(sent);
});

test('a run that dies there ends by itself, and what it has cost is settled', async () => {
  const { app, bob, bodies } = await edgeWithSky();
  const called = servingTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
  const first = turnWith(app, bob, { agent: 'sky' }).catch(() => undefined);
  await eventually(() => expect(called).toHaveLength(1));
  const again = withoutAgents();
  await abortAllDurableObjects();
  await first;
  await eventually(async () => expect(await readOf('c1', 'bob')).toMatchObject({ state: 'idle', turns: 1 }));
  expect([called.length, bodies.length]).toEqual([1, 1]);
  await eventually(async () => expect(await moneyOf()).toMatchObject({ rows: [{ status: 'complete' }], held: 0 }));
  again();
  expect(await turnWith(app, bob, {})).toMatchObject({ status: 200 });
});

test('a bound token asks nothing there, and reads what is its own', async () => {
  const { app, bob, bodies } = await edgeWithSky({ ...SKY, tools: [] });
  const only = { agents: ['sky'], conversations: ['web-*'] };
  const page = bearer(await tokenOf('bob', ['messages'], { only }));
  const own = { conversation: 'web-1', messages: [QUESTION] };
  expect(await ask(app, 'POST', '/v1/messages', page, { ...own, agent: 'sky' })).toMatchObject({ status: 200 });
  const plain = { id: 'web-2', model: SKY.model, max_tokens: 10 };
  expect(await ask(app, 'POST', '/conversations', bob, plain)).toMatchObject({ status: 201 });
  const sent = bodies.length;
  withoutAgents();
  await abortAllDurableObjects();
  const asked = [undefined, 'web-1', 'web-2', 'web-3', 'private'].flatMap((conversation) =>
    ['/v1/messages', '/messages', '/count-tokens'].map((path) => [conversation, path] as const),
  );
  const answers = asked.map(async ([conversation, path]) => {
    const body = { messages: [QUESTION], conversation, model: SKY.model, max_tokens: 10 };
    const { status } = await ask(app, 'POST', path, page, body);
    return [conversation, path, status];
  });
  expect(await Promise.all(answers)).toEqual(asked.map((one) => [...one, one[0] === 'web-1' ? 409 : 403]));
  for (const conversation of [undefined, 'web-1', 'web-3']) {
    const { status } = await ask(app, 'POST', '/v1/messages', page, { ...own, conversation, agent: 'sky' });
    expect(status).toBe(400);
  }
  expect(await ask(app, 'POST', '/conversations', page, { id: 'web-3' })).toMatchObject({ status: 403 });
  expect(await ask(app, 'GET', '/conversations/web-1/messages', page)).toMatchObject({ status: 200 });
  expect(await ask(app, 'GET', '/conversations/web-2/messages', page)).toMatchObject({ status: 403 });
  expect(bodies).toHaveLength(sent);
});
