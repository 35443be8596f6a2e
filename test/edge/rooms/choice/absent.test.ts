/** What an agent that chooses its model does on an edge without the room for that. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { choiceRoom } from '../../../../src/edge/rooms/choice/room.ts';
import { ask } from '../../../support/agents.ts';
import { CHOICE, edgeWithRouter, LARGE, ledgerOf, question, SMALL, store } from '../../../support/chosen-models.ts';
import { readOf, rowsOf } from '../../../support/conversations.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const LACKS = 'This agent chooses its model, and this edge has no room "choice". Deploy one that has it.';

test('it answers nothing, is not stored, and its conversations are read; agents with one model go on', async () => {
  const { app, root, bob, up, labels } = await edgeWithRouter();
  expect(await question(app, bob, 'easy')).toMatchObject({ status: 200, chosen: expect.stringContaining(SMALL) });
  const before = [await readOf('c1', 'bob'), await rowsOf('c1', 'bob'), await ledgerOf()];
  expect(before[0]).toMatchObject({ model: SMALL });
  const [sent, labelled] = [up.length, labels.length];
  const again = withoutRooms(choiceRoom);
  await abortAllDurableObjects();
  const messages = [{ role: 'user', content: 'hard' }];
  const asked: readonly (readonly [path: string, body: object])[] = [
    ['/v1/messages', { conversation: 'c1', messages }],
    ['/v1/messages', { conversation: 'c2', agent: 'router', messages }],
    ['/v1/messages', { agent: 'router', messages }],
    ['/count-tokens', { conversation: 'c1', messages }],
    ['/count-tokens', { agent: 'router', messages }],
    ['/conversations', { id: 'c2', agent: 'router' }],
  ];
  for (const [path, body] of asked) {
    expect(await ask(app, 'POST', path, bob, body), path).toMatchObject({
      status: 409,
      body: { error: { type: 'conflict_error', message: LACKS } },
    });
  }
  const other = { max_tokens: 64, model: CHOICE };
  expect(await ask(app, 'PUT', '/agents/other', root, other)).toMatchObject({ status: 409 });
  expect(await ask(app, 'GET', '/agents/router', bob)).toMatchObject({ status: 200, body: { model: CHOICE } });
  expect([await readOf('c1', 'bob'), await rowsOf('c1', 'bob'), await ledgerOf()]).toEqual(before);
  expect(await readOf('c2', 'bob')).toBeUndefined();
  expect([up.length, labels.length]).toEqual([sent, labelled]);

  await store(app, root, '/agents/plain', { max_tokens: 64, model: LARGE });
  const plain = await question(app, bob, 'easy', { agent: 'plain', conversation: 'c3' });
  expect(plain).toMatchObject({ status: 200, chosen: '' });
  expect(await question(app, bob, 'easy', { agent: 'plain', conversation: undefined })).toMatchObject({ status: 200 });
  again();
  await abortAllDurableObjects();
  expect(await question(app, bob, 'hard')).toMatchObject({ status: 200, chosen: expect.stringContaining(SMALL) });
});
