// In workerd: what turns bytes into text there is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runAtOnce } from '#edge/kit/async/run-in-steps.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { parseLongJsonInSteps } from '#edge/kit/http/read-json.ts';
import {
  createCanonicalPrefixText,
  expandPrefix as expandedOf,
  type ParsedPrefix,
  parsePrefix,
  type StoredPrefixContent,
} from '#edge/registry/prefixes/prefix.ts';
import type { PrefixFields } from '#edge/registry/prefixes/prefixes.schema.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

type Json = Record<string, unknown>;

const tool = (name: string): Json => ({ name, input_schema: { type: 'object', properties: { cache_control: {} } } });
const text = (value: string) => ({ type: 'text', text: value });
const prefixOf = (fields: Partial<PrefixFields>): ParsedPrefix =>
  parsePrefix(
    runAtOnce(
      parseLongJsonInSteps(new TextEncoder().encode(createCanonicalPrefixText({ cache_ttl: '5m', ...fields }))),
    ),
  );

function bodyOf(json: unknown, space?: number): JsonBody {
  const text = JSON.stringify(json, null, space);
  return { text, bytes: new TextEncoder().encode(text), json: JSON.parse(text) as Json };
}

/** What goes up, with all of the prefix in its text. */
function expand(...args: Parameters<typeof expandedOf>): JsonBody {
  const { bytes, json } = expandedOf(...args);
  return { bytes, text: new TextDecoder().decode(bytes), json };
}

const HI = { model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }] };

function faultOf(work: () => unknown): string {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status === 400) return thrown.message;
    throw thrown;
  }
  throw new Error('nothing was thrown');
}

/** The body that goes up, up to the last breakpoint of the prefix; a caller of these tests has none. */
function upToBreakpoint(body: JsonBody): string {
  const { text } = body;
  const mark = '"cache_control":{"type":"ephemeral","ttl":"1h"}';
  return text.slice(0, text.lastIndexOf(mark) + mark.length);
}

const name = fc.stringMatching(/^[a-z]{1,8}$/);
const words = fc.string({ unit: 'grapheme', minLength: 1 });
const tools = fc.uniqueArray(name, { maxLength: 3 }).map((names) => names.map(tool));
const system = fc.oneof(fc.constant(undefined), words, fc.array(words.map(text), { maxLength: 3 }));
const message = fc.record({
  role: fc.constantFrom('user', 'assistant'),
  content: fc.oneof(words, fc.array(words.map(text), { minLength: 1, maxLength: 3 })),
});
const content = fc
  .record({ tools, system, messages: fc.array(message, { maxLength: 3 }), cache_ttl: fc.constant('1h' as const) })
  .filter(({ tools, system, messages }) => tools.length + (system?.length ?? 0) + messages.length > 0);
/** What of a request has nothing to do with its prefix. */
const rest = fc.record({
  messages: fc.array(message, { minLength: 1, maxLength: 4 }),
  more: fc.dictionary(fc.constantFrom('model', 'max_tokens', 'metadata', 'stream', 'of_the_future'), fc.jsonValue()),
  space: fc.constantFrom(undefined, 1),
  first: fc.boolean(),
});

