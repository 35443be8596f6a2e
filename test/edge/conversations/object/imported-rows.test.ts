/** A conversation goes on elsewhere from the rows that it has written here. */
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { parseImportedTurns } from '#edge/plugins/transfer/imported-turns.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { importMessages as bringRowsIn, READ_ROUTES, readRowsBy } from '#test/support/read-rows-by-route.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  type ScriptedAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';

let app: TestApp;
beforeEach(() => {
  app = createTestApp(() => Response.json({ input_tokens: 1 }), TOOL_VARS);
});
const MODEL = 'claude-opus-5-5';
const ask = { name: 'ask_user', input_schema: { type: 'object' } };
const tools = [weatherTool(), ask];

async function say(conversation: string, content: unknown, more: object = {}): Promise<Response> {
  const body = { conversation, model: MODEL, max_tokens: 2_000, stream: false, on_pending_tools: 'cancel' };
  return await app.post('/messages', { ...body, messages: [{ role: 'user', content }], ...more });
}

const bringIn = (messages: readonly unknown[], id: string) => bringRowsIn(app, messages, id);

/** What a message says and calls, whatever order results are in; messages of one role are one, as to the API. */
function outlineOf(messages: AskedBody['messages']): string[] {
  const turns: { role: string; blocks: string[] }[] = [];
  for (const { role, content } of messages) {
    const blocks = (typeof content === 'string' ? [{ type: 'text', text: content }] : content)
      .filter(({ type }) => !String(type).endsWith('thinking'))
      .map(({ type, id, tool_use_id, text, source }) => JSON.stringify([type, id ?? tool_use_id ?? text ?? source]));
    if (blocks.length === 0) continue;
    if (turns.at(-1)?.role === role) turns.at(-1)?.blocks.push(...blocks);
    else turns.push({ role, blocks });
  }
  return turns.map(({ role, blocks }) => `${role}: ${blocks.sort().join()}`);
}

/** What an answer consists of. */
type Part = 'text' | 'thinking' | 'search' | 'searching' | 'mcp' | 'edge' | 'ask';
const part = fc.constantFrom<Part>('text', 'text', 'thinking', 'search', 'mcp', 'edge', 'edge', 'ask', 'searching');
interface Planned {
  parts: Part[];
  refused: boolean;
}
const answer: fc.Arbitrary<Planned> = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 5 }),
  refused: fc.nat(4).map((n) => n === 0),
});
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };
const question = fc.constantFrom<unknown>(
  'How is the weather?',
  [{ type: 'text', text: 'And "there"?', cache_control: { type: 'ephemeral' } }],
  [image, { type: 'text', text: 'What is it?' }],
);

/** Makes the blocks of a part of an answer, whose ids nothing else has. */
function blocksOf(part: Part, id: string): JsonObject[] {
  const use = (type: string, name: string) => ({ type, id: `srvtoolu_${id}`, name, input: {} });
  const answers = { tool_use_id: `srvtoolu_${id}`, content: [] };
  return {
    text: [{ type: 'text', text: `Part ${id}.` }],
    thinking: [{ type: 'thinking', thinking: `So ${id}`, signature: 'sig' }],
    searching: [use('server_tool_use', 'web_search')],
    search: [use('server_tool_use', 'web_search'), { type: 'web_search_tool_result', ...answers }],
    mcp: [
      { ...use('mcp_tool_use', 'find'), server_name: 'wiki' },
      { type: 'mcp_tool_result', is_error: false, ...answers },
    ],
    edge: [weatherCall(`toolu_${id}`, 'Bern')],
    ask: [weatherCall(`toolu_${id}`, 'x', 'ask_user')],
  }[part];
}

/** An answer as the API would end it: refused, with calls, paused in a search, or whole. */
function scriptOf({ parts, refused }: Planned, number: number): ScriptedAnswer {
  const hasCalls = parts.some((part) => part === 'edge' || part === 'ask');
  const left = refused ? 'text' : hasCalls ? /^(?!searching)/ : /./;
  const content = parts.flatMap((part, at) => (part.match(left) ? blocksOf(part, `${number}_${at}`) : []));
  const ended = hasCalls ? 'tool_use' : parts.includes('searching') ? 'pause_turn' : 'end_turn';
  return { content, stop_reason: refused ? 'refusal' : ended };
}

/** The results of searches in which an answer has paused: the one that goes on with it begins with them. */
function foundFor(last: AskedBody['messages'][number] | undefined): JsonObject[] {
  if (last?.role !== 'assistant' || typeof last.content === 'string') return [];
  const found = new Set(last.content.map(({ tool_use_id }) => tool_use_id));
  return last.content.flatMap(({ type, id }) =>
    type === 'server_tool_use' && !found.has(id)
      ? [{ type: 'web_search_tool_result', tool_use_id: id, content: [] }]
      : [],
  );
}

