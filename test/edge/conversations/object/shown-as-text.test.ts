import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
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

/** What no answer may have that is shown as text. */
const SECRET = 'told-to-nobody';
const text = (words: string): JsonObject => ({ type: 'text', text: words });

/** A tool of the client's own. */
const PICK = { name: 'pick', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };

/** What the model may say in a step, by kind. */
const KINDS: Record<string, (id: string) => JsonObject[]> = {
  text: (id) => [text(`Words of ${id}. `)],
  edge: (id) => [weatherCall(`toolu_e${id}`, SECRET)],
  search: (id) => [
    { type: 'server_tool_use', id: `srvtoolu_${id}`, name: 'web_search', input: { query: SECRET } },
    { type: 'web_search_tool_result', tool_use_id: `srvtoolu_${id}`, content: [{ url: SECRET }] },
  ],
  pick: (id) => [weatherCall(`toolu_p${id}`, 'Bern', 'pick')],
  mcp: (id) => [
    { type: 'mcp_tool_use', id: `mcptoolu_${id}`, name: 'find', server_name: 'maps', input: { of: SECRET } },
    { type: 'mcp_tool_result', tool_use_id: `mcptoolu_${id}`, is_error: false, content: [text(SECRET)] },
  ],
};

/** An edge whose model says in each step of a turn what a script has for it, and then that it is done. */
async function edgeSaying(steps: (turn: number, step: number) => ScriptedAnswer | undefined) {
  const app = createSimulatedEdge(TOOL_VARS);
  const headers = await authorizationFor('alice', 'messages', 'tools');
  let [turn, step] = [0, 0];
  const bodies = answerByScript(() => {
    step += 1;
    return steps(turn, step - 1) ?? textAnswer('Done.');
  });
  answerTools(() => new Response(SECRET));
  const begin = () => {
    turn += 1;
    step = 0;
  };
  const say = async (
    conversation: string,
    messages: unknown[],
    more: object = {},
    own: Record<string, string> = {},
  ) => {
    begin();
    const sent = {
      model: 'claude-haiku-5-5',
      max_tokens: 300,
      conversation,
      tools: [weatherTool(), PICK],
      messages,
      ...more,
    };
    const response = await app.post('/v1/messages', sent, { ...headers, ...own });
    const body = await response.text();
    expect(response.status, body).toBe(200);
    await app.waitUntilSettled();
    return { body, turn: response.headers.get('sluice-turn') ?? '' };
  };
  const read = async (path: string, own: Record<string, string> = {}) =>
    await (await app.fetch(path, { headers: { ...headers, ...own } })).text();
  return { app, bodies, headers, say, read };
}

/** @returns the message as a client builds it of its events, whose blocks must have all numbers from 0 */
function built(events: string): { content: JsonObject[]; stop_reason: unknown; usage: unknown } {
  const builder = new MessageBuilder();
  const frames = new SseEventReader().readCompletedEvents(new TextEncoder().encode(events));
  const all = frames.map(({ data }) => JSON.parse(data) as JsonObject);
  for (const data of all) builder.addEventData(data);
  const begun = all.filter(({ type }) => type === 'content_block_start').map(({ index }) => index);
  expect(begun).toEqual(begun.map((_, at) => at));
  const { delta, usage } = all.findLast(({ type }) => type === 'message_delta') as {
    delta: JsonObject;
    usage: JsonObject;
  };
  return { content: builder.blocks.map(({ value }) => value), stop_reason: delta.stop_reason, usage };
}

const step = fc.uniqueArray(fc.constantFrom(...Object.keys(KINDS)), { minLength: 1 });
const turns = fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 3 });
/** What clients do with an answer in which they see nothing: keep it, leave it out, and join the questions around it. */
const habit = fc.constantFrom('keeps', 'drops', 'joins');

