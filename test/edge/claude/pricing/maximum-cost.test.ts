import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeCost, type Usage } from '#edge/claude/pricing/cost.ts';
import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const models = new ModelTable();
const encoder = new TextEncoder();

type Body = Record<string, unknown>;

function bytesOf(body: Body): number {
  return encoder.encode(JSON.stringify(body)).length;
}

function bound(body: Body, more: { count?: number | null; betas?: string[]; bytes?: number } = {}): MaximumCost {
  return computeMaximumCost(body, { bytes: bytesOf(body), models, ...more }).maximumCost;
}

function ask(more: Body = {}): Body {
  return { model: 'claude-opus-5-5', max_tokens: 1_000, messages: [{ role: 'user', content: 'Hello' }], ...more };
}

function blocks(...content: unknown[]): Body {
  return { messages: [{ role: 'user', content }] };
}

const hold = ({ inputCost, outputTokens, outputPrice }: MaximumCost) => inputCost + outputTokens * outputPrice;
const price = (usage: Usage, model: string) =>
  computeCost(usage, models.findPriceRow(model).row, { priceOf: (name) => models.findPriceRow(name).row });

const MILLION = 1_000_000;
/** What a tool that the API defines has in the prompt beside its bytes. */
const TOOL = 1_024 + 2_048;
const EPHEMERAL = { type: 'ephemeral' };
const HOUR = { type: 'ephemeral', ttl: '1h' };
const png = (length: number) => ({
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(length) },
});
const SEARCH = { type: 'web_search_20260318', name: 'web_search', max_uses: 3 };
const adds = (definition: object) => ({ type: 'tool_addition', tool: { type: 'tool_definition', definition } });
const tool = (name: string) => ({ name, description: 'Says "größer" 漢字', input_schema: { type: 'object' } });

