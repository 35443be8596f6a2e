import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import type { Json } from '../../../../src/edge/kit/json/object.ts';
import { agentsRoom } from '../../../../src/edge/rooms/agents/room.ts';
import { approvalsRoom } from '../../../../src/edge/rooms/approvals/room.ts';
import { choiceRoom } from '../../../../src/edge/rooms/choice/room.ts';
import { pageTokensRoom } from '../../../../src/edge/rooms/page-tokens/room.ts';
import type { Room } from '../../../../src/edge/rooms/room.ts';
import { runsRoom } from '../../../../src/edge/rooms/runs/room.ts';
import { showRoom } from '../../../../src/edge/rooms/show/room.ts';
import { subagentsRoom } from '../../../../src/edge/rooms/subagents/room.ts';
import { transferRoom } from '../../../../src/edge/rooms/transfer/room.ts';
import { ask, SKY } from '../../../support/agents.ts';
import { stubOf } from '../../../support/conversations.ts';
import { as, simulatedEdge } from '../../../support/prefixes.ts';
import { answeringBy, call, calls, says, servingTools, TOOL_VARS, weather } from '../../../support/scripted-runs.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const MESSAGES = { messages: [{ role: 'user', content: 'Is it sunny?' }] };
const ONLY = { agents: ['sky'], conversations: ['web-*'], approvals: true };

/** The edge with a conversation of a page, one that waits for an approval, one of another agent, and one without any. */
async function edgeWithPage() {
  const app = simulatedEdge(TOOL_VARS);
  servingTools(() => new Response('sun'));
  let isCalling = false;
  answeringBy(({ messages }) => {
    const isAnswered = JSON.stringify(messages.at(-1)).includes('tool_result');
    return isCalling && !isAnswered ? calls(call(`toolu_${messages.length}`, 'Bern')) : says('Sun.');
  });
  const root = await as('root', 'admin');
  const own = await as('bob', 'messages');
  const page = bearer(await tokenOf('bob', ['messages'], { only: ONLY }));
  const tools = [weather({ approval: 'always' })];
  for (const name of ['sky', 'sea'])
    expect((await ask(app, 'PUT', `/agents/${name}`, root, { ...SKY, tools })).status).toBe(200);
  const turn = async (headers: Record<string, string>, body: object) =>
    expect((await ask(app, 'POST', '/v1/messages', headers, { ...MESSAGES, ...body })).status).toBe(200);
  await turn(page, { agent: 'sky', conversation: 'web-1' });
  await turn(own, { agent: 'sea', conversation: 'web-sea' });
  await turn(own, { agent: 'sky', conversation: 'private' });
  await turn(own, { model: SKY.model, max_tokens: 10, conversation: 'web-own' });
  isCalling = true;
  await turn(page, { agent: 'sky', conversation: 'web-paused' });
  await app.settled();
  return { app, page };
}

const asked: readonly [method: string, path: string, body?: object, headers?: Record<string, string>][] = [
  ...['web-1', 'web-sea', 'private', 'web-own', 'web-paused', 'web-new', '__proto__', 'constructor'].flatMap(
    (id): [string, string, object?][] => [
      ['POST', '/v1/messages', { ...MESSAGES, conversation: id, agent: 'sky' }],
      ['POST', '/v1/messages', { ...MESSAGES, conversation: id }],
      ['POST', '/count-tokens', { ...MESSAGES, conversation: id, agent: 'sky' }],
      ['GET', `/conversations/${id}/messages`],
      ['GET', `/conversations/${id}/stream`],
      ['GET', `/conversations/${id}/approvals`],
      ['POST', `/conversations/${id}/approvals/toolu_1`, { decision: 'deny' }],
      ['POST', `/conversations/${id}/stop`],
      ['POST', `/conversations/${id}/fork`, { id: `web-copy-${id.length}` }],
      ['GET', `/conversations/${id}/export`],
      ['GET', `/conversations/${id}/backup`],
    ],
  ),
  ...['sea', 'constructor', '__proto__', 'own:sky', 'sky@constructor'].flatMap((agent): [string, string, object][] => [
    ['POST', '/v1/messages', { ...MESSAGES, agent }],
    ['POST', '/v1/messages', { ...MESSAGES, agent, conversation: 'web-2' }],
    ['POST', '/conversations', { id: 'web-3', agent }],
  ]),
  ...['system', 'tools', 'max_usd', 'background', 'history', 'prefix', 'agent_tools', 'constructor', 'show'].map(
    (name): [string, string, object] => [
      'POST',
      '/v1/messages',
      { ...MESSAGES, agent: 'sky', conversation: 'web-4', [name]: 'x' },
    ],
  ),
  ...['sluice-prefix', 'sluice-agent', 'sluice-model', 'sluice-show', 'sluice-max-usd'].map(
    (name): [string, string, object, Record<string, string>] => [
      ...(['POST', '/v1/messages', { ...MESSAGES, conversation: 'web-5' }] as const),
      { [name]: 'sea' },
    ],
  ),
];

const ABSENT: readonly [name: string, ...Room[]][] = [
  ['agents', agentsRoom, choiceRoom, subagentsRoom],
  ['approvals', approvalsRoom],
  ['transfer', transferRoom],
  ['choice', choiceRoom],
  ['runs', runsRoom],
  ['show', showRoom],
];

test.each(ABSENT)(
  'without %s a bound token may do nothing that it could not do with it, and nothing breaks',
  async (_, ...absent) => {
    const { app, page } = await edgeWithPage();
    const statuses = async () => {
      const seen: [string, number][] = [];
      for (const [method, path, body, headers] of asked) {
        const sent = {
          method,
          headers: { ...page, ...headers, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        };
        const response = await app.fetch(path, sent);
        const said = await response.text();
        await app.settled();
        seen.push([
          `${method} ${path} ${JSON.stringify(body)} ${JSON.stringify(headers)}: ${said.slice(0, 300)}`,
          response.status,
        ]);
      }
      return seen;
    };
    withoutRooms(...absent);
    await abortAllDurableObjects();
    const without = await statuses();
    for (const [what, status] of without) expect([200, 201, 202, 204, 400, 403, 404, 409, 423], what).toContain(status);
    expect(
      without.filter(
        ([what, status]) => status < 300 && /private|web-sea|web-own|"sea"|own:sky/.test(what.split(': ').at(0) ?? ''),
      ),
    ).toEqual([]);
  },
);

test('a Worker of another version may still take bound tokens: an object without their room refuses them by a 403', async () => {
  await edgeWithPage();
  withoutRooms(pageTokensRoom);
  await abortAllDurableObjects();
  const by = { account: 'bob', only: ONLY };
  const object = stubOf('web-1', 'bob');
  const place = { account: 'bob', id: 'web-9' };
  const identity = { ...by, scopes: ['messages'], token: undefined } as const;
  const answers = [
    await object.stop({}, by),
    await object.resume(undefined, by),
    await object.messages({ limit: 1 }, by),
    await object.part('approvals', 'list', by),
    await object.fork('web-8', undefined, by),
    await stubOf('web-9', 'bob').create(place, { agent: 'sky', agent_owner: 'bob', identity } as never, {}),
  ];
  for (const answer of answers) expect((answer as unknown as { error: Json }).error).toMatchObject({ status: 403 });
});
