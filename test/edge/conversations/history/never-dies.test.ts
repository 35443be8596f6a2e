/** Whatever an answer brings, the next plain question in its conversation is accepted, and in each copy of it. */
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { importMessages, READ_ROUTES, readRowsBy } from '#test/support/read-rows-by-route.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  type ScriptedAnswer,
  TOOL_VARS,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { parseEvents } from '#test/support/turns.ts';
import { createErrorResponse, splitEvents } from '#test/support/wire.ts';

let app: TestApp;
beforeEach(() => {
  app = createTestApp(() => Response.json({ input_tokens: 1 }), TOOL_VARS);
});

const CODE = { type: 'code_execution_20260120', name: 'code_execution' };
const { run: _, ...own } = weatherTool({}, 'ask_user');
const tools = [CODE, weatherTool(), own];
const name = fc.constantFrom('get_weather', 'ask_user', 'get weather', '', 'n'.repeat(300), 'ü');
const id = fc.constantFrom('toolu_1', 'toolu_2', 'call:1', '', 'x'.repeat(80));
const input = fc.constantFrom<unknown>({}, { city: 'Bern' }, 'Bern', ['Bern'], null, 7);
const caller = fc.constantFrom<JsonObject | undefined>(
  undefined,
  { type: 'direct' },
  { type: 'code_execution_20260120', tool_id: 'srvtoolu_1' },
);
const use = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'code_execution', input: { code: '1' } };
const ran = { type: 'code_execution_tool_result', tool_use_id: 'srvtoolu_1', content: {} };
const search = { type: 'server_tool_use', id: 'srvtoolu_2', name: 'web_search', input: { query: 'Bern' } };
const found = { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_2', content: [] };
const find = { type: 'mcp_tool_use', id: 'mcptoolu_3', name: 'find', server_name: 'wiki', input: {} };
const wiki = { type: 'mcp_tool_result', tool_use_id: 'mcptoolu_3', is_error: false, content: [] };
const SERVED = [use, search, find].map((one) => one.id);
const blocks: fc.Arbitrary<JsonObject[]> = fc.oneof(
  fc.record({ type: fc.constant('tool_use'), id, name, input, caller }).map((block) => [block]),
  fc.constantFrom<JsonObject[]>(
    [{ type: 'text', text: 'So.' }],
    [{ type: 'text', text: ' ' }],
    [{ type: 'thinking', thinking: 'Hm.', signature: 'sig' }],
    [{ type: 'redacted_thinking', data: 'x' }],
    ...[[use], [use, ran], [search], [search, found], [find], [find, wiki]],
  ),
);
/** An answer has a server tool's id once. */
const content = fc.array(blocks, { maxLength: 5 }).map((all) => {
  const isFirst = ([block]: JsonObject[], at: number) => all.findIndex(([one]) => one?.id === block?.id) === at;
  return all.filter((some, at) => !SERVED.includes(String(some[0]?.id)) || isFirst(some, at)).flat();
});
const answer: fc.Arbitrary<ScriptedAnswer> = fc
  .record({
    content,
    end: fc.constantFrom('end_turn', 'end_turn', 'max_tokens', 'refusal', 'cut'),
    after: fc.double({ min: 0, max: 1, noNaN: true }),
    container: fc.constantFrom(undefined, { id: 'container_1' }),
  })
  .map(({ content, end, after, container }) => {
    const isOpen = content.some(({ type, id }) => {
      return String(type).match(/^(server|mcp)_tool_use$/) && !content.some(({ tool_use_id }) => tool_use_id === id);
    });
    const whole = content.some(({ type }) => type === 'tool_use') ? 'tool_use' : isOpen ? 'pause_turn' : 'end_turn';
    const cut = (text: string) =>
      splitEvents(text)
        .slice(0, Math.ceil(splitEvents(text).length * after))
        .join('');
    const stop_reason = end === 'end_turn' ? whole : end;
    return { content, stop_reason, ...(container && { container }), ...(end === 'cut' && { change: cut }) };
  });
/** The API gives an id to one use of its tools alone. */
const withOwnIds = ({ content, ...more }: ScriptedAnswer, n: number): ScriptedAnswer => {
  const text = JSON.stringify(content).replaceAll(/(?:srv|mcp)toolu_\d/g, (id) => `${id}_${n}`);
  return { ...more, content: JSON.parse(text) as JsonObject[] };
};
const result = fc.constantFrom(
  () => new Response('sun'),
  () => new Response('secret'),
  () => new Response(''),
  () => new Response('broken', { status: 500 }),
  () => Response.json([{ type: 'image' }]),
  () => new Response(new Uint8Array([137, 80, 78, 71]), { headers: { 'content-type': 'image/png' } }),
);

/** What the API says to a request with a picture in a result; undefined without one. */
function refusedPicture({ messages }: AskedBody): Response | undefined {
  for (const [at, { content }] of messages.entries()) {
    const within = Array.isArray(content)
      ? content.findIndex((block) => JSON.stringify(block).includes('"image/png"'))
      : -1;
    const path = `messages.${at}.content.${within}.tool_result.content.0.image.source`;
    if (within >= 0) return createErrorResponse(400, 'invalid_request_error', `${path}: Could not process image`);
  }
  return undefined;
}

/** A client that keeps what it has seen, and sends all of it again where it is asked to. */
class Client {
  readonly seen: { role: string; content: unknown }[] = [];
  readonly #conversation: string;
  /** Whether the last answer waits for results. */
  #isAsked = false;

  constructor(conversation: string) {
    this.#conversation = conversation;
  }

  /** Asks a question, or answers all calls that it has seen. @returns the body of the answer */
  async say(words: string, how: { whole?: boolean; answers?: boolean; resends?: boolean } = {}): Promise<string> {
    const last = this.seen.at(-1)?.content;
    const calls =
      how.answers && this.#isAsked && Array.isArray(last)
        ? last.filter(({ type }: JsonObject) => type === 'tool_use')
        : [];
    const results = calls.map(({ id }: JsonObject) => ({ type: 'tool_result', tool_use_id: id, content: 'yes' }));
    const message = { role: 'user', content: [...results, { type: 'text', text: words }] };
    const response = await app.post('/messages', {
      conversation: this.#conversation,
      model: 'claude-opus-5-5',
      max_tokens: 200,
      stream: !how.whole,
      tools,
      on_pending_tools: 'cancel',
      max_turns: 3,
      messages: how.resends ? [...this.seen, message] : [message],
    });
    const text = await response.text();
    this.#isAsked = text.includes('"stop_reason":"tool_use"');
    this.seen.push(message);
    const content = text.startsWith('{') ? (JSON.parse(text) as JsonObject).content : blocksIn(text);
    if (Array.isArray(content) && content.length > 0) this.seen.push({ role: 'assistant', content });
    return text;
  }
}

/** The blocks of a stream, as an SDK collects them. */
function blocksIn(text: string): JsonObject[] {
  const builder = new MessageBuilder();
  for (const { data } of parseEvents(text)) builder.addEventData(data);
  return builder.blocks.map(({ value }) => value);
}

/** Has the API answer by a list, and then that it is done. @returns what can be asked, and what is broken */
function answeringWith(answers: readonly ScriptedAnswer[]) {
  let left = answers;
  return answerByScript((body) => {
    const refused = refusedPicture(body);
    if (refused) return refused;
    if (JSON.stringify(body.messages).includes('secret')) return { content: [], stop_reason: 'refusal' };
    const [next, ...others] = left;
    left = others;
    return next ?? { content: [{ type: 'text', text: 'Done.' }] };
  });
}

const COPIES = ['fork', 'backup', ...READ_ROUTES] as const;

/** Copies a conversation. @returns the id of the copy; undefined where there is nothing to copy */
async function copyOf(id: string, way: (typeof COPIES)[number]): Promise<string | undefined> {
  const copy = `${id}-copy`;
  if (way === 'fork') {
    const fork = await app.post(`/conversations/${id}/fork`, { id: copy });
    await fork.text();
    return fork.ok ? copy : undefined;
  }
  if (way === 'backup') {
    const at = '/accounts/dev/conversations';
    const backup = await app.fetch(`${at}/${id}/backup`);
    const lines = await backup.text();
    if (!backup.ok) return undefined;
    const headers = { 'content-type': 'application/jsonl' };
    const made = await app.fetch(`${at}/${copy}/backup`, { method: 'PUT', headers, body: lines });
    expect(await made.text()).toContain('"type":"conversation"');
    return copy;
  }
  const rows = await readRowsBy(app, way, id);
  if (rows.length === 0) return undefined;
  await importMessages(app, rows, copy);
  return copy;
}

/** Asks twice where the model refuses what a tool has answered: with the next question that goes up in words. */
async function lastOf(client: Client, how: { resends?: boolean }): Promise<string> {
  const first = await client.say('And then?', how);
  return first.includes('"stop_reason":"refusal"') ? await client.say('And now?', how) : first;
}

const how = fc.record({ whole: fc.boolean(), answers: fc.boolean(), resends: fc.boolean() });

test('the next question is accepted after any responses, in the conversation and in a copy', async () => {
  let scenario = 0;
  await tryAsyncCases(
    caseCount(80),
    fc.array(answer, { minLength: 1, maxLength: 4 }),
    result,
    fc.array(how, { minLength: 5, maxLength: 5 }),
    fc.constantFrom(...COPIES),
    async (answers, tool, hows, way) => {
      scenario += 1;
      const at = `c${scenario}`;
      const client = new Client(at);
      const bodies = answeringWith(answers.map(withOwnIds));
      answerTools(tool);
      for (const one of hows) {
        if (bodies.length >= answers.length) break;
        expect(await client.say(`How is the weather, ${bodies.length}?`, one)).not.toContain('"invalid_request_error"');
      }
      answeringWith([]);
      const copy = await copyOf(at, way);
      // What was brought in stays as it came: a model may refuse it again.
      if (copy) expect(await lastOf(new Client(copy), {})).toMatch(/Done\.|"stop_reason":"refusal"/);
      expect(await lastOf(client, { resends: true })).toContain('Done.');
    },
  );
});

const EDGE_CALL = { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: {} };

test.each<[string, ScriptedAnswer[]]>([
  ['calls that were refused, and are shown as calls of the edge', [{ content: [EDGE_CALL], stop_reason: 'refusal' }]],
  [
    'a question that was asked again, since its answer had been cut',
    [
      { content: [], change: () => '' },
      { content: [EDGE_CALL], stop_reason: 'tool_use' },
    ],
  ],
  [
    'an open use of a server behind a call that is told in words',
    [
      {
        content: [{ ...EDGE_CALL, input: null }, { type: 'thinking', thinking: 'Hm.', signature: 'sig' }, find],
        stop_reason: 'tool_use',
      },
    ],
  ],
  [
    'results whose calls the edge has put in another order',
    [
      {
        content: [
          EDGE_CALL,
          { ...EDGE_CALL, id: 'toolu_2', name: 'ask_user', caller: { type: CODE.type, tool_id: 'srvtoolu_1' } },
          { ...EDGE_CALL, id: 'toolu_3', name: 'ask_user' },
        ],
        stop_reason: 'tool_use',
      },
      { content: [] },
    ],
  ],
])('recognizes the history that a client resends with %s', async (what, answers) => {
  answeringWith(answers);
  answerTools(() => new Response('sun'));
  const client = new Client(what.replaceAll(/\W+/g, '-'));
  for (const _ of answers)
    expect(await client.say('How is the weather?', { answers: true })).not.toContain('"invalid_request_error"');
  expect(await client.say('And then?', { resends: true })).toContain('Done.');
});

test('a response that was cut between any two events is recognized when resent, and the API accepts the history', async () => {
  const whole = createMessageEventStream({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-opus-5-5',
    stop_reason: 'tool_use',
    content: [
      { type: 'text', text: 'So.' },
      use,
      { type: 'tool_use', id: 'call:1', name: 'get_weather', input: { city: 'Bern' } },
      { type: 'thinking', thinking: 'Hm.', signature: 'sig' },
      { type: 'tool_use', id: 'toolu_2', name: 'ask_user', input: ['Bern'] },
      { type: 'text', text: 'There.' },
    ],
    usage: { input_tokens: 100, output_tokens: 10 },
  });
  answerTools(() => new Response('sun'));
  for (let length = 0; length <= splitEvents(whole).length; length += 1) {
    const change = () => splitEvents(whole).slice(0, length).join('');
    answeringWith([{ content: [], change }]);
    const client = new Client(`cut-${length}`);
    await client.say('How is the weather?');
    expect(await client.say('And then?', { resends: true })).toContain('Done.');
  }
});
