/** A conversation goes on elsewhere from the rows that it has written here. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Json } from '../../src/json/object.ts';
import { type TestApp, testApp } from '../support/app.ts';
import { resetAll } from '../support/reset.ts';
import { runs } from '../support/runs.ts';
import {
  type Asked,
  answeringBy,
  call,
  type Scripted,
  says,
  servingTools,
  TOOL_VARS,
  weather,
} from '../support/scripted-runs.ts';

let app: TestApp;
beforeEach(() => {
  app = testApp(() => Response.json({ input_tokens: 1 }), TOOL_VARS);
});
afterEach(async () => {
  await app.settled();
  await resetAll();
});

const MODEL = 'claude-opus-5-5';
const WAYS = ['messages', 'messages?view=shown', 'export', 'export?view=shown'] as const;
type Way = (typeof WAYS)[number];
const ask = { name: 'ask_user', input_schema: { type: 'object' } };
const tools = [weather(), ask];

async function say(conversation: string, content: unknown, more: object = {}): Promise<Response> {
  const body = { conversation, model: MODEL, max_tokens: 2_000, stream: false, on_pending_tools: 'cancel' };
  return await app.post('/messages', { ...body, messages: [{ role: 'user', content }], ...more });
}

/** The rows of a conversation as a route writes them. */
async function rowsBy(way: Way, id: string): Promise<Json[]> {
  const response = await app.fetch(`/conversations/${id}/${way}${way.includes('?') ? '&' : '?'}limit=1000`);
  const text = await response.text();
  if (way.startsWith('messages')) return (JSON.parse(text) as { data: Json[] }).data;
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Json);
  return lines.filter(({ type }) => type === 'message');
}

async function bringIn(messages: readonly unknown[], id: string): Promise<Json> {
  const response = await app.post('/conversations', { id, messages });
  const created = (await response.json()) as Json;
  expect(created).toMatchObject({ type: 'conversation' });
  return created;
}

/** What a message says and calls, whatever order results are in; messages of one role are one, as to the API. */
function outlineOf(messages: Asked['messages']): string[] {
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
  refused: fc.nat(9).map((n) => n === 0),
});
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };
const question = fc.constantFrom<unknown>(
  'How is the weather?',
  [{ type: 'text', text: 'And "there"?', cache_control: { type: 'ephemeral' } }],
  [image, { type: 'text', text: 'What is it?' }],
);

/** Makes the blocks of a part of an answer, whose ids nothing else has. */
function blocksOf(part: Part, id: string): Json[] {
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
    edge: [call(`toolu_${id}`, 'Bern')],
    ask: [call(`toolu_${id}`, 'x', 'ask_user')],
  }[part];
}

/** An answer as the API would end it: refused, with calls, paused in a search, or whole. */
function scriptOf({ parts, refused }: Planned, number: number): Scripted {
  const hasCalls = parts.some((part) => part === 'edge' || part === 'ask');
  const left = refused ? 'text' : hasCalls ? /^(?!searching)/ : /./;
  const content = parts.flatMap((part, at) => (part.match(left) ? blocksOf(part, `${number}_${at}`) : []));
  const ended = hasCalls ? 'tool_use' : parts.includes('searching') ? 'pause_turn' : 'end_turn';
  return { content, stop_reason: refused ? 'refusal' : ended };
}

describe('rows that are brought in again', () => {
  test('of any conversation, by each way, are accepted with the next question, and say what was said', async () => {
    let scenario = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(question, fc.array(answer, { minLength: 1, maxLength: 4 })), { minLength: 1, maxLength: 4 }),
        async (turns) => {
          scenario += 1;
          const source = `source-${scenario}`;
          let script: readonly Planned[] = [];
          const bodies = answeringBy((_, number) => {
            const [next, ...rest] = script;
            script = rest;
            return next ? scriptOf(next, scenario * 1_000 + number) : says('Done.');
          });
          servingTools(() => new Response('sun'));
          for (const [content, answers] of turns) {
            script = answers;
            // A paused answer refuses a question: then it stays the last one.
            await say(source, content, { tools, max_turns: 3 });
          }
          script = [];
          const sets = await Promise.all(WAYS.map((way) => rowsBy(way, source)));
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
      ),
      { numRuns: runs(150) },
    );
  });
});
