// In workerd: requests and their streams are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { asking, model, post, refusal, simulated } from '../api.ts';
import { gifOf, pngOf } from '../pictures.ts';

const api = simulated();

async function judged(body: unknown, headers: Record<string, string> = {}, path?: string): Promise<string> {
  const answer = await api(post(body, headers, path));
  if (answer.ok) return 'accepted';
  const { status, type, message } = await refusal(answer);
  expect({ status, type }).toEqual({ status: 400, type: 'invalid_request_error' });
  return message;
}

const one = [{ role: 'user', content: 'hi' }];
const user = (...content: unknown[]): unknown[] => [{ role: 'user', content }];
const image = (source: object): unknown => ({ type: 'image', source });
const png = (data: string): unknown => image({ type: 'base64', media_type: 'image/png', data });
/** A request whose user says these blocks. */
const saying = (...content: unknown[]): unknown => ({ model, max_tokens: 1, messages: user(...content) });
const tool = { name: 'look', input_schema: { type: 'object' } };
const search = { type: 'web_search_20250305', name: 'web_search' };
const document = { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x.' } };
const thinking = { type: 'enabled', budget_tokens: 2000 };

describe("a request is rejected with the API's error text", () => {
  test.each<[string, unknown]>([
    ['model: Field required', { max_tokens: 1, messages: one }],
    ['model: Input should be a valid string', asking('', { model: 5, messages: one })],
    ['max_tokens: Field required', { model, messages: one }],
    ['max_tokens: Input should be a valid integer', asking('x', { max_tokens: '1' })],
    [
      'max_tokens: Input should be a valid integer, got a number with a fractional part',
      asking('x', { max_tokens: 1.5 }),
    ],
    ['max_tokens: Input should be greater than or equal to 0', asking('x', { max_tokens: -1 })],
    [
      `max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens for ${model}`,
      asking('x', { max_tokens: 128_001 }),
    ],
    ['messages: Field required', { model, max_tokens: 1 }],
    ['messages: Input should be a valid list', { model, max_tokens: 1, messages: {} }],
    ['messages: at least one message is required', { model, max_tokens: 1, messages: [] }],
    [
      'messages.0: Input should be a valid dictionary or object to extract fields from',
      { model, max_tokens: 1, messages: ['hi'] },
    ],
    [
      "messages.0.role: Input should be 'user', 'assistant' or 'system'",
      { model, max_tokens: 1, messages: [{ role: 'tool', content: 'x' }] },
    ],
    ['messages.0.role: Field required', { model, max_tokens: 1, messages: [{ content: 'x' }] }],
    ['messages.0.content: Field required', { model, max_tokens: 1, messages: [{ role: 'user' }] }],
    [
      'messages.0.content: Input should be a valid list',
      { model, max_tokens: 1, messages: [{ role: 'user', content: 5 }] },
    ],
    ['stream: Input should be a valid boolean', asking('x', { stream: 'yes' })],
    ['temperature: range: 0..1', asking('x', { temperature: 1.1 })],
    ['temperature: Input should be a valid number', asking('x', { temperature: '1' })],
    ['top_k: Input should be a valid integer, got a number with a fractional part', asking('x', { top_k: 1.5 })],
    ['stop_sequences: each stop sequence must contain non-whitespace', asking('x', { stop_sequences: ['\n'] })],
    ['stop_sequences.0: Input should be a valid string', asking('x', { stop_sequences: [1] })],
    ['metadata.user_id: Input should be a valid string', asking('x', { metadata: { user_id: 7 } })],
    ['metadata.name: Extra inputs are not permitted', asking('x', { metadata: { name: 'x' } })],
    ['temprature: Extra inputs are not permitted', asking('x', { temprature: 1 })],
    ["service_tier: Input should be 'auto' or 'standard_only'", asking('x', { service_tier: 'fast' })],
    ['system: Input should be a valid list', asking('x', { system: 5 })],
    ['system: text content blocks must be non-empty', asking('x', { system: [{ type: 'text', text: '' }] })],
    ["system.0.type: Input should be 'text'", asking('x', { system: [image({})] })],
    [
      "thinking: Input tag 'on' found using 'type' does not match any of the expected tags: 'adaptive', 'between_tools', 'disabled', 'enabled'",
      asking('x', { thinking: { type: 'on' } }),
    ],
    [
      'thinking.enabled.budget_tokens: Input should be greater than or equal to 1024',
      asking('x', { thinking: { type: 'enabled', budget_tokens: 1023 } }),
    ],
    [
      "thinking.adaptive.display: Input should be 'summarized' or 'omitted'",
      asking('x', { thinking: { type: 'adaptive', display: 'all' } }),
    ],
    [
      "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
      asking('x', { output_config: { effort: 'some' } }),
    ],
    [
      'output_config.format.json_schema.schema: Field required',
      asking('x', { output_config: { format: { type: 'json_schema' } } }),
    ],
    ['tools: Input should be a valid list', asking('x', { tools: {} })],
    [
      "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
      asking('x', { tools: [{ ...tool, name: 'a b' }] }),
    ],
    ['tools.0.custom.input_schema: Field required', asking('x', { tools: [{ name: 'a' }] })],
    ['tools.0.custom.input_schema.type: Field required', asking('x', { tools: [{ name: 'a', input_schema: {} }] })],
    [
      "tools.0.custom.input_schema.type: Input should be 'object'",
      asking('x', { tools: [{ name: 'a', input_schema: { type: 'string' } }] }),
    ],
    ['tools: Tool names must be unique.', asking('x', { tools: [tool, tool] })],
    [
      'tools.0.web_search_20250305.max_use: Extra inputs are not permitted',
      asking('x', { tools: [{ type: 'web_search_20250305', name: 'web_search', max_use: 1 }] }),
    ],
    [
      'tools.0.web_search_20250305: only one of `allowed_domains` and `blocked_domains` may be given',
      asking('x', { tools: [{ ...search, allowed_domains: ['a.test'], blocked_domains: ['b.test'] }] }),
    ],
    [
      "tools.0.web_search_20250305.name: Input should be 'web_search'",
      asking('x', { tools: [{ ...search, name: 'look_it_up' }] }),
    ],
    ["inference_geo: Input should be 'global' or 'us'", asking('x', { inference_geo: 'moon' })],
    [
      'messages: citations must be enabled on all or none of the documents within a request.',
      saying({ ...document, citations: { enabled: true } }, document),
    ],
    [
      "tools.0.custom.allowed_callers.0: Input should be 'direct', 'code_execution_20250825', 'code_execution_20260120' or 'code_execution_20260521'",
      asking('x', { tools: [{ ...tool, allowed_callers: ['nobody'] }] }),
    ],
    [
      'messages.0.content.0.document.source.text.size: Extra inputs are not permitted',
      saying({ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x', size: 1 } }),
    ],
    [
      "Tool 'see' not found in provided tools",
      asking('x', { tools: [tool], tool_choice: { type: 'tool', name: 'see' } }),
    ],
    [
      'tool_choice: tool_choice may only be specified while providing tools.',
      asking('x', { tool_choice: { type: 'any' } }),
    ],
    [
      'Thinking may not be enabled when tool_choice forces tool use.',
      asking('x', { tools: [tool], tool_choice: { type: 'any' }, thinking }),
    ],
    [
      "system.0.text.cache_control: Input tag 'long' found using 'type' does not match any of the expected tags: 'ephemeral'".replace(
        '.text',
        '',
      ),
      asking('x', { system: [{ type: 'text', text: 'x', cache_control: { type: 'long' } }] }),
    ],
    [
      "cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
      asking('x', { cache_control: { type: 'ephemeral', ttl: '2h' } }),
    ],
    [
      "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
      saying(image({ type: 'base64', media_type: 'image/bmp', data: 'AAAA' })),
    ],
    ['messages.0.content.0.image.source.base64: invalid base64 data', saying(png('data:image/png;base64,AAAA'))],
    ['Could not process image', saying(png('AAAA'))],
    [
      'messages.0.content.0.image.source.base64.data: The image was specified using the image/png media type, but the image appears to be a image/gif image',
      saying(png(gifOf(3, 3))),
    ],
    [
      'messages.0.content.0.image.source.base64.data: At least one of the image dimensions exceed max allowed size: 8000 pixels',
      saying(png(pngOf(8001, 1))),
    ],
    [
      "messages.0.content.0.image.source: Input tag 's3' found using 'type' does not match any of the expected tags: 'base64', 'url', 'file'",
      saying(image({ type: 's3' })),
    ],
    [
      'messages.0.content.0.image.source.url.url: Only HTTPS URLs are supported.',
      saying(image({ type: 'url', url: 'http://a.test/a.png' })),
    ],
    [
      'The PDF specified was not valid.',
      saying({ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'AAAA' } }),
    ],
    ['messages.0.content.0.text.text: Field required', saying({ type: 'text' })],
    [
      'messages.0.content.0.text.colour: Extra inputs are not permitted',
      saying({ type: 'text', text: 'x', colour: 1 }),
    ],
    ["messages.0.content.0: Unable to extract tag using discriminator 'type'", saying({ text: 'x' })],
    ['messages: text content blocks must be non-empty', saying({ type: 'text', text: '' })],
    [
      'messages: text content blocks must contain non-whitespace text',
      { model, max_tokens: 1, messages: [{ role: 'user', content: ' \n' }] },
    ],
  ])('%s', async (message, body) => {
    expect(await judged(body)).toBe(message);
  });

  test('if the thinking budget is not below max_tokens', async () => {
    expect(await judged(asking('x', { thinking, max_tokens: 2000 }))).toMatch(
      /^`max_tokens` must be greater than `thinking.budget_tokens`/,
    );
  });

  test('if sampling parameters conflict with thinking', async () => {
    expect(await judged(asking('x', { thinking, temperature: 0.5 }))).toMatch(/^`temperature` may only be set to 1/);
    expect(await judged(asking('x', { thinking, top_p: 0.5 }))).toMatch(/^`top_p` must be/);
    expect(await judged(asking('x', { thinking, top_k: 5 }))).toMatch(/^`top_k` must be unset/);
    expect(await judged(asking('x', { thinking, temperature: 1 }))).toBe('accepted');
  });

  test('if cache breakpoints are too many or in the wrong order', async () => {
    const cache_control = { type: 'ephemeral' };
    const marked = (count: number): object[] =>
      Array.from({ length: count }, () => ({ type: 'text', text: 'x', cache_control }));
    expect(await judged(asking('x', { system: marked(4) }))).toBe('accepted');
    expect(await judged(asking('x', { system: marked(5) }))).toBe(
      'A maximum of 4 blocks with cache_control may be provided. Found 5.',
    );
    expect(await judged(asking('x', { system: marked(4), cache_control }))).toBe(
      'A maximum of 4 blocks with cache_control may be provided. Found 5.',
    );
    const messages = [
      { role: 'user', content: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } }] },
    ];
    expect(await judged(asking('x', { system: marked(1), messages }))).toMatch(
      /^messages\.0\.content\.0\.cache_control\.ttl: a ttl='1h' cache_control block must not come after/,
    );
  });
});

