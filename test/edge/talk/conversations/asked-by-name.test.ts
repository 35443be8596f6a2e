import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import type { Json } from '../../../../src/edge/kit/json/object.ts';
import { Account } from '../../../../src/edge/money/account/account.ts';
import { Conversation } from '../../../../src/edge/talk/conversations/conversation.ts';
import { CallRows } from '../../../../src/edge/talk/storage/call-rows.ts';
import type { Profile } from '../../../../src/edge/talk/storage/rows.ts';
import { Transcript } from '../../../../src/edge/talk/storage/transcript.ts';
import { ask, edgeWithSky, turnWith } from '../../../support/agents.ts';
import { atRest, jsonOf, readOf, rowsOf, simulate, stubOf } from '../../../support/conversations.ts';
import { eventually } from '../../../support/eventually.ts';
import { answeringBy, says } from '../../../support/scripted-runs.ts';
import { bodyOf, say } from '../../../support/turns.ts';

// Requests cross to objects, and are stored there, as the next release writes them: what rooms are asked stands by its name.

const NAMES: Record<string, string> = {
  ...{ show: 'show', background: 'background', retry: 'retry', deliverUrl: 'deliver_url', prefix: 'prefix' },
  ...{
    agent: 'agent',
    agentOwner: 'agent_owner',
    agentListed: 'agent_listed',
    parent: 'parent',
    fallbacks: 'fallback_models',
  },
};

function byName<Request extends object>(request: Request): Request {
  const members = Object.entries(request);
  const asked = members.flatMap(([member, value]) => (member in NAMES ? [[NAMES[member], value]] : []));
  const others = members.filter(([member]) => !(member in NAMES));
  return { ...Object.fromEntries(others), asked: Object.fromEntries(asked) } as Request;
}

const storedByName = (text: string) => {
  const stored = JSON.parse(text) as { request: Json };
  return JSON.stringify({ ...stored, request: byName(stored.request) });
};

/** Has all requests to conversations, and all that are stored, in the form of the next release. @returns what was so */
function asNextRelease(): Set<string> {
  const seen = new Set<string>();
  const { turn, prompt, create } = Conversation.prototype;
  const { saveRequest } = CallRows.prototype;
  const { beginTurn } = Transcript.prototype;
  vi.spyOn(Conversation.prototype, 'turn').mockImplementation(function (this: Conversation, call, sent) {
    seen.add('turn');
    return turn.call(this, JSON.stringify(byName(JSON.parse(call))), sent);
  });
  vi.spyOn(Conversation.prototype, 'prompt').mockImplementation(function (this: Conversation, request) {
    seen.add('prompt');
    return prompt.call(this, byName(request));
  });
  vi.spyOn(Conversation.prototype, 'create').mockImplementation(function (this: Conversation, place, fields, texts) {
    seen.add('create');
    return create.call(this, place, byName(fields), texts);
  });
  vi.spyOn(CallRows.prototype, 'saveRequest').mockImplementation(function (this: CallRows, run, text) {
    seen.add('run');
    saveRequest.call(this, run, storedByName(text));
  });
  vi.spyOn(Transcript.prototype, 'beginTurn').mockImplementation(function (this: Transcript, row, messages) {
    if (row.request !== null) seen.add('background');
    beginTurn.call(this, { ...row, request: row.request && storedByName(row.request) }, messages);
  });
  return seen;
}

test('an object answers requests, and goes on with stored ones, in the form of the next release', async () => {
  const { app, bob, version } = await edgeWithSky();
  const seen = asNextRelease();
  const created = await ask(app, 'POST', '/conversations', bob, { id: 'c1', agent: 'sky' });
  expect(created.body).toMatchObject({ id: 'c1', agent: { name: 'sky', version } });
  const messages = [{ role: 'user', content: 'Hi' }];
  const count = (agent: string) =>
    ask(app, 'POST', '/v1/messages/count_tokens', bob, { messages, conversation: 'c1', agent });
  expect([(await count('sky')).status, (await count('sea')).status]).toEqual([200, 400]);

  const begin = (body: object, headers = {}) =>
    ask(app, 'POST', '/v1/messages', { ...bob, ...headers }, { messages, background: true, ...body });
  const ended = async (conversation: string, turn: unknown) =>
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf(conversation, 'bob'));
      const told = await jsonOf(await stubOf(conversation, 'bob').turnReport(String(turn)));
      expect(told).toMatchObject({ status: 'complete' });
    });

  // Its object dies when it has gone up: it goes up again, as it has asked.
  const plain = { model: 'claude-opus-5-5', max_tokens: 50 };
  const dying = answeringBy(() => says('Done.'), {
    after: async () => (dying.length === 1 ? await new Promise<never>(() => {}) : undefined),
  });
  const begun = (await begin({ ...plain, conversation: 'c2', show: 'text', retry: true })).body;
  expect(String(begun.id)).toMatch(/^turn_text_/);
  await eventually(() => expect(dying).toHaveLength(1));
  await abortAllDurableObjects();
  await ended('c2', begun.id);
  expect(dying).toHaveLength(2);

  // Its object dies before it has gone up: it begins again.
  const bodies = answeringBy(() => says('Done.'));
  const { admitJson } = Account.prototype;
  let reached = 0;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...one) {
    reached += 1;
    return reached === 1 ? await new Promise<never>(() => {}) : await admitJson.apply(this, one);
  });
  const sent = begin({ ...plain, conversation: 'c3' }, { 'idempotency-key': 'k' });
  await eventually(() => expect(reached).toBe(1));
  await abortAllDurableObjects();
  // The edge calls again, and finds the turn that it had begun.
  await ended('c3', (await sent).body.id);
  expect(bodies).toMatchObject([{ messages }]);
  const { status } = await turnWith(app, bob, { conversation: 'c3', agent: 'sky' });
  expect(status).toBe(400);
  await app.settled();
  expect([...seen].sort()).toEqual(['background', 'create', 'prompt', 'run', 'turn']);
});

test('what a newer release has stored about a conversation and its turns stays, whatever is done here', async () => {
  simulate();
  await say(bodyOf('Hi'));
  await atRest();
  const inside = async <T>(look: (transcript: Transcript) => T) =>
    await runInDurableObject(stubOf(), (_, { storage }) => look(new Transcript(storage)));
  await inside((transcript) => {
    transcript.save({ ...transcript.profile, votes: { of: 'turns' } } as unknown as Profile);
    transcript.write('alter table turns add column votes text');
    transcript.write("update turns set votes = '[1]'");
    transcript.write('create table votes (id text primary key) strict');
    transcript.setMeta('schema_version', '99');
  });
  await abortAllDurableObjects();
  await say(bodyOf('And then?'));
  await stubOf().patch({ title: 'Voted' });
  await atRest();
  const left = await inside((transcript) => ({
    profile: transcript.profile,
    votes: transcript.read('select votes from turns order by seq').map(({ votes }) => votes),
  }));
  expect(left).toMatchObject({ profile: { title: 'Voted', votes: { of: 'turns' } }, votes: ['[1]', null] });
  expect(await stubOf().fork('c2', undefined)).toMatchObject({ ok: true });
  expect((await rowsOf('c2')).map(({ content }) => content)).toEqual((await rowsOf()).map(({ content }) => content));
  // A conversation that is deleted leaves nothing of it.
  await stubOf().erase();
  await eventually(async () => {
    const tables = await runInDurableObject(stubOf(), (_, { storage }) =>
      storage.sql.exec("select name from sqlite_master where name = 'votes'").toArray(),
    );
    expect([tables, await readOf()]).toEqual([[], undefined]);
  });
});