describe('an expanded request', () => {
  test('is identical up to the breakpoint for requests with the same tools (and system, if the breakpoint comes after it)', () => {
    tryCases(
      caseCount(1_000),
      content,
      tools,
      system,
      system,
      rest,
      rest,
      (fields, own, oneSystem, otherSystem, one, other) => {
        const prefix = prefixOf(fields as Partial<PrefixFields>);
        const expanded = ([request, system]: readonly [typeof one, typeof oneSystem]) => {
          const parts = { tools: own, ...(system === undefined ? {} : { system }), messages: request.messages };
          const body = request.first ? { ...parts, ...request.more } : { ...request.more, ...parts };
          return upToBreakpoint(expand(bodyOf(body, request.space), prefix));
        };
        // The caller's own tools and system are spliced in as they were written.
        other.space = one.space;
        const last = fields.messages.length > 0 ? oneSystem : otherSystem;
        expect(expanded([one, oneSystem])).toBe(expanded([other, last]));
      },
    );
  });

  test('contains the prefix before the caller’s own parts, and all other fields unchanged', () => {
    tryCases(caseCount(1_000), content, tools, system, rest, (fields, own, ownSystem, { messages, more, space }) => {
      const prefix = prefixOf(fields as Partial<PrefixFields>);
      const asked = {
        ...more,
        prefix: 'x',
        tools: own,
        ...(ownSystem === undefined ? {} : { system: ownSystem }),
        messages,
      };
      const up = expand(bodyOf(asked, space), prefix);
      expect(JSON.parse(up.text)).toEqual(up.json);
      expect(new TextDecoder().decode(up.bytes)).toBe(up.text);
      const blocks = (value: typeof ownSystem) => (typeof value === 'string' ? [text(value)] : (value ?? []));
      const plain = JSON.parse(up.text, function (this: Json, key, value: unknown) {
        return key === 'cache_control' && 'type' in Object(value) ? undefined : value;
      }) as Json;
      const wanted: Json = { ...JSON.parse(JSON.stringify(more)) };
      const put = (key: string, list: readonly unknown[]) => {
        if (list.length > 0) wanted[key] = JSON.parse(JSON.stringify(list));
      };
      put('tools', [...fields.tools, ...own]);
      put('system', [...blocks(fields.system), ...blocks(ownSystem)]);
      const last = fields.messages.at(-1);
      const asBlocks = last && {
        ...last,
        content: typeof last.content === 'string' ? [text(last.content)] : last.content,
      };
      put('messages', [...fields.messages.slice(0, -1), ...(asBlocks ? [asBlocks] : []), ...messages]);
      expect(plain).toEqual(wanted);
    });
  });

  test('keeps the bytes of the caller’s own parts', () => {
    const prefix = prefixOf({ system: 'Be kind.', tools: [tool('a')] });
    const body =
      ' { "max_tokens" : 1e1,\n "tools":[ {"name":"b" , "n":1.0} ], "system" : "caf\\u00e9", "x":[1.50],"messages":[ {"role":"user","content":"a\\u0062"} ] }';
    const { text } = expand({ text: body, bytes: new TextEncoder().encode(body), json: JSON.parse(body) }, prefix);
    expect(text).toContain('{"name":"b" , "n":1.0}');
    expect(text).toContain('{"type":"text","text":"caf\\u00e9"}');
    expect(text).toContain('"messages":[{"role":"user","content":"a\\u0062"}]');
    expect(text).toContain('"max_tokens" : 1e1');
    expect(text).toContain('"x":[1.50]');
  });

  test('uses the prefix’s defaults only for fields that the caller omits', () => {
    const prefix = prefixOf({ system: 'x' });
    const none = expand(bodyOf({ messages: HI.messages }), prefix, { model: 'p', max_tokens: 7, stream: true });
    expect(JSON.parse(none.text)).toMatchObject({ model: 'p', max_tokens: 7, stream: true });
    expect(none.json).toMatchObject({ model: 'p', max_tokens: 7, stream: true });
    const own = expand(bodyOf({ ...HI, stream: false }), prefix, { model: 'p', max_tokens: 7, stream: true });
    expect(JSON.parse(own.text)).toMatchObject({ model: 'm', max_tokens: 1, stream: false });
  });
});

