import { expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { requestEdge } from '#test/support/agents.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { withHalfCharacters } from '#test/support/half-characters.ts';
import { authorizationFor, createSimulatedEdge } from '#test/support/prefixes.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const PYDANTIC = FIRST_SCHEMAS['a model of Pydantic'].schema;
const MODEL = { model: 'claude-opus-5-5', max_tokens: 16 };

const CATEGORY = { enum: ['billing', 'bug'] };
const TICKET = { properties: { category: CATEGORY, note: { type: 'string' } }, required: ['category', 'note'] };
const BLOCK_KINDS = [{ type: 'text', text: 'Be brief.' }];

test.each<[string, JsonObject, JsonObject]>([
  ['agents', { ...MODEL, system: 'Be brief.' }, { system: 'Be kind.' }],
  ['agents', { ...MODEL, system: BLOCK_KINDS }, { system: 'Be brief.' }],
  ['agents', { ...MODEL, system: '' }, { max_tokens: 17 }],
  ['agents', MODEL, { system: '' }],
  ['prefixes', { ...MODEL, system: 'Be brief.' }, { description: 'Another one.' }],
  [
    'prefixes',
    { ...MODEL, system: BLOCK_KINDS, tools: [{ name: 'a', input_schema: { type: 'object' } }] },
    { system: 'Be brief.' },
  ],
  ['classifiers', { labels: ['a', 'b'] }, { labels: ['a', 'c'] }],
  ['classifiers', { labels: ['a', { name: 'b' }, { name: 'c', description: 'C' }], votes: 3 }, { multi: true }],
  ['classifiers', { schema: TICKET }, { instructions: 'A ticket.' }],
  ['classifiers', { schema: PYDANTIC, label_property: 'category' }, { label_property: 'priority', allow_none: false }],
  ['classifiers', { schema: CATEGORY }, { votes: 3 }],
])('PUT /%s accepts the body that GET returns, in the form that was sent: %j', async (path, body, change) => {
  const app = createSimulatedEdge();
  const bob = await authorizationFor('bob', 'messages', 'classify', 'prefixes');
  const put = await requestEdge(app, 'PUT', `/${path}/x`, bob, body);
  expect(put.status, JSON.stringify(put.body)).toBe(200);
  const { version } = put.body;
  const got = await requestEdge(app, 'GET', `/${path}/x`, bob);
  expect(got.body).toMatchObject({ ...body, name: 'x', version, owner: 'account' });
  if (path === 'agents') expect('system' in got.body).toBe('system' in body);
  const again = await requestEdge(app, 'PUT', `/${path}/x`, bob, got.body);
  expect([again.status, again.body.version], JSON.stringify(again.body)).toEqual([200, version]);
  const { labels, ...others } = got.body;
  // The labels of another property are read again.
  const kept = labels === undefined || 'label_property' in change ? {} : { labels };
  const changed = await requestEdge(app, 'PUT', `/${path}/x`, bob, { ...others, ...kept, ...change });
  expect(changed.status, JSON.stringify(changed.body)).toBe(200);
  expect(changed.body.version).not.toBe(version);
  const back = await requestEdge(app, 'PUT', `/${path}/x`, bob, { version });
  expect([back.status, back.body.version]).toEqual([200, version]);
});

test.each<[JsonObject, RegExp]>([
  [{ labels: ['billing'] }, /^labels: differs from the value that `schema` determines/],
  [{ multi: true }, /^multi: differs from the value that `schema` determines/],
  [{ allow_none: true }, /^allow_none: differs from the value that `schema` determines/],
  [{ fields: { type: 'object', properties: {} } }, /^fields: differs from the value that `schema` determines/],
])('rejects a classifier with a schema and %j, which differs from the schema', async (more, words) => {
  const app = createSimulatedEdge();
  const bob = await authorizationFor('bob', 'classify', 'prefixes');
  const { status, body } = await requestEdge(app, 'PUT', '/classifiers/x', bob, { schema: TICKET, ...more });
  expect([status, (body.error as JsonObject).message]).toEqual([400, expect.stringMatching(words)]);
});

test.each<[string, JsonObject]>([
  ['agents', MODEL],
  ['prefixes', MODEL],
])('a text and the same text as one block are sent to Claude as the same system, by /%s', async (path, body) => {
  const app = createSimulatedEdge();
  const bob = await authorizationFor('bob', 'messages', 'prefixes');
  for (const system of ['Be brief.', BLOCK_KINDS]) {
    expect((await requestEdge(app, 'PUT', `/${path}/x`, bob, { ...body, system })).status).toBe(200);
    const by = { [path === 'agents' ? 'agent' : 'prefix']: 'x' };
    const question = [{ role: 'user', content: 'Hello' }];
    expect(
      (await requestEdge(app, 'POST', '/messages', bob, { ...MODEL, ...by, messages: question, stream: false })).status,
    ).toBe(200);
  }
  const sent = app.sent
    .filter(({ url }) => url.pathname === '/v1/messages')
    .map(({ text }) => JSON.parse(text) as JsonObject);
  const [one, other] = sent.map(({ system }) => system);
  expect(one).toMatchObject(BLOCK_KINDS);
  expect(other).toEqual(one);
});

const SCHEMA = { type: 'object', properties: { city: { type: 'string', enum: ['Bern'] } }, required: ['city'] };
const WEATHER = { name: 'weather', description: 'Tells the weather.', input_schema: SCHEMA };
const TOOLS = [
  // Its server is not asked: its tools would change the positions of those behind it.
  { name: 'far', run: { mcp: 'https://far.example.com/mcp', headers: { accept: 'a' }, tools: ['find'] } },
  { ...WEATHER, cache_control: { type: 'ephemeral' } },
  { name: 'near', input_schema: SCHEMA, run: { url: 'https://near.example.com/', headers: { accept: 'a' } } },
];

test.each<[string, JsonObject]>([
  [
    'agents',
    {
      ...{ ...MODEL, description: 'An agent.', system: BLOCK_KINDS, tools: TOOLS, stop_sequences: ['END'] },
      mcp_servers: [{ type: 'url', name: 'wiki', url: 'https://wiki.example.com/' }],
      ...{ container: { skills: [{ type: 'anthropic', skill_id: 'pdf' }] }, betas: ['one'], fallback_models: ['two'] },
      ...{ thinking: { type: 'adaptive' }, tool_choice: { type: 'auto' }, output_config: { effort: 'low' } },
    },
  ],
  [
    'prefixes',
    {
      ...MODEL,
      system: 'Be brief.',
      tools: TOOLS,
      messages: [
        { role: 'user', content: BLOCK_KINDS },
        { role: 'assistant', content: 'So.' },
      ],
    },
  ],
  [
    'classifiers',
    {
      ...{ description: 'A classifier.', instructions: 'Be strict.', ...MODEL, max_tokens: undefined },
      labels: ['billing', { name: 'bug', description: 'A fault.', examples: ['It broke.'] }],
      examples: [{ input: 'It broke.', label: 'bug', fields: { city: 'Bern' } }],
      fields: SCHEMA,
    },
  ],
])('PUT /%s rejects half a character in each string and each key, and names its path', async (path, body) => {
  const app = createSimulatedEdge({ TOOL_HOSTS: 'far.example.com,near.example.com' });
  const bob = await authorizationFor('bob', 'messages', 'classify', 'prefixes', 'tools');
  for (const { changed, path: at } of withHalfCharacters(JSON.parse(JSON.stringify(body)))) {
    const { status, body: answer } = await requestEdge(app, 'PUT', `/${path}/x`, bob, changed);
    const message = `${at || 'body'}: contains half of a character`;
    expect([status, (answer.error as JsonObject).message]).toEqual([400, expect.stringContaining(message)]);
  }
  expect((await requestEdge(app, 'GET', `/${path}/x`, bob)).status).toBe(404);
});

const saidBy = ({ status, body }: { status: number; body: JsonObject }) =>
  `${status} ${(body.error as JsonObject | undefined)?.message}`;

test.each([
  ['classifiers', 'classifier', { labels: ['a', 'b'] }],
  ['prefixes', 'prefix', { ...MODEL, system: 'Be brief.' }],
  ['agents', 'agent', MODEL],
] as const)('suggests the most similar stored name for an unknown name in /%s', async (path, kind, content) => {
  const app = createSimulatedEdge();
  const bob = await authorizationFor('bob', 'messages', 'classify', 'prefixes');
  const carol = await authorizationFor('carol', 'messages', 'classify', 'prefixes');
  const root = await authorizationFor('root', 'admin');
  expect((await requestEdge(app, 'PUT', `/${path}/shop-tickets`, root, content)).status).toBe(200);
  expect((await requestEdge(app, 'PUT', `/${path}/private-desk`, bob, content)).status).toBe(200);
  const use = (name: string, by: Record<string, string>) => {
    if (kind === 'classifier') return requestEdge(app, 'POST', '/classify', by, { classifier: name, input: 'Hi' });
    const messages = [{ role: 'user', content: 'Hi' }];
    return requestEdge(app, 'POST', '/messages', by, { [kind]: name, messages });
  };
  for (const ask of [use, (name: string, by: object) => requestEdge(app, 'GET', `/${path}/${name}`, { ...by })]) {
    expect(saidBy(await ask('shoptickets', carol))).toBe(
      `404 The ${kind} shoptickets does not exist. Did you mean shop-tickets? List all with GET /${path}.`,
    );
    expect(saidBy(await ask('privatedesk', bob))).toContain('Did you mean private-desk?');
    expect(saidBy(await ask('privatedesk', carol))).toContain(`Store it with PUT /${path}/:name`);
    expect(saidBy(await ask('unlike', bob))).not.toContain('Did you mean');
  }
});

test('suggests no other name to a restricted token', async () => {
  const app = createSimulatedEdge();
  const root = await authorizationFor('root', 'admin');
  await requestEdge(app, 'PUT', '/classifiers/shop-tickets', root, { labels: ['a', 'b'] });
  await requestEdge(app, 'PUT', '/agents/shop-tickets', root, MODEL);
  const only = { classifiers: ['shoptickets'], agents: ['shoptickets'] };
  const page = bearerHeader(await createToken('page', ['messages', 'classify'], { only }));
  const messages = [{ role: 'user', content: 'Hi' }];
  for (const response of [
    await requestEdge(app, 'POST', '/classify', page, { classifier: 'shoptickets', input: 'Hi' }),
    await requestEdge(app, 'POST', '/messages', page, { agent: 'shoptickets', messages }),
    await requestEdge(app, 'POST', '/messages', page, { agent: 'shoptickets', conversation: 'c1', messages }),
  ])
    expect(saidBy(response)).toMatch(/^404 The \w+ shoptickets does not exist\. Store it/);
});
