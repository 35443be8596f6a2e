import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { pageTokensRoom } from '../../../../src/edge/rooms/page-tokens/room.ts';
import { ask, SKY } from '../../../support/agents.ts';
import { as, simulatedEdge } from '../../../support/prefixes.ts';
import { answeringBy, says, TOOL_VARS } from '../../../support/scripted-runs.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const MESSAGES = { messages: [{ role: 'user', content: 'Is it sunny?' }] };
const SAID = /takes no bound tokens: it is without the room page-tokens/;

test('without the room for them, a bound token may ask nothing, and none is minted; other tokens go on', async () => {
  const app = simulatedEdge(TOOL_VARS);
  answeringBy(() => says('Sun.'));
  const root = await as('root', 'admin');
  expect((await ask(app, 'PUT', '/agents/sky', root, SKY)).status).toBe(200);
  const only = { agents: ['sky'], classifiers: ['mood'] };
  const page = bearer(await tokenOf('bob', ['messages', 'classify'], { only }));
  const own = await as('bob', 'messages');
  const turn = { agent: 'sky', conversation: 'web-1', ...MESSAGES };
  expect((await ask(app, 'POST', '/v1/messages', page, turn)).status).toBe(200);

  withoutRooms(pageTokensRoom);
  await abortAllDurableObjects();
  const asked: readonly [method: string, path: string, body?: object][] = [
    ['POST', '/v1/messages', turn],
    ['POST', '/v1/messages', { agent: 'sky', ...MESSAGES }],
    ['POST', '/count-tokens', { agent: 'sky', ...MESSAGES }],
    ['POST', '/classify', { classifier: 'mood', input: 'Hi' }],
    ['POST', '/conversations', { agent: 'sky' }],
    ['GET', '/conversations/web-1/messages'],
    ['GET', '/conversations/web-1/stream'],
    ['POST', '/conversations/web-1/stop'],
    ['POST', '/conversations/web-1/fork', { id: 'web-2' }],
    ['POST', '/tokens/renew'],
  ];
  for (const [method, path, body] of asked) {
    const answer = await ask(app, method, path, page, body);
    const { status, body: said } = answer;
    expect([method, path, status, said], path).toEqual([
      method,
      path,
      403,
      { ...(said as object), error: expect.objectContaining({ message: expect.stringMatching(SAID) }) },
    ]);
  }
  const mint = { account: 'bob', scopes: ['messages'], only };
  expect((await ask(app, 'POST', '/tokens', root, mint)).status).toBe(400);
  expect((await ask(app, 'POST', '/v1/messages', own, turn)).status).toBe(200);
  expect((await ask(app, 'GET', '/conversations/web-1', own)).status).toBe(200);
});
