import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createTestApp } from '#test/support/app.ts';
import { bindings } from '#test/support/conversations.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const models = new ModelTable();
const OWN = 'claude-haiku-5-5';
const OTHER = 'claude-opus-5-5';
const ASK = { model: OWN, max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };

/** Names that are counted as used, of a body as it is read here and as it goes up. */
function used(body: Record<string, unknown>, text = JSON.stringify(body)): string[] {
  const { maximumCost: worstCase } = computeMaximumCost(body, {
    bytes: text.length,
    readings: { text, json: body },
    models,
  });
  return worstCase.models.flat();
}

const word = fc.stringMatching(/^[a-z_]{1,8}$/).filter((name) => !/^models?$|^model_id$|^input_/.test(name));

/** A value somewhere in which, however deep, there is another one. */
const around = (inner: unknown): fc.Arbitrary<Record<string, unknown>> =>
  fc
    .array(fc.tuple(word, fc.boolean()), { minLength: 1, maxLength: 6 })
    .map((path) =>
      path.reduce<Record<string, unknown>>(
        (value, [name, listed]) => ({ [name]: listed ? [1, value] : value }),
        inner as Record<string, unknown>,
      ),
    );

describe('a model is counted as used', () => {
  test('at any depth of a server tool or of an unknown field', () => {
    const type = fc.constantFrom('advisor_20260301', 'agent_20270101', 'bash_20250124', 'mcp_toolset', 'web_search_x');
    const naming = fc.constantFrom<Record<string, unknown>>(
      { model: OTHER },
      { models: [OWN, OTHER] },
      { model_id: OTHER },
    );
    tryCases(
      100,
      type,
      naming.chain((one) => fc.tuple(fc.constant(one), around(one))),
      word,
      (kind, [named, deep], name) => {
        for (const more of [named, deep]) {
          expect(used({ ...ASK, tools: [{ type: kind, name: 'x', ...more }] })).toContain(OTHER);
          const addition = { type: 'tool_addition', tool: { type: kind, ...more } };
          expect(used({ ...ASK, messages: [{ role: 'user', content: [addition] }] })).toContain(OTHER);
          expect(used({ ...ASK, [`${name}_new`]: more })).toContain(OTHER);
          expect(used({ ...ASK, fallbacks: [{ model: OWN, ...deep }] })).toContain(OTHER);
        }
      },
    );
  });

  test('in any entry of fallbacks, where an invalid entry counts as the default model', () => {
    expect(used({ ...ASK, fallbacks: [OTHER] })).toContain(OTHER);
    expect(used({ ...ASK, fallbacks: { model: OTHER } })).toEqual(expect.arrayContaining([OTHER, 'default']));
    for (const entry of [null, 7, true, [], [{ model: OWN }], {}, { tier: 'best' }, { model: 7 }]) {
      expect(used({ ...ASK, fallbacks: [{ model: OWN }, entry] }), JSON.stringify(entry)).toContain('default');
    }
    const many = Array.from({ length: 1_001 }, () => ({ model: OWN }));
    expect(used({ ...ASK, fallbacks: [...many, { model: OTHER }] })).toContain('default');
    expect(used({ ...ASK, fallbacks: [{ model: OWN }] })).not.toContain('default');
  });

  test('if a repeated key hides it, at any depth and in any spelling', () => {
    const spelling = fc.constantFrom('"model"', '"m\\u006fdel"', '"\\u006d\\u006f\\u0064\\u0065\\u006c"');
    const space = fc.constantFrom('', ' ', '\n\t');
    tryCases(
      100,
      fc.array(fc.tuple(word, fc.boolean()), { maxLength: 5 }),
      spelling,
      space,
      fc.boolean(),
      (path, key, gap, first) => {
        const [early, late] = first ? [OTHER, OWN] : [OWN, OTHER];
        let inner = `{${key}${gap}:${gap}"${early}"${gap},"model":"${late}"}`;
        for (const [name, listed] of path) inner = `{"${name}"${gap}:${listed ? `[${inner},"\\"model\\":"]` : inner}}`;
        const text = `{"model":"${OWN}","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"x","x":${inner}}]}]}`;
        expect(used(JSON.parse(text), text)).toEqual(expect.arrayContaining([OTHER, 'default']));
      },
    );
    // What hides is not the model but what it stands in.
    for (const tool of [
      '{"type":"advisor_x","name":"a","type":"custom"}',
      '{"name":"a","type":"custom","type":null}',
    ]) {
      const text = `{"model":"${OWN}","max_tokens":1,"messages":[],"tools":[${tool}]}`;
      expect(used(JSON.parse(text), text)).toContain('default');
    }
  });

  test('but not if it only occurs in text, schemas, tool inputs or metadata', () => {
    const schema = { type: 'object', properties: { model: { type: 'string' }, models: { enum: [OTHER] } } };
    const body = {
      ...ASK,
      messages: [
        { role: 'user', content: `{"model":"${OTHER}","model":"x"} \\" "model": ` },
        { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'pick', input: { model: OTHER } }] },
      ],
      system: [{ type: 'text', text: `"model": "${OTHER}"` }],
      tools: [{ name: 'pick', description: OTHER, input_schema: schema, input_examples: [{ model: OTHER }] }],
      metadata: { user_id: OTHER, model: OTHER },
      output_config: { format: { type: 'json_schema', schema } },
      stop_sequences: ['"model":'],
      __proto__x: { a: '\\', 'b\\': '"' },
    };
    expect(used(body)).toEqual([OWN]);
  });
});