function resent(
  history: readonly { role: string; content: JsonObject[] }[],
  how: string,
): { role: string; content: JsonObject[] }[] {
  const kept = how === 'keeps' ? history : history.filter(({ content }) => content.length > 0);
  const all: { role: string; content: JsonObject[] }[] = [];
  for (const { role, content } of kept) {
    const last = all.at(-1);
    if (how === 'joins' && last?.role === role) last.content = [...last.content, ...content];
    else all.push({ role, content });
  }
  return all;
}

test('a client that resends everything shown as text continues without repeated questions or lost hidden blocks', async () => {
  let cases = 0;
  let script: string[][][] = [];
  let offset = 0;
  const saidIn = new Map<number, string[]>();
  const { say, read, bodies } = await edgeSaying((turn, at) => {
    const kinds = script[turn - offset - 1]?.[at];
    const content = kinds?.flatMap((kind) => KINDS[kind]?.(`${turn}_${at}`) ?? []);
    saidIn.set(turn, [...(saidIn.get(turn) ?? []), ...(content ?? []).flatMap(({ id }) => (id ? [String(id)] : []))]);
    const calls = kinds?.some((kind) => kind === 'edge' || kind === 'pick');
    return content && { content, stop_reason: calls ? 'tool_use' : 'end_turn' };
  });
  let silent = 0;
  await tryAsyncCases(
    {
      numRuns: caseCount(120),
      // One in which a client sees nothing, which few random ones have.
      examples: [[[[['search']], [['mcp'], ['edge']]], 'joins', true]],
    },
    turns,
    habit,
    fc.boolean(),
    async (all, how, stream) => {
      cases += 1;
      script = all;
      const history: { role: string; content: JsonObject[] }[] = [];
      const id = `c${cases}`;
      for (const nth of all.keys()) {
        const calls = history.at(-1)?.content.filter(({ type }) => type === 'tool_use') ?? [];
        const results = calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'Yes.' }));
        history.push({ role: 'user', content: [...results, text(`Question ${nth}?`)] });
        const { body } = await say(id, resent(history, how), { stream, show: 'text', max_turns: 2 });
        expect(body).not.toContain(SECRET);
        const { content, stop_reason } = stream ? built(body) : (JSON.parse(body) as ReturnType<typeof built>);
        // The calls of the client's own tools are for it to answer.
        const isOwn = content.some(({ type, name }) => type === 'tool_use' && name === 'pick');
        expect(content.every(({ type }) => type === 'text' || type === 'tool_use')).toBe(true);
        expect(isOwn ? ['tool_use'] : ['end_turn', 'pause_turn']).toContain(stop_reason);
        if (content.length === 0) silent += 1;
        history.push({ role: 'assistant', content });
      }
      offset += all.length;
      const { data } = JSON.parse(await read(`/conversations/${id}/messages?view=shown&limit=100`)) as {
        data: JsonObject[];
      };
      const asked = data.filter(({ role }) => role === 'user').map(({ content }) => content);
      expect(asked).toEqual(history.filter(({ role }) => role === 'user').map(({ content }) => content));
      const up = JSON.stringify(bodies.at(-1)?.messages);
      const hidden = [...saidIn].flatMap(([turn, ids]) => (turn > offset - all.length && turn < offset ? ids : []));
      expect(hidden.filter((one) => !up.includes(one))).toEqual([]);
    },
  );
  expect(silent).toBeGreaterThan(0);
}, 600_000);

const MIXED = (id: string): ScriptedAnswer => ({
  content: [...['search', 'text', 'mcp', 'edge'].flatMap((kind) => KINDS[kind]?.(id) ?? [])],
  stop_reason: 'tool_use',
});
const QUESTION = [{ role: 'user', content: 'Is it sunny?' }];
const SHOW = { 'sluice-show': 'text' };

