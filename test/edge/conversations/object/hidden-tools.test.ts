import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { requestEdge, SKY } from '#test/support/agents.ts';
import { authorizationFor, createSimulatedEdge } from '#test/support/prefixes.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  type ScriptedAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { agentNameOf, createAgentTool, createTask } from '#test/support/subagents.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const SECRET = 'told-to-nobody';
const ONLY = { agents: ['sky'], conversations: ['web-*'] };
/** A tool that the page itself calls. */
const PICK = { name: 'pick', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };
const question = (content: unknown = 'Is it sunny?') => ({ role: 'user', content });
const text = (words: string): JsonObject => ({ type: 'text', text: words });

async function bound(only: object = ONLY) {
  return bearerHeader(await createToken('bob', ['messages'], { only: only as typeof ONLY }));
}

/** An edge with an agent that has tools of every kind. @param steps what the model says in each step of a turn */
async function edgeWith(steps: (turn: number, step: number) => ScriptedAnswer | undefined, run: object = {}) {
  const app = createSimulatedEdge(TOOL_VARS);
  const root = await authorizationFor('root', 'admin');
  const helper = { ...SKY, system: 'helper', tools: [weatherTool({}, 'look')] };
  expect((await requestEdge(app, 'PUT', '/agents/helper', root, helper)).status).toBe(200);
  const sky = { ...SKY, tools: [weatherTool(run), PICK, createAgentTool('helper')], limits: {} };
  const stored = await requestEdge(app, 'PUT', '/agents/sky', root, sky);
  expect(stored.status, JSON.stringify(stored.body)).toBe(200);
  const bodies = answerByScript((body) => {
    const isAnswered = JSON.stringify(body.messages.at(-1)).includes('"tool_result"');
    if (agentNameOf(body) === 'helper') {
      const looks = { content: [weatherCall(`toolu_look`, SECRET, 'look')], stop_reason: 'tool_use' };
      return isAnswered ? textAnswer(`${SECRET} found.`) : looks;
    }
    const asked = body.messages.flatMap(({ role, content }, at) =>
      role === 'user' && isQuestion(content) ? [at] : [],
    );
    const step = body.messages.slice(asked.at(-1)).filter(({ role }) => role === 'assistant').length;
    return steps(asked.length, step) ?? textAnswer('Sun.');
  });
  const served = answerTools((_, number) =>
    number % 3 === 0 ? new Response(`no ${SECRET}`, { status: 400 }) : new Response(`${SECRET} sun`),
  );
  return { app, bodies, served, page: await bound() };
}

function isQuestion(content: unknown): boolean {
  return !JSON.stringify(content).includes('"tool_result"');
}

/** What the model may say in a step, by kind. The ids of its calls have the number of the step. */
const KINDS: Record<string, (id: string) => JsonObject[]> = {
  text: () => [text('Let me see.')],
  edge: (id) => [weatherCall(`toolu_e${id}`, SECRET)],
  agent: (id) => [createTask(`toolu_a${id}`, 'helper', `${SECRET} task`)],
  search: (id) => [
    { type: 'server_tool_use', id: `srvtoolu_${id}`, name: 'web_search', input: { query: SECRET } },
    {
      type: 'web_search_tool_result',
      tool_use_id: `srvtoolu_${id}`,
      content: [{ type: 'web_search_result', url: SECRET, title: SECRET, encrypted_content: SECRET, page_age: null }],
    },
    { ...text('Found.'), citations: [{ type: 'web_search_result_location', url: SECRET, cited_text: SECRET }] },
  ],
  mcp: (id) => [
    { type: 'mcp_tool_use', id: `mcptoolu_${id}`, name: 'find', server_name: 'maps', input: { of: SECRET } },
    { type: 'mcp_tool_result', tool_use_id: `mcptoolu_${id}`, is_error: false, content: [text(SECRET)] },
  ],
  odd: (id) => [
    {
      type: 'server_tool_use',
      id: `srvtoolu_o${id}`,
      name: 'web_fetch',
      input: { [SECRET]: 1 },
      caller: { type: SECRET },
      [SECRET]: 1,
    },
    {
      type: 'web_fetch_tool_result',
      tool_use_id: `srvtoolu_o${id}`,
      more: { type: SECRET },
      content: { type: SECRET, error_code: SECRET, [SECRET]: { type: SECRET } },
    },
    { type: 'of_tomorrow', [SECRET]: 1, error_code: SECRET, of: { type: SECRET, [SECRET]: true } },
  ],
};
const step = fc.uniqueArray(fc.constantFrom(...Object.keys(KINDS)), { minLength: 1 });