describe('a hold covers the most expensive usage that the API can report for', () => {
  // Each usage is the worst the API's rules allow for the body: every byte a token, every later step the whole window.
  const cases: [name: string, body: Body, usage: (bytes: number) => Usage][] = [
    ['plain text', ask(), (bytes) => ({ input_tokens: bytes + 272 })],
    [
      'text outside ASCII, and escapes',
      ask(blocks({ type: 'text', text: '漢字\n"\u0000😀' })),
      (bytes) => ({ input_tokens: bytes + 272 }),
    ],
    [
      'a workspace whose default geography is the US',
      ask(),
      (bytes) => ({ input_tokens: bytes + 272, inference_geo: 'us' }),
    ],
    ['inference_geo', ask({ inference_geo: 'us' }), (bytes) => ({ input_tokens: bytes + 272, inference_geo: 'us' })],
    ['speed', ask({ speed: 'fast' }), (bytes) => ({ input_tokens: bytes + 272, speed: 'fast', inference_geo: 'us' })],
    [
      'cache of five minutes',
      ask({ cache_control: EPHEMERAL }),
      (bytes) => ({ cache_creation_input_tokens: bytes + 272 }),
    ],
    [
      'cache of an hour, deep in a tool result',
      ask(
        blocks({ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'x', cache_control: HOUR }] }),
      ),
      (bytes) => ({ cache_creation: { ephemeral_1h_input_tokens: bytes + 272 } }),
    ],
    [
      'cache of an hour on a tool',
      ask({ tools: [{ ...tool('a'), cache_control: HOUR }] }),
      (bytes) => ({ cache_creation: { ephemeral_1h_input_tokens: bytes + 1_296 } }),
    ],
    [
      'many tools',
      ask({ tools: Array.from({ length: 64 }, (_, i) => tool(`tool_${i}`)) }),
      (bytes) => ({ input_tokens: bytes + 1_296 }),
    ],
    [
      'structured output',
      ask({ output_config: { format: { type: 'json_schema', schema: { type: 'object' } } } }),
      (bytes) => ({ input_tokens: bytes + 1_296 }),
    ],
    ['an image of few bytes', ask(blocks(png(40))), () => ({ input_tokens: 4_784 + 272 })],
    [
      'images in a tool result',
      ask(blocks({ type: 'tool_result', tool_use_id: 't', content: [png(40), png(4_000)] })),
      () => ({ input_tokens: 2 * 4_784 + 272 }),
    ],
    [
      'an image by URL',
      ask(blocks({ type: 'image', source: { type: 'url', url: 'https://x.test/a.png' } })),
      (bytes) => ({ input_tokens: bytes + 4_784 + 272, inference_geo: 'us' }),
    ],
    [
      'an image in a file',
      ask(blocks({ type: 'image', source: { type: 'file', file_id: 'file_1' } })),
      (bytes) => ({ input_tokens: bytes + 4_784 + 272, inference_geo: 'us' }),
    ],
    [
      'a document by URL',
      ask(blocks({ type: 'document', source: { type: 'url', url: 'https://x.test/a.pdf' } })),
      () => ({ input_tokens: MILLION, inference_geo: 'us' }),
    ],
    [
      'a file',
      ask(blocks({ type: 'document', source: { type: 'file', file_id: 'file_1' } })),
      () => ({ input_tokens: MILLION }),
    ],
    [
      'a PDF of few bytes, of any number of pages',
      ask(blocks({ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'AAAA' } })),
      () => ({ input_tokens: MILLION }),
    ],
    ['an unknown block', ask(blocks({ type: 'hologram' })), () => ({ input_tokens: MILLION, inference_geo: 'us' })],
    [
      'an unknown block with a cache',
      ask(blocks({ type: 'hologram', cache_control: HOUR })),
      () => ({ cache_creation: { ephemeral_1h_input_tokens: MILLION } }),
    ],
    [
      'a thread at the API that goes on',
      ask({ thread: { type: 'continue', previous_message_id: 'msg_1' } }),
      () => ({ input_tokens: MILLION }),
    ],
    ['a thread that nobody knows', ask({ thread: { id: 't' } }), () => ({ input_tokens: MILLION })],
    ['a thread that begins', ask({ thread: { type: 'create' } }), (bytes) => ({ input_tokens: bytes + 272 })],
    [
      'a tool that a message defines',
      ask(blocks(adds(tool('a')), adds(tool('b')))),
      (bytes) => ({ input_tokens: bytes + 272 + 1_024 }),
    ],
    [
      'web search that a message defines',
      ask(blocks(adds(SEARCH))),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 3 * MILLION,
        output_tokens: 4 * 1_000,
        server_tool_use: { web_search_requests: 3 },
        inference_geo: 'us',
      }),
    ],
    [
      'web search that a summary carries on',
      ask(blocks({ type: 'compaction', content: 'So.', tool_changes: [adds(SEARCH)] })),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 3 * MILLION,
        output_tokens: 4 * 1_000,
        server_tool_use: { web_search_requests: 3 },
        inference_geo: 'us',
      }),
    ],
    [
      'web search with max_uses',
      ask({ tools: [{ type: 'web_search_20260318', name: 'web_search', max_uses: 3 }] }),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 3 * MILLION,
        output_tokens: 4 * 1_000,
        server_tool_use: { web_search_requests: 3 },
        inference_geo: 'us',
      }),
    ],
    [
      'web search without',
      ask({ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 9 * MILLION,
        output_tokens: 10_000,
        server_tool_use: { web_search_requests: 100 },
        inference_geo: 'us',
      }),
    ],
    [
      'web fetch of pages whose length is limited',
      ask({ tools: [{ type: 'web_fetch_20260318', name: 'web_fetch', max_uses: 2, max_content_tokens: 5_000 }] }),
      (bytes) => {
        const first = bytes + 272 + TOOL;
        const steps = [first, first + 5_000 + 1_000, first + 2 * 5_000 + 2 * 1_000];
        return {
          input_tokens: steps.reduce((sum, tokens) => sum + tokens, 0),
          output_tokens: 3_000,
          inference_geo: 'us',
        };
      },
    ],
    [
      'two served tools',
      ask({
        tools: [
          { type: 'web_fetch_20260318', name: 'web_fetch', max_uses: 2 },
          { type: 'code_execution_20260521', name: 'code_execution' },
        ],
      }),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 2_048 + 11 * MILLION,
        output_tokens: 12_000,
        inference_geo: 'us',
      }),
    ],
    [
      'an MCP server',
      ask({ mcp_servers: [{ type: 'url', url: 'https://x.test', name: 'x' }] }),
      () => ({ input_tokens: 10 * MILLION, output_tokens: 10_000, inference_geo: 'us' }),
    ],
    [
      'a tool of an unknown type',
      ask({ tools: [{ type: 'teleport_20270101', name: 'teleport' }] }),
      () => ({ input_tokens: 10 * MILLION, output_tokens: 10_000, inference_geo: 'us' }),
    ],
    [
      'Haiku at the edge of its tier',
      ask({ model: 'claude-haiku-5-5', messages: [{ role: 'user', content: 'x'.repeat(99_800) }] }),
      () => ({ input_tokens: 100_001, inference_geo: 'us' }),
    ],
    [
      'Haiku with a cache of an hour, long',
      ask({ model: 'claude-haiku-5-5', cache_control: HOUR, ...blocks({ type: 'text', text: 'x'.repeat(150_000) }) }),
      () => ({ cache_creation: { ephemeral_1h_input_tokens: 150_000 } }),
    ],
    [
      'compaction on the way',
      ask({
        context_management: { edits: [{ type: 'compact_20260112', trigger: { type: 'input_tokens', value: 50 } }] },
      }),
      (bytes) => ({
        input_tokens: bytes + 272,
        iterations: [{ type: 'compaction', input_tokens: bytes + 272, output_tokens: 128_000 }],
      }),
    ],
    [
      'an advisor of another model',
      ask({ tools: [{ type: 'advisor_20260301', name: 'advisor', model: 'claude-fable-5', max_uses: 2 }] }),
      (bytes) => ({
        input_tokens: bytes + 272 + TOOL + 2 * MILLION,
        output_tokens: 3_000,
        inference_geo: 'us',
        iterations: Array.from({ length: 2 }, () => ({
          type: 'advisor_message',
          model: 'claude-fable-5',
          input_tokens: MILLION,
          output_tokens: 128_000,
        })),
      }),
    ],
  ];

  test.each(cases)('%s', (_, body, usage) => {
    const used = { output_tokens: 1_000, ...usage(bytesOf(body)) };
    expect(hold(bound(body))).toBeGreaterThanOrEqual(price(used, String(body.model)));
  });

  test('a chain of fallbacks that are all billed', () => {
    const body = ask({ fallbacks: [{ model: 'claude-fable-5', max_tokens: 5_000 }, { model: 'claude-sonnet-5' }] });
    const input_tokens = bytesOf(body) + 272;
    const all =
      price({ input_tokens, output_tokens: 1_000 }, 'claude-opus-5-5') +
      price({ input_tokens, output_tokens: 5_000 }, 'claude-fable-5') +
      price({ input_tokens, output_tokens: 1_000 }, 'claude-sonnet-5');
    expect(hold(bound(body))).toBeGreaterThanOrEqual(all);
    expect(bound(body).models).toEqual([['claude-opus-5-5'], ['claude-fable-5'], ['claude-sonnet-5']]);
  });

  test('any combination of these, with every step of every attempt', () => {
    const name = fc.constantFrom(...models.rows.map(({ id }) => id));
    const tokens = fc.integer({ min: 1, max: 30_000 });
    const asked = fc.record({
      model: name,
      max_tokens: tokens,
      speed: fc.constantFrom('standard', 'fast'),
      cache: fc.constantFrom('none', '5m', '1h'),
      uses: fc.nat(3),
      fallbacks: fc.array(fc.record({ model: name, max_tokens: tokens }, { requiredKeys: ['model'] }), {
        maxLength: 2,
      }),
    });
    tryCases(caseCount(1_000), asked, ({ model, max_tokens, speed, cache, uses, fallbacks }) => {
      const searching = { type: 'web_search_20260318', name: 'web_search', max_uses: uses };
      const body = ask({
        model,
        max_tokens,
        speed,
        fallbacks,
        ...(cache === 'none' ? {} : { cache_control: { type: 'ephemeral', ttl: cache } }),
        ...(uses > 0 ? { tools: [searching] } : {}),
      });
      const prompt = (tokens: number): Usage =>
        cache === 'none'
          ? { input_tokens: tokens }
          : { cache_creation: { [`ephemeral_${cache}_input_tokens`]: tokens } };
      const dearest = [{ model, max_tokens }, ...fallbacks].map((attempt) => {
        const { row } = models.findPriceRow(attempt.model);
        const step = { output_tokens: attempt.max_tokens ?? max_tokens, inference_geo: 'us', speed };
        const first = computeCost({ ...step, ...prompt(bytesOf(body) + 272 + (uses > 0 ? TOOL : 0)) }, row);
        const search = { ...step, ...prompt(row.max_input_tokens), server_tool_use: { web_search_requests: 1 } };
        return first + uses * computeCost(search, row);
      });
      expect(hold(bound(body))).toBeGreaterThanOrEqual(dearest.reduce((sum, cost) => sum + cost, 0));
    });
  });

  test('a fallback that the API chooses, priced as the most expensive model', () => {
    const body = ask({ fallbacks: 'default' });
    const usage = { input_tokens: bytesOf(body) + 272, output_tokens: 1_000 };
    const dearest = Math.max(...models.rows.map((row) => computeCost(usage, row)));
    expect(hold(bound(body))).toBeGreaterThanOrEqual(price(usage, 'claude-opus-5-5') + dearest);
    expect(bound(body).models).toEqual([['claude-opus-5-5'], ['default']]);
  });

  test('an unknown model, priced as the most expensive model', () => {
    const body = ask({ model: 'claude-next' });
    const usage = { input_tokens: bytesOf(body) + 272, output_tokens: 1_000 };
    for (const row of models.rows) expect(hold(bound(body))).toBeGreaterThanOrEqual(computeCost(usage, row));
    expect(bound(body).isPriced).toBe(false);
  });
});