test('a stream shown as text equals the non-streaming response shown as text, wherever the stream is resumed', async () => {
  const { say, read } = await edgeSaying((turn, at) => (at === 0 ? MIXED(`${turn}`) : undefined));
  const { body, turn } = await say('c1', QUESTION, { stream: true }, SHOW);
  const whole = JSON.parse((await say('c2', QUESTION, {}, SHOW)).body) as JsonObject;
  const { content, usage } = built(body);
  expect(content).toEqual([text('Words of 1. '), text('Done.')]);
  expect([text('Words of 1. '), whole.usage]).toEqual([content[0], usage]);
  expect((whole.content as JsonObject[]).map(({ type }) => type)).toEqual(['text', 'text']);
  // Whoever resumes it need not say how it is shown.
  const ids = [...body.matchAll(/^id: (\S+)$/gm)].map(([, id = '']) => id);
  for (const [at, id] of [`${turn}-0`, ...ids.slice(0, -1)].entries()) {
    const rest = await read('/conversations/c1/stream', { 'last-event-id': id });
    expect(rest).toBe(body.slice(body.indexOf(`id: ${ids[at]}\n`)));
  }
  const after = `/conversations/c1/stream?after=${turn}-0`;
  const all = await read(`${after}&show=all`);
  expect(await read(after, { 'sluice-show': 'all' })).toBe(all);
  expect(built(all).content.map(({ type }) => type)).toEqual([
    'server_tool_use',
    'web_search_tool_result',
    'text',
    'mcp_tool_use',
    'mcp_tool_result',
    'mcp_tool_use',
    'mcp_tool_result',
    'text',
  ]);
  // And a turn that was begun without it can be followed as text.
  const other = await say('c3', QUESTION, { stream: true });
  expect(other.body).toContain(SECRET);
  const followed = await read(`/conversations/c3/stream?after=${other.turn}-0`, SHOW);
  expect(built(followed).content).toEqual([text('Words of 3. '), text('Done.')]);
});

test('a repeated request, and the turn after an approval, are shown as text like the first turn', async () => {
  const { app, bodies, headers, say, read } = await edgeSaying(
    (): ScriptedAnswer | undefined => [MIXED('1')][bodies.length - 1],
  );
  const tools = [weatherTool({ approval: 'always' })];
  const sent = { stream: true, show: 'text', tools };
  const key = { 'idempotency-key': 'one' };
  const paused = await say('c1', QUESTION, sent, key);
  expect(built(paused.body)).toMatchObject({ content: [text('Words of 1. ')], stop_reason: 'pause_turn' });
  expect((await say('c1', QUESTION, sent, key)).body).toBe(paused.body);
  const { data } = JSON.parse(await read('/conversations/c1/approvals')) as { data: [{ id: string }] };
  const decided = await app.post(`/conversations/c1/approvals/${data[0].id}`, { decision: 'approve' }, headers);
  const { id } = (await decided.json()) as { id: string };
  await app.waitUntilSettled();
  const next = await read(`/conversations/c1/stream?after=${id}-0`);
  expect(built(next).content).toEqual([text('Done.')]);
});

test('the `show` parameter is not sent to the upstream, and requires a conversation', async () => {
  const { app, bodies, headers, say } = await edgeSaying(() => undefined);
  await say('c1', QUESTION, { show: 'text' });
  await say('c1', [{ role: 'user', content: 'And now?' }], { show: 'all' });
  expect(bodies).toHaveLength(2);
  for (const body of bodies) expect(body).not.toHaveProperty('show');
  const sent = { model: 'claude-haiku-5-5', max_tokens: 300, messages: QUESTION };
  for (const [more, own, words] of [
    [{ conversation: 'c1', show: 'words' }, {}, 'show: Input should be all or text'],
    [{ conversation: 'c1', show: 'all' }, SHOW, 'the body and the header sluice-show differ'],
    [{ show: 'text' }, {}, 'show: requires a conversation'],
    [{}, SHOW, 'show: requires a conversation'],
  ] as const) {
    const response = await app.post('/v1/messages', { ...sent, ...more }, { ...headers, ...own });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining(words)]);
  }
  expect(bodies).toHaveLength(2);
});