describe('a feature of only the older API version', () => {
  const newer = { 'anthropic-version': '2026-10-21' };
  const pdf = { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } };
  const cited = [
    {
      type: 'char_location',
      cited_text: 'x',
      document_index: 0,
      document_title: null,
      start_char_index: 0,
      end_char_index: 1,
    },
  ];

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['temperature', { temperature: 1 }, /^temperature: Extra inputs/],
    ['top_p', { top_p: 1 }, /^top_p: Extra inputs/],
    ['top_k', { top_k: 1 }, /^top_k: Extra inputs/],
    [
      'a document in an assistant message',
      { messages: [...one, { role: 'assistant', content: [pdf] }, ...one] },
      /^messages\.1\.content\.0: `document`/,
    ],
    [
      'citations in a user text',
      { messages: user({ type: 'text', text: 'x', citations: cited }) },
      /^messages\.0\.content\.0\.text\.citations/,
    ],
  ])('%s: is accepted by the older version and rejected by the newer one', async (_, rest, message) => {
    expect(await judged(asking('x', rest))).toBe('accepted');
    expect(await judged(asking('x', rest), newer)).toMatch(message);
    expect(await judged(asking('x', rest), { ...newer, 'anthropic-beta': 'skills-2025-10-02' })).toMatch(message);
  });
});