describe('the upper bound of a request', () => {
  test('is the bytes of its text, plus 16 tokens per message and 256 per request', () => {
    const body = ask();
    expect(bound(body)).toMatchObject({
      inputTokens: bytesOf(body) + 16 + 256,
      outputTokens: 1_000,
      outputPrice: 22_000,
      bounded: true,
      countable: true,
    });
  });

  test('has no surcharge for global inference', () => {
    expect(bound(ask({ inference_geo: 'global' })).outputPrice).toBe(20_000);
  });

  test('does not count the base64 of an image as text', () => {
    expect(bound(ask(blocks(png(4 * MILLION)))).inputTokens).toBeLessThan(6_000);
  });

  test('is the same for an image from a URL and from a file', () => {
    const sources = [
      { type: 'url', url: 'https://x.test/a.png' },
      { type: 'file', file_id: 'file_1' },
    ];
    for (const source of sources) {
      const body = ask(blocks({ type: 'image', source }, { type: 'image', source }));
      expect(bound(body)).toMatchObject({ inputTokens: bytesOf(body) + 272 + 2 * 5_000, bounded: true });
    }
  });

  test('uses the first prompt of a server tool loop, and the context window for later steps', () => {
    const body = ask({ tools: [{ type: 'web_search_20260318', name: 'web_search', max_uses: 3 }] });
    const first = bytesOf(body) + 272 + TOOL;
    expect(bound(body)).toMatchObject({
      inputTokens: first + 3 * MILLION,
      outputPrice: 4 * 22_000,
      bounded: false,
      serverTools: { tool: 'web_search', single: true, uses: 3, inputTokens: 4 * first + (1 + 2 + 3) * 25_000 },
    });
  });

  test('estimates that each step reads all earlier results, up to the context window', () => {
    const estimated = (tool: object) => {
      const body = ask({ tools: [tool] });
      const { maximumCost: worstCase } = computeMaximumCost(body, { bytes: bytesOf(body), models });
      return {
        first: bytesOf(body) + 272 + TOOL,
        served: worstCase.serverTools?.inputTokens,
        exact: worstCase.inputTokens,
      };
    };
    const search = { type: 'web_search_20260318', name: 'web_search' };
    const fetching = { type: 'web_fetch_20260318', name: 'web_fetch', max_content_tokens: 5_000, max_uses: 4 };
    const page = estimated(fetching);
    expect(page.served).toBe(5 * page.first + (1 + 2 + 3 + 4) * 7_000);
    // Ten uses where nothing limits it.
    const unlimited = estimated(search);
    expect(unlimited.served).toBe(11 * unlimited.first + 55 * 25_000);
    for (const uses of [1, 7, 60, 900]) {
      const { first, served, exact } = estimated({ ...search, max_uses: uses });
      let sum = 0;
      for (let step = 0; step <= uses; step += 1) sum += Math.min(MILLION, first + step * 25_000);
      expect(served).toBe(sum);
      expect(served).toBeLessThanOrEqual(exact);
    }
  });

  test('estimates enough for any smaller number of tool uses', () => {
    const searching = (uses: number) => {
      const body = ask({ tools: [{ type: 'web_search_20260318', name: 'web_search', max_uses: uses }] });
      return computeMaximumCost(body, { bytes: 2_000, models }).maximumCost.serverTools;
    };
    const eight = searching(8);
    const without = (eight?.inputCost ?? 0) - 8 * (eight?.estimatedUseCost ?? 0);
    for (let uses = 1; uses <= 8; uses += 1) {
      const said = without + uses * (eight?.estimatedUseCost ?? 0);
      expect(searching(uses)?.inputCost).toBeLessThanOrEqual(Math.ceil(said));
    }
  });

  test('limits each web fetch step by max_content_tokens', () => {
    const fetching = { type: 'web_fetch_20260318', name: 'web_fetch', max_uses: 2, max_content_tokens: 5_000 };
    const body = ask({ tools: [fetching] });
    const first = bytesOf(body) + 272 + TOOL;
    expect(bound(body)).toMatchObject({
      inputTokens: first + 2 * (first + 2 * 6_000 + 2 * 1_000),
      bounded: true,
    });
  });

  test('names the block that cannot be bounded', () => {
    expect(bound(ask(blocks({ type: 'hologram' }))).unboundedReason).toBe('a block of the type hologram');
    const byUrl = { type: 'document', source: { type: 'url', url: 'https://x.test/a.pdf' } };
    expect(bound(ask(blocks(byUrl))).unboundedReason).toBe('a document by URL');
    expect(bound(ask()).unboundedReason).toBeUndefined();
  });

  test('is at most the context window', () => {
    const body = ask({ model: 'claude-haiku-4-5', messages: [{ role: 'user', content: 'x'.repeat(900_000) }] });
    expect(bound(body).inputTokens).toBe(200_000);
  });

  test('counts known blocks by their bytes', () => {
    const known = [
      { type: 'thinking', thinking: 'Hm', signature: 's' },
      { type: 'tool_use', id: 't', name: 'f', input: { type: 'hologram', image: { type: 'url' } } },
      { type: 'web_search_tool_result', tool_use_id: 't', content: [{ type: 'web_search_result' }] },
      { type: 'web_search_tool_result', tool_use_id: 't', content: { type: 'web_search_tool_result_error' } },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } },
      { type: 'document', source: { type: 'content', content: [{ type: 'text', text: 'x' }] } },
      { type: 'tool_result', tool_use_id: 't', content: 'text' },
    ];
    expect(bound(ask(blocks(...known)))).toMatchObject({ bounded: true });
  });

  test.each([
    ['a thread that begins', { thread: { type: 'create' } }, 272],
    ['a tool that a message defines', blocks(adds(tool('a'))), 272 + 1_024],
    [
      'a tool that a summary carries on',
      blocks({ type: 'compaction', content: 'So.', tool_changes: [adds(tool('a'))] }),
      272 + 1_024,
    ],
    [
      'a tool that a summary names',
      blocks({
        type: 'compaction',
        content: 'So.',
        tool_changes: [{ type: 'tool_addition', tool: { type: 'tool_reference', name: 'a' } }],
      }),
      272,
    ],
  ])('counts %s by the bytes of the body', (_, more, beside) => {
    const body = ask(more);
    expect(bound(body)).toMatchObject({ inputTokens: bytesOf(body) + beside, bounded: true });
  });

  test('assumes the full context window for a fetched PDF', () => {
    const page = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'AA' } };
    const result = { type: 'web_fetch_tool_result', content: { type: 'web_fetch_result', content: page } };
    expect(bound(ask(blocks(result)))).toMatchObject({ bounded: false, countable: true, inputTokens: MILLION });
  });

  test('excludes compaction that cannot be triggered', () => {
    const body = ask({
      context_management: { edits: [{ type: 'compact_20260112' }, { type: 'clear_thinking_20251015' }] },
    });
    expect(bound(body).inputTokens).toBeLessThan(1_000);
  });

  test('keeps the minimum output above the thinking budget', () => {
    expect(bound(ask({ thinking: { type: 'enabled', budget_tokens: 2_048 } })).leastOutput).toBe(2_049);
  });

  test.each([
    ['claude-haiku-5-5', {}, 2_048],
    ['claude-haiku-5-5', { thinking: { type: 'disabled' } }, 256],
    ['claude-haiku-5-5', { output_config: { effort: 'low' } }, 1_024],
    ['claude-haiku-5-5', { thinking: { type: 'adaptive' }, output_config: { effort: 'max' } }, 8_192],
    ['claude-sonnet-5-5', {}, 4_096],
    ['claude-sonnet-5-5', { thinking: { type: 'between_tools' } }, 256],
    ['claude-opus-5-5', { output_config: { effort: 'xhigh' } }, 8_192],
    ['claude-opus-4-8', {}, 256],
    ['claude-opus-4-8', { thinking: { type: 'adaptive' } }, 4_096],
    ['claude-haiku-4-5', { thinking: { type: 'enabled', budget_tokens: 2_000 } }, 2_256],
    ['claude-haiku-4-5', { thinking: null, output_config: null }, 256],
    // Of a model without a row it is not known that it thinks.
    ['somebodys-model', {}, 256],
    ['somebodys-model', { thinking: { type: 'adaptive' } }, 4_096],
    ['claude-haiku-4-5', { fallbacks: [{ model: 'claude-opus-5-5' }] }, 2_048],
    ['claude-opus-5-5', { fallbacks: [{ model: 'claude-haiku-5-5', output_config: { effort: 'max' } }] }, 8_192],
  ])('computes the useful output of %s for thinking and text: %j', (model, more, tokens) => {
    expect(bound(ask({ model, ...more })).usefulOutput).toBe(tokens);
  });

  test('limits max_tokens to the context window', () => {
    expect(bound(ask({ max_tokens: 1e300 })).outputTokens).toBe(MILLION);
  });
});