describe('breakpoints', () => {
  const controls = (body: JsonBody) => body.text.split('"cache_control":{"type"').length - 1;
  const full = prefixOf({ tools: [tool('a')], system: 'S', messages: HI.messages });

  test('are set at the end of the tools, at the end of the prefix, and at the end of the history', () => {
    const up = JSON.parse(expand(bodyOf(HI), full).text) as Record<string, Json[]>;
    expect(up.tools?.at(-1)).toHaveProperty('cache_control', { type: 'ephemeral' });
    expect(up.system?.at(-1)).not.toHaveProperty('cache_control');
    expect(up.messages?.[0]).toEqual({
      role: 'user',
      content: [{ type: 'text', text: 'Hi', cache_control: { type: 'ephemeral' } }],
    });
    expect(up.messages?.[1]).toEqual({ role: 'user', content: 'Hi' });
    expect(up.cache_control).toEqual({ type: 'ephemeral' });
    const alone = expand(bodyOf(HI), prefixOf({ tools: [tool('a')], cache_ttl: '1h' }));
    expect(controls(alone)).toBe(2);
    expect(alone.text).toContain('"cache_control":{"type":"ephemeral","ttl":"1h"}');
  });

  test('are not set on deferred tools or thinking blocks, which the API does not cache', () => {
    const later = prefixOf({ tools: [tool('a'), { ...tool('b'), defer_loading: true }] });
    const { tools } = JSON.parse(expand(bodyOf(HI), later).text) as { tools: Json[] };
    expect(tools.map((one) => 'cache_control' in one)).toEqual([true, false]);
    const thought = { type: 'thinking', thinking: 'Hm', signature: 's' };
    const messages = [...HI.messages, { role: 'assistant', content: [text('Yes'), thought] }];
    const up = JSON.parse(expand(bodyOf(HI), prefixOf({ messages })).text) as { messages: { content: Json[] }[] };
    expect(up.messages[1]?.content.map((one) => 'cache_control' in one)).toEqual([true, false]);
    expect(faultOf(() => prefixOf({ messages: [{ role: 'assistant', content: [thought] }] }))).toMatch(/^messages: /);
  });

  test('set by the caller are kept, and automatic caching is not added', () => {
    const own = [{ ...text('mine'), cache_control: { type: 'ephemeral' } }];
    const up = expand(bodyOf({ ...HI, system: own }), full);
    expect(controls(up)).toBe(3);
    expect(up.json).not.toHaveProperty('cache_control');
    const automatic = expand(bodyOf({ ...HI, cache_control: { type: 'ephemeral', ttl: '5m' } }), full);
    expect(automatic.json.cache_control).toEqual({ type: 'ephemeral', ttl: '5m' });
    // `null` is how typed clients write what is absent.
    expect(expand(bodyOf({ ...HI, cache_control: null }), full).json.cache_control).toEqual({ type: 'ephemeral' });
  });

  test('leave the caller all four of the API, wherever the caller sets them, not counting a schema’s property', () => {
    const marked = (value: string) => ({ ...text(value), cache_control: { type: 'ephemeral' } });
    const result = { type: 'tool_result', tool_use_id: 't', content: [marked('r')] };
    const document = { type: 'document', source: { type: 'content', content: [marked('d')] } };
    for (const own of [
      { system: [marked('a'), marked('b'), marked('c')] },
      { messages: [{ role: 'user', content: [result, document, marked('z')] }] },
      { tools: [{ ...tool('b'), cache_control: { type: 'ephemeral' } }], system: [marked('a'), marked('b')] },
      { system: [marked('a'), marked('b')], cache_control: { type: 'ephemeral' } },
    ]) {
      const up = expand(bodyOf({ ...HI, ...own }), full);
      expect(controls(up)).toBe(4);
      // The end of the prefix keeps its breakpoint, because it covers more than the end of the tools.
      expect(JSON.parse(up.text)).toMatchObject({
        messages: [{ content: [{ cache_control: { type: 'ephemeral' } }] }, {}],
      });
    }
    const four = expand(bodyOf({ ...HI, system: ['a', 'b', 'c', 'd'].map(marked) }), full);
    expect(controls(four)).toBe(4);
    expect(four.text.startsWith('{"tools":[{"name":"a","input_schema"')).toBe(true);
    expect(controls(expand(bodyOf({ ...HI, system: [marked('a'), marked('b')] }), full))).toBe(4);
    expect(expand(bodyOf({ ...HI, tools: [tool('b')] }), full).json.cache_control).toEqual({ type: 'ephemeral' });
  });

  test('take the lifetime that the caller’s breakpoints require', () => {
    const hour = { type: 'ephemeral', ttl: '1h' };
    const long = prefixOf({ tools: [tool('a')], system: 'S', cache_ttl: '1h' });
    const ttlsOf = (body: JsonBody) =>
      [...body.text.matchAll(/"cache_control":\{"type":"ephemeral"(,"ttl":"1h")?\}/g)].map(([, ttl]) =>
        ttl ? '1h' : '5m',
      );
    expect(ttlsOf(expand(bodyOf({ ...HI, cache_control: hour }), full))).toEqual(['1h', '1h', '1h']);
    const early = [{ ...tool('b'), cache_control: { type: 'ephemeral' } }];
    expect(ttlsOf(expand(bodyOf({ ...HI, tools: early }), long))).toEqual(['1h', '5m', '5m']);
    expect(controls(expand(bodyOf({ ...HI, cache_control: hour }), long))).toBe(3);
  });
});

