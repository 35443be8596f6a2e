import type Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import { clientOf, model, simulated } from '../api.ts';

type Beta = Anthropic.Beta.Messages.BetaMessage;
type Tools = Anthropic.Beta.Messages.BetaToolUnion[];

const client = clientOf(simulated());
const betas = ['mcp-client-2025-11-20'];
const mcp_servers = [{ type: 'url' as const, name: 'maps', url: 'https://maps.example.com/mcp' }];
const BM25 = { type: 'tool_search_tool_bm25_20251119', name: 'tool_search_tool_bm25' } as const;
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
const CALL = ['mcp_tool_use', 'mcp_tool_result'];

describe('a tool of an MCP server', () => {
  test('is called in the response with input from the prompt, without a request to the server', async () => {
    const message = await ask('Plan a journey to Oslo', [toolset({ tools: [route, tide] })]);
    expect(typesIn(message)).toEqual(CALL);
    const [call, result] = message.content.filter(({ type }) => type !== 'text');
    expect(call).toMatchObject({ name: 'plan_route', server_name: 'maps', input: { city: 'Oslo' } });
    expect(result).toMatchObject({ tool_use_id: (call as { id: string }).id, is_error: false });
    expect(message.stop_reason).toBe('end_turn');
  });

  test('is not called if it is deferred, disabled or unrelated; the simulator does not run tool search', async () => {
    expect(typesIn(await ask('Plan a journey to Oslo', [BM25, DEFERRED]))).toEqual([]);
    const off = toolset({ tools: [route, tide], configs: { plan_route: { enabled: false } } });
    expect(typesIn(await ask('Plan a journey to Oslo', [off]))).toEqual([]);
    expect(typesIn(await ask('Hello there', [toolset({ tools: [route, tide] })]))).toEqual([]);
    expect(typesIn(await ask('Plan a journey to Oslo', [BM25, DEFERRED, { ...route, defer_loading: true }]))).toEqual(
      [],
    );
  });

  test('is called by a name from an earlier listing or its toolset, else by an invented name', async () => {
    expect(typesIn(await ask('Call plan_route', [toolset({ configs: { plan_route: {} } })]))).toEqual(CALL);
    const listing = { type: 'mcp_tool_listing', mcp_server_name: 'maps', tools: [route] };
    const before = [
      { role: 'user' as const, content: 'Hello' },
      { role: 'assistant' as const, content: [listing, { type: 'text', text: 'Hello.' }] as never },
    ];
    expect(typesIn(await ask('Plan a journey to Oslo', [toolset({})], before))).toEqual(CALL);
    const message = await ask('What do the maps say of Oslo?', [toolset({})]);
    expect(message.content).toContainEqual(
      expect.objectContaining({ type: 'mcp_tool_use', name: 'search_maps', server_name: 'maps' }),
    );
  });
});