describe('a token count', () => {
  const long = ask({ messages: [{ role: 'user', content: 'x'.repeat(10_000) }] });

  test('sets the bound to two percent, but at least 64 tokens, above the count', () => {
    expect(bound(long, { count: 8_000 })).toMatchObject({ inputTokens: 8_160, bounded: true, countable: false });
    expect(bound(long, { count: 1_000 }).inputTokens).toBe(1_064);
  });

  test('never raises the bound above the bytes', () => {
    expect(bound(ask(), { count: 9_999 }).inputTokens).toBe(bytesOf(ask()) + 272);
  });

  test('that fails leaves the bound at the bytes, or at the context window', () => {
    const { inputTokens } = bound(long);
    expect(bound(long, { count: null })).toMatchObject({ inputTokens, bounded: true, countable: false });
    const file = ask(blocks({ type: 'document', source: { type: 'file', file_id: 'f' } }));
    const held = {
      inputTokens: MILLION,
      bounded: false,
      countable: false,
      unboundedReason: 'a block that the upstream cannot count',
    };
    expect(bound(file, { count: null })).toMatchObject(held);
  });

  test('is possible for files, but not for documents by URL, unknown blocks and hidden tools', () => {
    for (const type of ['document', 'image']) {
      const file = ask(blocks({ type, source: { type: 'file', file_id: 'f' } }));
      expect(bound(file).countable).toBe(true);
      expect(bound(file, { count: 3_000 })).toMatchObject({ inputTokens: 3_064, bounded: true });
    }
    const page = ask(blocks({ type: 'document', source: { type: 'url', url: 'https://x.test' } }));
    const odd = ask(blocks({ type: 'hologram' }));
    for (const body of [page, odd]) expect(bound(body).countable).toBe(false);
    // A page may be another one now; anything else is known by the usage of the turn before.
    expect(bound(page, { count: 3_000 })).toMatchObject({ inputTokens: MILLION, bounded: false });
    expect(bound(odd, { count: 3_000 })).toMatchObject({ inputTokens: 3_064, bounded: true });
    const served = ask({ tools: [{ type: 'web_fetch_20260318', name: 'web_fetch', max_uses: 1 }] });
    // Beside what its later steps may read, this prompt is nothing.
    expect(bound(served).countable).toBe(false);
    expect(bound(served, { bytes: 50_000 }).countable).toBe(true);
    const hidden = ask({ mcp_servers: [{ type: 'url', url: 'https://mcp.example', name: 'm' }] });
    expect(bound(hidden, { bytes: 50_000 }).countable).toBe(false);
    expect(bound(served, { count: 100 })).toMatchObject({ inputTokens: 164 + MILLION, bounded: false });
  });

  test('does not lower the bound of an image by URL, which may change', () => {
    const url = ask(blocks({ type: 'image', source: { type: 'url', url: 'https://x.test' } }));
    expect(bound(url, { count: 100 }).inputTokens).toBeGreaterThanOrEqual(5_000);
  });

  test('keeps Haiku in its lower price tier if the count plus two percent is below the tier’s limit', () => {
    const body = ask({
      model: 'claude-haiku-5-5',
      inference_geo: 'global',
      ...blocks({ type: 'text', text: 'x'.repeat(2e5) }),
    });
    expect(bound(body).outputPrice).toBe(2_500);
    expect(bound(body, { count: 50_000 }).outputPrice).toBe(500);
    expect(bound(body, { count: 99_000 }).outputPrice).toBe(2_500);
  });
});