describe('rows that are imported again', () => {
  test('are accepted with the next question and keep their content, from any conversation and route', async () => {
    let scenario = 0;
    await tryAsyncCases(
      caseCount(150),
      fc.array(fc.tuple(question, fc.array(answer, { minLength: 1, maxLength: 4 })), { minLength: 1, maxLength: 4 }),
      async (turns) => {
        scenario += 1;
        const source = `source-${scenario}`;
        let script: readonly Planned[] = [];
        const bodies = answerByScript(({ messages }, number) => {
          const [next, ...rest] = script;
          script = rest;
          const { content, ...ended } = next ? scriptOf(next, scenario * 1_000 + number) : textAnswer('Done.');
          return { content: [...foundFor(messages.at(-1)), ...content], ...ended };
        });
        answerTools(() => new Response('sun'));
        for (const [content, answers] of turns) {
          script = answers;
          // A paused answer refuses a question: then it stays the last one.
          await say(source, content, { tools, max_turns: 3 });
        }
        script = [];
        const sets = await Promise.all(READ_ROUTES.map((way) => readRowsBy(app, way, source)));
        const last = await say(source, 'And then?', { tools });
        const wanted = last.status === 200 ? outlineOf(bodies.at(-1)?.messages ?? []) : undefined;
        for (const [index, rows] of sets.entries()) {
          if (rows.length === 0) continue;
          const id = `brought-${scenario}-${index}`;
          await bringIn(rows, id);
          const next = await say(id, 'And then?');
          expect(await next.json()).toMatchObject({ type: 'message' });
          const up = bodies.at(-1)?.messages ?? [];
          expect(JSON.stringify(up)).not.toContain('"thinking"');
          if (wanted) expect(outlineOf(up)).toEqual(wanted);
        }
      },
    );
  });

  test('lose their thinking, and the import reports how many blocks it dropped, for rows from every route', async () => {
    installSimulator({}, true);
    const asked = { tools: [], thinking: { type: 'adaptive' } };
    for (const content of ['What is 17 times 23?', [{ type: 'text', text: 'And half of it?' }]]) {
      expect((await say('thought', content, asked)).status).toBe(200);
    }
    for (const [index, way] of READ_ROUTES.entries()) {
      const rows = await readRowsBy(app, way, 'thought');
      const thinking = JSON.stringify(rows).split('"type":"thinking"').length - 1;
      expect(thinking).toBeGreaterThan(0);
      const id = `thought-${index}`;
      expect(await bringIn(rows, id)).toMatchObject({
        dropped: { thinking, messages: 0, calls: 0, blank: 0 },
        messages: 4,
      });
      expect((await readRowsBy(app, way, id)).map(({ role }) => role).join()).toBe('user,assistant,user,assistant');
      // The simulator refuses thinking of another conversation, as the API does.
      expect((await say(id, 'And a third?', asked)).status).toBe(200);
      expect(await (await app.fetch(`/conversations/${id}`)).json()).not.toHaveProperty('dropped');
    }
  });

  test('keep only role and content, including unknown blocks, and are omitted if they were refused or become empty', async () => {
    installSimulator();
    const unknown = { type: 'of_tomorrow', data: { thinking: { type: 'thinking' } } };
    const thought = { type: 'thinking', thinking: 'Hm.', signature: 's' };
    const searching = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} };
    const row = (role: string, content: unknown, more: object = {}) => ({
      type: 'message',
      id: 'msg_1',
      role,
      content,
      usage: { input_tokens: 1 },
      container: { id: 'container_of_others' },
      status: 'complete',
      turn: 'turn_1',
      ...more,
    });
    const effort = { role: 'system', output_config: { effort: 'low' } };
    const dropped = await bringIn(
      [
        row('user', 'Hello.'),
        row('assistant', [thought]),
        row('user', [unknown]),
        effort,
        row('system', []),
        row('user', 'Refused?', { status: 'refused' }),
        row('assistant', [{ type: 'text', text: 'No.' }], { status: 'refused' }),
        row('user', 'Go on.'),
        row('assistant', [], { status: 'interrupted' }),
        row('assistant', 'Part one.'),
        row('assistant', [unknown, { ...thought, type: 'redacted_thinking' }, searching], {
          stop_reason: 'pause_turn',
        }),
      ],
      'kept',
    );
    expect(dropped.dropped).toEqual({ thinking: 2, messages: 4, calls: 1, blank: 0 });
    const rows = await readRowsBy(app, 'messages', 'kept');
    expect(rows.map(({ role, content }) => ({ role, content }))).toEqual([
      { role: 'user', content: 'Hello.' },
      { role: 'user', content: [unknown] },
      { role: 'system', content: [] },
      { role: 'user', content: 'Go on.' },
      { role: 'assistant', content: [{ type: 'text', text: 'Part one.' }, unknown] },
    ]);
    expect(JSON.stringify(rows)).not.toContain('container');
    // Nothing that goes up is an empty conversation.
    expect(await bringIn([row('user', 'No?', { status: 'refused' })], 'none')).toMatchObject({ messages: 0, turns: 0 });
    expect((await say('none', 'Hello?')).status).toBe(200);
  });

  test('are read in steps, also with responses of runs', () => {
    const shown = [
      { type: 'mcp_tool_use', id: 'toolu_1', name: 'n', input: {}, server_name: 'edge' },
      { type: 'mcp_tool_result', tool_use_id: 'toolu_1', is_error: false, content: [] },
      { type: 'text', text: 'Sun.' },
    ];
    const list = Array.from({ length: 10_000 }, (_, n) =>
      n % 2
        ? { role: 'assistant', content: JSON.parse(JSON.stringify(shown).replaceAll('_1', `_${n}`)) }
        : { role: 'user', content: 'x' },
    );
    const work = parseImportedTurns(JSON.stringify(list));
    let steps = 0;
    for (let step = work.next(); ; step = work.next()) {
      if (step.done) {
        expect(step.value.turns.flat()).toHaveLength(20_000);
        break;
      }
      steps += 1;
    }
    // It goes over the messages as they came three times, and over their steps once.
    expect(steps).toBeGreaterThanOrEqual(3 * 20 + 40);
  });
});
