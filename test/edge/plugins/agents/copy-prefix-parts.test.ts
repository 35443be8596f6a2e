import { expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { MAX_AGENT_BYTES } from '#edge/plugins/agents/agents.schema.ts';
import { agentContent } from '#edge/plugins/agents/agents-answers.schema.ts';
import { requestEdge } from '#test/support/agents.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import { TOOL_URL, TOOL_VARS, weatherTool } from '#test/support/scripted-runs.ts';

const LIMITS = { model: 'claude-opus-5-5', max_tokens: 64 };
const PICK = { name: 'pick', description: 'Picks.', input_schema: { type: 'object' } };
const PARTS = { system: [{ type: 'text', text: 'Be kind.' }], tools: [PICK] };
const errorIn = ({ status, body }: { status: number; body: JsonObject }) =>
  `${status} ${(body.error as JsonObject | undefined)?.message}`;

/** Stores a prefix. @returns its version */
async function store(app: SimulatedEdge, headers: Record<string, string>, parts: object = PARTS, name = 'support') {
  const { status, body } = await requestEdge(app, 'PUT', `/prefixes/${name}`, headers, parts);
  expect(status, JSON.stringify(body)).toBe(200);
  return String(body.version);
}

test('an agent copies a prefix’s system and tools, and keeps them when the prefix changes or is deleted', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const version = await store(app, alice, { ...PARTS, model: 'claude-haiku-5-5', description: 'Its own.' });
  const put = await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: version });
  expect(put.status, JSON.stringify(put.body)).toBe(200);
  expect(agentContent.parse(put.body)).toMatchObject({ ...LIMITS, ...PARTS, prefix: version });
  expect(put.body).not.toHaveProperty('description');
  await store(app, alice, { system: 'Be brief.' });
  const next = await requestEdge(app, 'PUT', '/agents/brief', alice, { ...LIMITS, prefix: 'support' });
  expect(next.body).toMatchObject({ system: 'Be brief.', tools: [] });
  expect((await requestEdge(app, 'DELETE', `/prefixes/${version.replace('@', '/versions/')}`, alice)).status).toBe(200);
  const { warnings: _, ...stored } = put.body;
  expect((await requestEdge(app, 'GET', '/agents/support', alice)).body).toEqual(stored);
  // What was withdrawn makes no further agent.
  expect(errorIn(await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: version }))).toMatch(
    /^404 The prefix support@/,
  );
});

test('storing an agent as GET returned it creates no new version, whatever the order of its fields', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  await requestEdge(app, 'PUT', '/agents/helper', alice, { ...LIMITS, description: 'Helps.' });
  const help = { name: 'help', input_schema: { type: 'object' }, run: { agent: 'helper' } };
  await store(app, await authorizationFor('alice', 'messages', 'prefixes', 'tools'), { ...PARTS, tools: [PICK, help] });
  const { version } = (await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: 'support' })).body;
  // The agent keeps the description that it was stored with.
  await requestEdge(app, 'PUT', '/agents/helper', alice, { ...LIMITS, description: 'Helps more.' });
  const { body: got } = await requestEdge(app, 'GET', '/agents/support', alice);
  const [pick, helper] = got.tools as [JsonObject, JsonObject];
  expect(helper).toMatchObject({ description: 'Helps.', run: { agent: 'helper' } });
  const tools = [Object.fromEntries(Object.entries(pick).toReversed()), helper];
  for (const sent of [got, { ...got, tools }]) {
    const again = await requestEdge(app, 'PUT', '/agents/support', alice, sent);
    expect([again.status, again.body.version], JSON.stringify(again.body)).toEqual([200, version]);
  }
  for (const name of ['system', 'tools']) {
    const other = await requestEdge(app, 'PUT', '/agents/support', alice, { ...got, [name]: [] });
    expect(errorIn(other)).toMatch(new RegExp(`^400 ${name}: differs from the value of the prefix support`));
  }
});