describe('computeMaximumCost returns a bound for', () => {
  test('content nested a hundred thousand levels deep', () => {
    let content: unknown = [{ type: 'text', text: 'x' }];
    for (let i = 0; i < 100_000; i++) content = [{ type: 'tool_result', content }];
    const body = ask({ messages: [{ role: 'user', content }] });
    expect(computeMaximumCost(body, { bytes: 5 * MILLION, models }).maximumCost).toMatchObject({
      bounded: false,
      inputTokens: MILLION,
    });
    let lists: unknown = [];
    for (let i = 0; i < 100_000; i++) lists = [lists];
    expect(computeMaximumCost(ask({ system: lists }), { bytes: 2e5, models }).maximumCost.bounded).toBe(false);
  });

  test.each<[string, Body]>([
    ['nothing', { messages: [] }],
    ['nulls', { model: null, messages: [null, 1, 'x', []], tools: [null, 1], system: 3, container: null } as Body],
    ['wrong kinds', ask({ messages: [{ role: 'user', content: [null, 1, 'x', [[{}]]] }], fallbacks: [null, 3, {}] })],
    [
      'uses beyond counting',
      ask({
        tools: [
          { type: 'web_search_1', max_uses: 1e300 },
          { type: 'x', max_uses: -1 },
        ],
      }),
    ],
    ['fallbacks beyond counting', ask({ fallbacks: Array.from({ length: 5_000 }, () => ({ model: 'x' })) })],
  ])('%s', (_, body) => {
    const { inputTokens, inputCost, outputTokens, outputPrice } = bound(body);
    for (const value of [inputTokens, inputCost, outputTokens, outputPrice]) {
      expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
    }
  });
});