describe('a stored prefix', () => {
  test('has one canonical text for any order, spacing and escaping', () => {
    const one = createCanonicalPrefixText({ system: [text('é')], tools: [tool('a')], cache_ttl: '5m', model: 'm' });
    const other = createCanonicalPrefixText(
      JSON.parse(
        '{"model":"m", "tools":[{"name":"a","input_schema":{"type":"object","properties":{"cache_control":{}}}}],"cache_ttl":"5m","system":[{"type":"text","text":"\\u00e9"}]}',
      ),
    );
    expect(one).toBe(other);
    expect(JSON.parse(one) as StoredPrefixContent).toEqual({
      tools: [tool('a')],
      system: [text('é')],
      messages: [],
      model: 'm',
      cache_ttl: '5m',
    });
  });

  test('must not be empty or contain breakpoints', () => {
    for (const empty of [{}, { system: '' }, { tools: [], system: [], messages: [] }]) {
      expect(faultOf(() => prefixOf(empty))).toMatch(/requires non-empty tools, system or messages/);
    }
    const control = { cache_control: { type: 'ephemeral' } };
    const nested = { type: 'tool_result', tool_use_id: 't', content: [{ ...text('r'), ...control }] };
    for (const [fields, path] of [
      [{ tools: [{ ...tool('a'), ...control }] }, 'tools.0'],
      [{ system: [text('a'), { ...text('b'), ...control }] }, 'system.1'],
      [{ messages: [{ role: 'user', content: [nested] }] }, 'messages.0.content.0.content.0'],
    ] as const) {
      const message = faultOf(() => prefixOf(fields as unknown as Partial<PrefixFields>));
      expect(message.startsWith(`${path}.cache_control: `), message).toBe(true);
    }
  });

  test('rejects a request whose tools or system cannot be combined with it', () => {
    const prefix = prefixOf({ system: 'x' });
    expect(faultOf(() => expand(bodyOf({ ...HI, tools: {} }), prefix))).toBe('tools: Input should be a valid list');
    expect(faultOf(() => expand(bodyOf({ ...HI, system: 1 }), prefix))).toBe('system: Input should be a valid list');
    expect(expand(bodyOf({ ...HI, tools: null, system: null }), prefix).json).not.toHaveProperty('tools');
  });
});

test('keeps a long prefix only as bytes, and sends it like a short one', () => {
  const system = `${'Say \\"🌊\\" '.repeat(50_000)}.`;
  const fields = { system, tools: [tool('a')], messages: [{ role: 'user', content: 'x'.repeat(3_000) }] };
  const prefix = prefixOf(fields);
  const up = expandedOf(bodyOf({ ...HI, tools: [tool('b')] }), prefix);
  expect(up.text.length).toBeLessThan(2_000);
  expect(prefix.memorySize).toBeLessThan(
    new TextEncoder().encode(createCanonicalPrefixText({ cache_ttl: '5m', ...fields })).length * 1.1,
  );
  expect(JSON.parse(new TextDecoder().decode(up.bytes))).toEqual({
    ...HI,
    tools: [{ ...tool('a'), cache_control: { type: 'ephemeral' } }, tool('b')],
    system: [text(system)],
    messages: [
      { role: 'user', content: [{ ...text('x'.repeat(3_000)), cache_control: { type: 'ephemeral' } }] },
      ...HI.messages,
    ],
    cache_control: { type: 'ephemeral' },
  });
});