describe('an account that is limited to a model', () => {
  const rest = '"max_tokens":10,"messages":[{"role":"user","content":"Hi"}]';
  const SNEAKY: Record<string, string> = {
    'a string among the fallbacks': `{"model":"${OWN}",${rest},"fallbacks":["${OTHER}"]}`,
    'null among the fallbacks': `{"model":"${OWN}",${rest},"fallbacks":[null]}`,
    'a tool that nobody knows': `{"model":"${OWN}",${rest},"tools":[{"type":"helper_20270101","name":"x","with":{"model":"${OTHER}"}}]}`,
    'a repeated key in a fallback': `{"model":"${OWN}",${rest},"fallbacks":[{"model":"${OTHER}","model":"${OWN}"}]}`,
    'a repeated key in a tool': `{"model":"${OWN}",${rest},"tools":[{"type":"advisor_20260301","name":"x","model":"${OTHER}","model":"${OWN}"}]}`,
    'a member that nobody knows': `{"model":"${OWN}",${rest},"router":{"model":"${OTHER}"}}`,
  };
  const setUp = async () => {
    await getAccountStub(bindings, {}, 'alice').setLimits({ models: [OWN] });
    const headers = bearerHeader(await createToken('alice'));
    return {
      app: createTestApp(() => Response.json({ type: 'message', model: OWN, usage: {} }), DEPLOYED_VARS),
      headers,
    };
  };

  test.each(Object.entries(SNEAKY))('cannot use another model by %s', async (_, text) => {
    const { app, headers } = await setUp();
    const response = await app.post('/v1/messages', text, headers);
    expect(response.status).toBe(404);
    expect(app.sent).toEqual([]);
  });

  test('can use its model, and repeated keys are forwarded for an account without this limit', async () => {
    const { app, headers } = await setUp();
    const plain = `{"model":"${OWN}",${rest},"tools":[{"name":"x","input_schema":{"properties":{"model":{}}}}]}`;
    expect((await app.post('/v1/messages', plain, headers)).status).toBe(200);
    const repeated = SNEAKY['a repeated key in a fallback'] ?? '';
    expect((await app.post('/v1/messages', repeated, bearerHeader(await createToken('bob')))).status).toBe(200);
    expect(app.sent.map(({ text }) => text)).toEqual([plain, repeated]);
    await app.waitUntilSettled();
  });
});
