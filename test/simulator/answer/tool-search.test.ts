import type Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tryAsyncCases } from '../../support/runs.ts';
import { clientOf, model, simulated } from '../api.ts';

type Beta = Anthropic.Beta.Messages.BetaMessage;
type Tools = Anthropic.Beta.Messages.BetaToolUnion[];

const client = clientOf(simulated());
const betas = ['mcp-client-2025-11-20'];
const mcp_servers = [{ type: 'url' as const, name: 'maps', url: 'https://maps.example.com/mcp' }];
const BM25 = { type: 'tool_search_tool_bm25_20251119', name: 'tool_search_tool_bm25' } as const;
const REGEX = { type: 'tool_search_tool_regex_20251119', name: 'tool_search_tool_regex' } as const;
const route = {
  name: 'plan_route',
  description: 'Plans a journey by train.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const tide = { name: 'tide_table', description: 'Tells the tide.', input_schema: { type: 'object' } };
const toolset = (more: object) => ({ type: 'mcp_toolset' as const, mcp_server_name: 'maps', ...more });
const DEFERRED = toolset({ default_config: { defer_loading: true }, tools: [route, tide] });

function ask(text: string, tools: unknown[], before: Anthropic.Beta.Messages.BetaMessageParam[] = []): Promise<Beta> {
  const messages = [...before, { role: 'user' as const, content: text }];
  return client.beta.messages.create({ model, max_tokens: 2000, betas, mcp_servers, tools: tools as Tools, messages });
}

const typesIn = ({ content }: Beta) => content.map(({ type }) => type).filter((type) => type !== 'text');
const SEARCH = ['server_tool_use', 'tool_search_tool_result'];
const CALL = ['mcp_tool_use', 'mcp_tool_result'];

describe('a deferred tool of an MCP server', () => {
  test.each([[BM25], [REGEX]])('is found by $name, and called in the same answer', async (search) => {
    const message = await ask('Plan a journey to Oslo', [search, DEFERRED]);
    expect(typesIn(message)).toEqual([...SEARCH, ...CALL]);
    const [use, result, call, answer] = message.content.filter(({ type }) => type !== 'text');
    expect(use).toMatchObject({ name: search.name, id: expect.stringMatching(/^srvtoolu_/) });
    expect(result).toMatchObject({
      tool_use_id: (use as { id: string }).id,
      content: {
        type: 'tool_search_tool_search_result',
        tool_references: [{ type: 'tool_reference', tool_name: 'plan_route' }],
      },
    });
    expect(call).toMatchObject({ name: 'plan_route', server_name: 'maps', input: { city: 'Oslo' } });
    expect(answer).toMatchObject({ tool_use_id: (call as { id: string }).id, is_error: false });
    expect(message.stop_reason).toBe('end_turn');
  });

  test('is called without another search once it was found', async () => {
    const first = await ask('Plan a journey to Oslo', [BM25, DEFERRED]);
    const before = [
      { role: 'user' as const, content: 'Plan a journey to Oslo' },
      { role: 'assistant' as const, content: first.content as Anthropic.Beta.Messages.BetaContentBlockParam[] },
    ];
    expect(typesIn(await ask('And a journey to Bergen', [BM25, DEFERRED], before))).toEqual(CALL);
    expect(typesIn(await ask('How is the tide?', [BM25, DEFERRED], before))).toEqual([...SEARCH, ...CALL]);
  });

  test('is neither found nor called without a search, where it is not enabled, and where nothing fits', async () => {
    expect(typesIn(await ask('Plan a journey to Oslo', [DEFERRED]))).toEqual([]);
    const off = { ...DEFERRED, configs: { plan_route: { enabled: false } } };
    expect(typesIn(await ask('Plan a journey to Oslo', [BM25, off]))).toEqual([]);
    expect(typesIn(await ask('Hello there', [BM25, DEFERRED]))).toEqual([]);
  });

  test('is known from an earlier listing, from the names in its toolset, or made up: no server is asked', async () => {
    const config = { default_config: { defer_loading: true } };
    const named = toolset({ ...config, configs: { plan_route: {} } });
    expect(typesIn(await ask('Call plan_route', [BM25, named]))).toEqual([...SEARCH, ...CALL]);
    const listing = { type: 'mcp_tool_listing', mcp_server_name: 'maps', tools: [route] };
    const before = [
      { role: 'user' as const, content: 'Hello' },
      { role: 'assistant' as const, content: [listing, { type: 'text', text: 'Hello.' }] as never },
    ];
    expect(typesIn(await ask('Plan a journey to Oslo', [BM25, toolset(config)], before))).toEqual([...SEARCH, ...CALL]);
    const message = await ask('What do the maps say of Oslo?', [BM25, toolset(config)]);
    expect(message.content).toContainEqual(
      expect.objectContaining({ type: 'mcp_tool_use', name: 'search_maps', server_name: 'maps' }),
    );
  });
});

test('a tool of an MCP server that is not deferred is called at once, and a deferred one of the caller’s is found', async () => {
  expect(typesIn(await ask('Plan a journey to Oslo', [toolset({ tools: [route] })]))).toEqual(CALL);
  const own = { ...route, name: 'own_route', defer_loading: true };
  const message = await ask('Plan a journey to Oslo', [BM25, own]);
  expect(typesIn(message)).toEqual([...SEARCH, 'tool_use']);
  expect(message.stop_reason).toBe('tool_use');
});

describe('an agent that is offered agents as tools', () => {
  const agent = (name: string) => ({
    name,
    description: 'Gives a task to another agent.',
    input_schema: { type: 'object', properties: { task: { type: 'string' } }, required: ['task'] },
  });

  /** Does a task as agents do that are all offered the same agents. @returns how many of them were asked */
  async function asked(text: string, tools: readonly object[], depth = 0): Promise<number> {
    expect(depth).toBeLessThanOrEqual(tools.length);
    const { content } = await ask(text, [...tools]);
    const tasks = content.flatMap((block) =>
      block.type === 'tool_use' ? [(block.input as { task: string }).task] : [],
    );
    const all = await Promise.all(tasks.map((task) => asked(task, tools, depth + 1)));
    return all.reduce((sum, more) => sum + more, tasks.length);
  }

  test('asks each that is named once, and those ask none of them again', async () => {
    const names = ['researcher', 'writer', 'critic'];
    expect(await asked('Use researcher, writer and critic for the report', names.map(agent))).toBe(3);
    expect(await asked('researcher: what is the report about?', names.map(agent))).toBe(1);
  });

  test('comes to an end, whatever it was asked', async () => {
    const word = fc.constantFrom(
      'researcher',
      'writer',
      'agent',
      'task',
      'another',
      'Oslo',
      'reports',
      '[task for writer] ',
    );
    const text = fc.array(word, { minLength: 1, maxLength: 6 }).map((words) => words.join(' '));
    await tryAsyncCases(30, text, async (words) => {
      expect(await asked(words, ['researcher', 'writer'].map(agent))).toBeLessThanOrEqual(4);
    });
  });
});