/** @returns what the model says in a step. The edge's calls lead to the next one, and the last one ends with the page's. */
function said(kinds: readonly string[], id: string, isLast: boolean): ScriptedAnswer {
  const isOfEdge = (kind: string) => kind === 'edge' || kind === 'agent';
  const others = isLast ? kinds.filter((kind) => !isOfEdge(kind)) : kinds;
  const own = isLast || kinds.some(isOfEdge) ? others : [...others, 'edge'];
  const page = isLast ? [weatherCall(`toolu_p${id}`, 'Bern', 'pick')] : [];
  return { content: [...own.flatMap((kind) => KINDS[kind]?.(id) ?? []), ...page], stop_reason: 'tool_use' };
}

test('a restricted token cannot read inputs or results of tools on any route', async () => {
  const script: { steps: string[][] } = { steps: [] };
  let name = '';
  const { app, page, bodies } = await edgeWith((turn, at) => {
    const kinds = script.steps[at];
    return kinds && said(kinds, `${name}_${turn}_${at}`, at === script.steps.length - 1);
  });
  const shown = await bound({ ...ONLY, tools: 'shown' });
  let [cases, seen] = [0, 0];
  const read = async (path: string, headers = page, more: object = {}) => {
    const response = await app.fetch(path, { headers: { ...headers, ...more } });
    const body = await response.text();
    if (headers === page) expect(body).not.toContain(SECRET);
    return body;
  };
  await tryAsyncCases(
    caseCount(25),
    fc.array(step, { minLength: 1, maxLength: 3 }),
    fc.boolean(),
    async (steps, stream) => {
      cases += 1;
      name = `web-${cases}`;
      script.steps = steps;
      const say = async (messages: unknown[]) => {
        const response = await app.post('/v1/messages', { agent: 'sky', conversation: name, messages, stream }, page);
        const body = await response.text();
        expect(response.status, body).toBe(200);
        expect(body).not.toContain(SECRET);
        await app.waitUntilSettled();
        return { body, turn: response.headers.get('sluice-turn') ?? '' };
      };
      const { body, turn } = await say([question()]);
      // The page's own call is whole.
      expect(body).toContain('Bern');
      // Wherever it is resumed, it says the rest.
      const whole = await read(`/conversations/${name}/stream`, page, { 'last-event-id': `${turn}-0` });
      if (stream) expect(whole).toBe(body);
      const ids = [...whole.matchAll(/^id: (\S+)$/gm)].map(([, id = '']) => id);
      for (const [at, id] of ids.entries()) {
        if (at === ids.length - 1) break;
        const rest = await read(`/conversations/${name}/stream`, page, { 'last-event-id': id });
        expect(rest).toBe(whole.slice(whole.indexOf(`id: ${ids[at + 1]}\n`)));
      }
      for (const query of ['', '?limit=1', '?view=stored', '?pending=true', '?before_id=msg_none'])
        await read(`/conversations/${name}/messages${query}`);
      await read(`/conversations/${name}/export`);
      await read(`/conversations/${name}`);
      const copy = { id: `web-copy-${cases}` };
      expect((await requestEdge(app, 'POST', `/conversations/${name}/fork`, page, copy)).status).toBe(201);
      await read(`/conversations/${copy.id}/messages`);
      // What was read is sent again, as many clients do: nothing of it is new, and nothing hidden is lost.
      const { data } = JSON.parse(await read(`/conversations/${name}/messages`)) as { data: JsonObject[] };
      const history = data.map(({ role, content }) => ({ role, content }));
      const calls = ((history.at(-1)?.content ?? []) as JsonObject[]).filter(({ type }) => type === 'tool_use');
      const results = calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'Yes.' }));
      script.steps = [];
      const before = bodies.length;
      await say([...history, question(results)]);
      const up = JSON.stringify(bodies[before]?.messages);
      expect(up.includes(SECRET)).toBe(hasSecret(steps));
      await read(`/conversations/${name}/messages`);
      const all = await read(`/conversations/${name}/messages`, shown);
      if (all.includes(SECRET)) seen += 1;
    },
  );
  expect(seen).toBeGreaterThan(cases / 4);
}, 600_000);