test.each([
  ['tools that nobody knows', { type: 'x' }],
  ['advisors', { type: 'advisor_20260301', name: 'advisor', model: 'claude-opus-5-5' }],
  ['searches', { type: 'web_search_20260209', name: 'web_search', max_uses: 1 }],
])('returns a short description of a hundred thousand %s', (_, tool) => {
  const body = { model: 'claude-opus-5-5', max_tokens: 10, messages: [], tools: Array(100_000).fill(tool) };
  const { maximumCost: worstCase } = computeMaximumCost(body, { bytes: 3_000_000, models: new ModelTable() });
  expect(JSON.stringify(worstCase).length).toBeLessThan(20_000);
  expect(worstCase.inputCost).toBeGreaterThan(1e9);
});

/** Every place in a value, as the keys that lead there. */
function placesIn(value: unknown): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, member]) => [[key], ...placesIn(member).map((rest) => [key, ...rest])]);
}

test('returns a maximum cost if any field has a value that cannot become a string', () => {
  const source = { type: 'url', url: 'https://example.com/a.pdf' };
  const body = ask({
    ...blocks({ type: 'document', source }, png(8), { type: 'tool_result', tool_use_id: 't', content: [png(8)] }),
    system: [{ type: 'text', text: 'x', cache_control: HOUR }],
    tools: [
      { name: 'a', input_schema: { type: 'object' } },
      { type: 'advisor_20260301', name: 'advisor', model: 'claude-haiku-5-5', max_uses: 2 },
      { type: 'web_search_20260209', name: 'web_search', max_uses: 2 },
    ],
    context_management: { edits: [{ type: 'compact_20260112', trigger: { type: 'input_tokens', value: 5 } }] },
    fallbacks: [{ model: 'claude-haiku-5-5', max_tokens: 5 }],
    thinking: { type: 'enabled', budget_tokens: 1_024 },
    service_tier: 'auto',
  });
  const places = placesIn(body).filter(([first]) => first !== 'model');
  expect(places.length).toBeGreaterThan(40);
  for (const place of places) {
    const changed = structuredClone(body);
    let around: Body = changed;
    for (const key of place.slice(0, -1)) around = around[key] as Body;
    around[place.at(-1) ?? ''] = { toString: 7 };
    expect(hold(bound(changed)), place.join('.')).toBeGreaterThan(0);
  }
});