test('a long prefix is copied completely, and one too long for an agent is rejected', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const long = 'Wörter. '.repeat(40_000);
  await store(app, alice, { system: long, tools: [{ ...PICK, description: long.slice(0, 600) }] });
  const { body } = await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: 'support' });
  expect(body.system).toBe(long);
  expect((body.tools as JsonObject[])[0]?.description).toBe(long.slice(0, 600));
  await store(app, alice, { system: 'x'.repeat(MAX_AGENT_BYTES) });
  expect(errorIn(await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: 'support' }))).toMatch(
    /^413 /,
  );
});

test('a deployment’s agent copies only the deployment’s prefixes, and an account’s agent prefers the account’s own', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const [root, alice, bob] = [
    await authorizationFor('root', 'admin'),
    await authorizationFor('alice'),
    await authorizationFor('bob'),
  ];
  const systemOf = async (headers: Record<string, string>) => {
    const put = await requestEdge(app, 'PUT', '/agents/support', headers, { ...LIMITS, prefix: 'support' });
    return put.status === 200 ? put.body.system : errorIn(put);
  };
  await store(app, alice, { system: 'Hers.' });
  expect(await systemOf(bob)).toMatch(/^404 The prefix support does not exist\. Store it/);
  // An admin's own account is no place for what the deployment's agent says.
  const rootsOwn = await authorizationFor('root', 'messages', 'prefixes');
  await store(app, rootsOwn, { system: 'Of root.' });
  expect(await systemOf(root)).toMatch(/^404 /);
  await store(app, root, { system: 'Of all.' });
  expect([await systemOf(root), await systemOf(alice), await systemOf(bob)]).toEqual(['Of all.', 'Hers.', 'Of all.']);
});

test('copying a prefix’s tools needs the scopes of storing them, and the deployment’s tool addresses stay hidden', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const root = await authorizationFor('root', 'admin');
  const plain = await authorizationFor('alice');
  const trusted = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  await store(app, root, { tools: [weatherTool()] }, 'sky');
  await store(app, trusted, { tools: [weatherTool()] }, 'mine');
  const take = (headers: Record<string, string>, prefix: string) =>
    requestEdge(app, 'PUT', '/agents/sky', headers, { ...LIMITS, prefix });
  expect(errorIn(await take(plain, 'mine'))).toMatch(/^403 .*the scope `tools`/);
  for (const who of [plain, trusted]) {
    const refused = await take(who, 'sky');
    expect(errorIn(refused)).toMatch(/^403 prefix: only admins can read the addresses of its tools/);
    expect(JSON.stringify(refused.body)).not.toContain(TOOL_URL);
  }
  expect((await take(trusted, 'mine')).body.tools).toEqual([weatherTool()]);
  expect((await take(root, 'sky')).body.tools).toEqual([weatherTool()]);
  // Nor which agents its tools are, which would be another account's.
  await store(app, root, { tools: [{ name: 'sky', run: { agent: 'sky' } }] }, 'editor');
  const editor = await requestEdge(app, 'PUT', '/agents/editor', trusted, { ...LIMITS, prefix: 'editor' });
  expect(errorIn(editor)).toMatch(/^403 prefix: only admins/);
  const page = { name: 'pick', input_schema: { type: 'object' } };
  await store(app, root, { tools: [page] }, 'picker');
  const picker = await requestEdge(app, 'PUT', '/agents/picker', plain, { ...LIMITS, prefix: 'picker' });
  expect(picker.body.tools).toEqual([page]);
});

test.each([
  [{ system: 'Be brief.' }, /^400 system: differs from the value of the prefix support/],
  [{ tools: [] }, /^400 tools: differs from the value of the prefix support/],
  [{ prefix: 'with messages' }, /^400 prefix: Input should be the name/],
  [{ prefix: null }, /^400 prefix: Input should be a string/],
  [{ prefix: 'talk' }, /^400 prefix: this prefix has messages/],
  [{ prefix: 'nobody' }, /^404 The prefix nobody does not exist/],
  [{ model: undefined }, /^400 model: Field required/],
])('an agent with an invalid prefix or invalid fields is rejected: %j', async (fields, words) => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  await store(app, alice);
  await store(app, alice, { messages: [{ role: 'user', content: 'Hello' }] }, 'talk');
  const answer = await requestEdge(app, 'PUT', '/agents/support', alice, { ...LIMITS, prefix: 'support', ...fields });
  expect(errorIn(answer)).toMatch(words);
});