/** @returns whether something that was hidden is in the history */
function hasSecret(steps: readonly string[][]): boolean {
  return steps.some((kinds, at) => {
    const isLast = at === steps.length - 1;
    return said(kinds, '', isLast).content.some((block) => JSON.stringify(block).includes(SECRET));
  });
}

test("an official client builds the redacted message, which contains the page's own call", async () => {
  const { app, page } = await edgeWith((_, at) =>
    at === 0 ? said(['text', 'edge', 'search', 'mcp'], 'x', false) : at === 1 ? said(['text'], 'y', true) : undefined,
  );
  const client = new Anthropic({
    apiKey: null,
    authToken: page.authorization?.replace('Bearer ', '') ?? '',
    baseURL: 'https://edge.test',
    fetch: (url, init) => {
      const { pathname } = new URL(String(url));
      return app.fetch(pathname, init as RequestInit);
    },
  });
  const message = await client.messages
    .stream({ agent: 'sky', conversation: 'web-1', model: 'm', max_tokens: 1, messages: [question() as never] })
    .finalMessage();
  expect(JSON.stringify(message)).not.toContain(SECRET);
  expect(message.content.map(({ type }) => String(type))).toEqual([
    'text',
    'mcp_tool_use',
    'server_tool_use',
    'web_search_tool_result',
    'text',
    'mcp_tool_use',
    'mcp_tool_result',
    'mcp_tool_result',
    'text',
    'tool_use',
  ]);
  expect(message.content.at(-1)).toMatchObject({ name: 'pick', input: { city: 'Bern' } });
});

test('a token with approvals sees the input of a waiting call, but not after the decision', async () => {
  const { app, page } = await edgeWith((_, at) => (at === 0 ? said(['odd', 'edge'], 'x', false) : undefined), {
    approval: 'always',
  });
  const deciding = await bound({ ...ONLY, approvals: true });
  const asked = { agent: 'sky', conversation: 'web-1', messages: [question()] };
  const paused = await requestEdge(app, 'POST', '/v1/messages', page, asked);
  expect(JSON.stringify(paused.body)).not.toContain(SECRET);
  const waiting = await requestEdge(app, 'GET', '/conversations/web-1/approvals', deciding);
  const [approval] = waiting.body.data as [{ id: string; input: JsonObject }];
  expect(approval.input).toEqual({ city: SECRET });
  const decided = await requestEdge(app, 'POST', `/conversations/web-1/approvals/${approval.id}`, deciding, {
    decision: 'approve',
  });
  expect(decided.status).toBe(202);
  expect(JSON.stringify(decided.body)).not.toContain(SECRET);
  await app.waitUntilSettled();
  const again = await requestEdge(app, 'POST', `/conversations/web-1/approvals/${approval.id}`, deciding, {
    decision: 'approve',
  });
  expect(again.status).toBe(200);
  expect(JSON.stringify(again.body)).not.toContain(SECRET);
  const history = await requestEdge(app, 'GET', '/conversations/web-1/messages', deciding);
  expect(JSON.stringify(history.body)).not.toContain(SECRET);
});

test("a restricted token gets a 404 for a subagent's conversation, even if the token may use that agent", async () => {
  const { app, page } = await edgeWith((_, at) => (at === 0 ? said(['agent'], 'x', false) : undefined));
  await requestEdge(app, 'POST', '/v1/messages', page, { agent: 'sky', conversation: 'web-1', messages: [question()] });
  await app.waitUntilSettled();
  const bob = await authorizationFor('bob', 'messages');
  const { body } = await requestEdge(app, 'GET', '/conversations?parent=web-1', bob);
  const [{ id } = { id: '' }] = body.data as { id: string }[];
  expect(id).toMatch(/^sub_/);
  const wide = await bound({ agents: ['sky', 'helper'], approvals: true });
  for (const [method, path, sent] of [
    ['GET', 'messages'],
    ['GET', 'stream'],
    ['GET', 'approvals'],
    ['POST', 'stop', {}],
    ['POST', 'fork', { id: 'web-2' }],
  ] as const)
    expect((await requestEdge(app, method, `/conversations/${id}/${path}`, wide, sent)).status, path).toBe(404);
  const counted = { agent: 'helper', conversation: id, messages: [question()] };
  expect((await requestEdge(app, 'POST', '/count-tokens', wide, counted)).status).toBe(404);
});