describe('a request is accepted', () => {
  test('with known optional fields, and with unknown fields and blocks under an unknown newer beta', async () => {
    const known = {
      metadata: { user_id: 'u' },
      service_tier: 'auto',
      speed: 'standard',
      inference_geo: 'us',
      container: null,
      diagnostics: { previous_message_id: null },
      cache_control: { type: 'ephemeral' },
      output_config: { effort: 'low' },
    };
    expect(await judged(asking('x', known), { 'anthropic-version': '2026-10-21' })).toBe('accepted');
    const unknown = asking('x', {
      novelty: { a: 1 },
      messages: user({ type: 'hologram', data: 'x' }, { type: 'text', text: 'x', mood: 'blue' }),
    });
    expect(await judged(unknown)).toMatch(/hologram/);
    expect(await judged(unknown, { 'anthropic-beta': 'novelty-2027-01-01' })).toBe('accepted');
  });

  test('for counting tokens, if it has no max_tokens', async () => {
    const path = '/v1/messages/count_tokens';
    expect(await judged({ model, messages: one }, {}, path)).toBe('accepted');
    expect(await judged(asking('x'), {}, path)).toBe('max_tokens: Extra inputs are not permitted');
  });

  test('unless it continues an unknown thread: then it gets 404 with the code thread_not_found', async () => {
    const answer = await api(
      post(asking('x', { thread: { type: 'continue', previous_message_id: 'msg_1' } }), {
        'anthropic-beta': 'message-threads-2026-08-12',
      }),
    );
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({
      error: { type: 'not_found_error', details: { error_code: 'thread_not_found' } },
    });
  });
});

describe('an arbitrary body', () => {
  test('returns 400 if it is not a JSON object', async () => {
    for (const body of ['', '{', 'null', '[]', '"x"', '7', '{"model":}', '\ufeff'])
      expect(await judged(body)).toMatch(/JSON|dictionary/);
    const invalidUtf8 = new Request(post('{}'), { body: new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]) });
    expect((await api(invalidUtf8)).status).toBe(400);
  });

  test('returns 413 if it exceeds 32 MB, even without a content length', async () => {
    const part = new Uint8Array(1_048_576).fill(0x20);
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => (sent++ < 40 ? controller.enqueue(part) : controller.close()),
    });
    const { status, type } = await refusal(await api(new Request(post('{}'), { body })));
    expect({ status, type }).toEqual({ status: 413, type: 'request_too_large' });
    expect(sent).toBeLessThan(40);
  });

  test.each(['messages', 'system', 'tools', 'metadata', 'output_config', 'anything'])(
    'returns 400 if it is nested 100,000 levels deep in %s',
    async (key) => {
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      const deepObject = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
      for (const value of [deep, deepObject]) {
        const body = JSON.stringify(asking('x', { [key]: 'HERE' })).replace('"HERE"', value);
        expect(await judged(body)).toMatch(/nested too deeply/);
      }
    },
  );

  test('returns a message or an error envelope, and never crashes', async () => {
    const valid = asking('Look at the weather', {
      system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }],
      tools: [
        {
          name: 'weather',
          input_schema: { type: 'object', properties: { a: { $ref: '#/$defs/b' } }, $defs: { b: { enum: ['x'] } } },
        },
      ],
      tool_choice: { type: 'auto' },
      thinking: { type: 'adaptive', display: 'omitted' },
      stop_sequences: ['a'],
      stream: true,
      output_config: { format: { type: 'json_schema', schema: { anyOf: [{ type: 'string', pattern: 'a+' }] } } },
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image', source: { type: 'base64', media_type: 'image/png', data: pngOf(2, 2) } },
            {
              type: 'document',
              citations: { enabled: false },
              source: { type: 'text', media_type: 'text/plain', data: 'x.' },
            },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'x' },
            { type: 'tool_use', id: 't1', name: 'weather', input: {} },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'x' }] },
            { type: 'text', text: 'Look' },
          ],
        },
      ],
    });
    expect(await judged({ ...valid, stream: false })).toBe('accepted');
    const paths: (string | number)[][] = [];
    const walk = (value: unknown, path: (string | number)[]): void => {
      paths.push(path);
      if (typeof value === 'object' && value !== null)
        for (const [key, child] of Object.entries(value)) walk(child, [...path, key]);
    };
    walk(valid, []);
    const garbage = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      // The last one cannot become a string by itself.
      fc.constantFrom<unknown>(undefined, null, -1, 1e308, '', '__proto__', [], {}, { toString: 7 }),
    );
    const mutation = fc.tuple(fc.constantFrom(...paths.slice(1)), garbage);
    await tryAsyncCases(
      caseCount(1500),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      fc.boolean(),
      fc.boolean(),
      async (mutations, isBeta, isNewer) => {
        const body = structuredClone(valid);
        for (const [path, value] of mutations) {
          let target: unknown = body;
          for (const key of path.slice(0, -1)) target = (target as Record<string, unknown> | undefined)?.[key];
          const key = path.at(-1);
          if (typeof target === 'object' && target !== null && key !== undefined)
            // A copy: a later mutation may change it, or put it into itself.
            (target as Record<string, unknown>)[key] = structuredClone(value);
        }
        const headers = {
          ...(isBeta ? { 'anthropic-beta': 'novelty-2027-01-01' } : {}),
          ...(isNewer ? { 'anthropic-version': '2026-10-21' } : {}),
        };
        for (const path of ['/v1/messages', '/v1/messages/count_tokens']) {
          const answer = await api(post(body, headers, path));
          if (answer.ok) await answer.text();
          else expect([400, 404]).toContain((await refusal(answer)).status);
        }
      },
    );
  });
});
