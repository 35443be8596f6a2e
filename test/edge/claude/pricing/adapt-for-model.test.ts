import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MODELS, ModelTable } from '#edge/claude/models/models.ts';
import { adaptRequestForModel } from '#edge/claude/pricing/adapt-for-model.ts';
import { computeMinTokensForText } from '#edge/claude/pricing/minimal-thinking.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const table = new ModelTable();
const HAIKU_4_5 = table.findRow('claude-haiku-4-5');
const ASK: JsonObject = { model: 'asked', max_tokens: 32_000, messages: [{ role: 'user', content: 'Hi' }] };

const KINDS = {
  adaptive: { type: 'adaptive', display: 'summarized' },
  enabled: { type: 'enabled', budget_tokens: 2_000, display: 'omitted' },
  disabled: { type: 'disabled' },
  between_tools: { type: 'between_tools' },
};

/** What may be refused, each in a request to which nothing else can be said. */
const REFUSABLE: Record<string, JsonObject> = {
  tool: { tool_choice: { type: 'tool', name: 'a' } },
  any: { tool_choice: { type: 'any' } },
  prefill: { messages: [{ role: 'assistant', content: 'So' }] },
  temperature: { temperature: 0.5 },
  top_p: { top_p: 0.98 },
  top_p_1: { top_p: 1 },
  top_k: { top_k: 5 },
  fast: { speed: 'fast' },
  // On the way from a model that does not think.
  room: { max_tokens: 300 },
  // A model that thinks only with a budget.
  budget: { max_tokens: 1_279, thinking: KINDS.adaptive },
};
const FORCED = 'tool any';
const SAMPLED = 'temperature top_p top_k';

const MOST = 'adaptive adaptive disabled disabled';
const ALWAYS = 'adaptive adaptive adaptive adaptive';
const BETWEEN = 'adaptive adaptive between_tools between_tools';
const AS_SAID = 'adaptive enabled disabled disabled';
const BY_BUDGET = 'enabled enabled disabled disabled';

// What becomes of adaptive, enabled, disabled and between_tools; of the effort xhigh; of max where thinking is off; what is refused.
const TAKEN = [
  ['claude-fable-5-2', ALWAYS, 'xhigh', 'max', `${FORCED} prefill ${SAMPLED} top_p_1 room`],
  ['claude-mythos-5-2', ALWAYS, 'xhigh', 'max', `${FORCED} prefill ${SAMPLED} top_p_1 room`],
  ['claude-fable-5-1', ALWAYS, 'xhigh', 'max', `${FORCED} prefill ${SAMPLED} top_p_1 fast room`],
  ['claude-mythos-5-1', ALWAYS, 'xhigh', 'max', `${FORCED} prefill ${SAMPLED} top_p_1 fast room`],
  ['claude-fable-5', ALWAYS, 'xhigh', 'max', `prefill ${SAMPLED} fast room`],
  ['claude-mythos-5', ALWAYS, 'xhigh', 'max', `prefill ${SAMPLED} fast room`],
  ['claude-opus-5-5', ALWAYS, 'xhigh', 'max', `${FORCED} prefill ${SAMPLED} room`],
  ['claude-opus-5', MOST, 'xhigh', 'high', `prefill ${SAMPLED} room`],
  ['claude-opus-4-8', MOST, 'xhigh', 'max', `prefill ${SAMPLED}`],
  ['claude-opus-4-7', MOST, 'xhigh', 'max', `prefill ${SAMPLED} fast`],
  ['claude-opus-4-6', AS_SAID, 'high', 'max', 'prefill'],
  ['claude-opus-4-5', BY_BUDGET, 'high', 'high', 'fast budget'],
  ['claude-sonnet-5-5', BETWEEN, 'xhigh', 'high', `${FORCED} prefill ${SAMPLED} fast room`],
  ['claude-sonnet-5', MOST, 'xhigh', 'max', `prefill ${SAMPLED} fast room`],
  ['claude-sonnet-4-6', AS_SAID, 'high', 'max', 'prefill fast'],
  ['claude-sonnet-4-5', BY_BUDGET, undefined, undefined, 'fast budget'],
  ['claude-haiku-5-5', MOST, 'xhigh', 'high', `prefill ${SAMPLED} top_p_1 fast room`],
  ['claude-haiku-4-5', BY_BUDGET, undefined, undefined, 'fast budget'],
] as const;

test('the cases cover every model of the table', () => {
  expect(TAKEN.map(([name]) => table.findRow(name)?.id).toSorted()).toEqual(MODELS.map(({ id }) => id).toSorted());
});

const DAY = Date.parse('2026-11-26T12:00:00Z');

describe.each(TAKEN)('%s', (name, kinds, effort, effortOff, refused) => {
  const row = table.findRow(name);
  const taken = (more: JsonObject) => ({
    ...ASK,
    ...more,
    ...adaptRequestForModel(row, { ...ASK, ...more }, HAIKU_4_5, false, DAY).changes,
  });
  const effortOf = ({ output_config }: JsonObject) => (output_config as JsonObject).effort;

  test('gets the nearest thinking type that it supports, with the same display', () => {
    const near = kinds.split(' ');
    for (const [at, [type, thinking]] of Object.entries(KINDS).entries()) {
      const { thinking: changed, ...others } = taken({ thinking });
      expect(others).toEqual(ASK);
      if (type === near[at]) expect(changed).toBe(thinking);
      else
        expect(changed).toEqual({
          type: near[at],
          ...(near[at] === 'enabled' && { budget_tokens: 4_096 }),
          ...('display' in thinking && { display: thinking.display }),
        });
    }
  });

  test('gets the highest supported effort up to the requested effort', () => {
    expect(effortOf(taken({ output_config: { effort: 'xhigh' } }))).toBe(effort);
    const off = { thinking: KINDS.disabled, output_config: { effort: 'max', format: { type: 'json_schema' } } };
    expect(effortOf(taken(off))).toBe(effortOff);
    expect(taken(off).output_config).toMatchObject({ format: { type: 'json_schema' } });
  });

  test.each(Object.keys(REFUSABLE))('accepts or rejects as listed: %s', (what) => {
    const body = { ...ASK, ...REFUSABLE[what] };
    const isRefused = refused.split(' ').includes(what);
    expect(adaptRequestForModel(row, body, HAIKU_4_5, false, DAY).refused !== undefined).toBe(isRefused);
  });

  test('gets a request with default values unchanged', () => {
    const usual = { ...ASK, tool_choice: { type: 'auto' }, temperature: 1, speed: 'standard', tools: [] };
    expect(adaptRequestForModel(row, usual, HAIKU_4_5)).toEqual({ changes: {} });
  });
});

test('a model without known features gets the request unchanged', () => {
  const bare = new ModelTable({ bare: { prices: { input: 1 } } }).findRow('bare');
  const much = Object.assign({}, ASK, KINDS.enabled, ...Object.values(REFUSABLE));
  for (const row of [undefined, bare]) expect(adaptRequestForModel(row, much)).toEqual({ changes: {} });
});

test('every model accepts results of server tools', () => {
  const found = { role: 'assistant', content: [{ type: 'web_search_tool_result', tool_use_id: 'a', content: [] }] };
  for (const row of MODELS) expect(adaptRequestForModel(row, { ...ASK, messages: [found] }).refused).toBeUndefined();
});

test('fast mode is rejected from the day on which the API ends it', () => {
  const row = table.findRow('claude-opus-4-8');
  const refusedOn = (day: string) =>
    adaptRequestForModel(row, { ...ASK, speed: 'fast' }, row, false, Date.parse(day)).refused;
  expect(refusedOn('2026-11-29T23:59:59Z')).toBeUndefined();
  expect(refusedOn('2026-11-30T00:00:00Z')).toEqual({ member: 'speed', reason: 'standard' });
});

test('does not require more max_tokens for a request that already thinks', () => {
  const { refused } = adaptRequestForModel(
    table.findRow('claude-opus-5-5'),
    { ...ASK, max_tokens: 64 },
    table.findRow('claude-haiku-5-5'),
  );
  expect(refused).toBeUndefined();
});

test('rejects structured output for a model that does not support it', () => {
  const bare = new ModelTable({ 'claude-opus-5': { structured_output: false } }).findRow('claude-opus-5');
  const member = { member: 'output_config.format', reason: 'none' };
  expect(adaptRequestForModel(bare, { ...ASK, output_config: { format: {} } }).refused).toEqual(member);
  expect(adaptRequestForModel(bare, { ...ASK, output_format: {} }).refused).toEqual(member);
});

const thinking = fc.oneof(
  fc.record({ type: fc.constantFrom('adaptive', 'enabled', 'disabled', 'between_tools', 'of tomorrow') }),
  fc.record({ type: fc.constant('adaptive'), display: fc.constantFrom('summarized', 'omitted', 'updates', null) }),
  fc.record({ type: fc.constant('enabled'), budget_tokens: fc.integer({ min: 1_024, max: 9_000 }) }),
);
const effort = fc.constantFrom('low', 'medium', 'high', 'xhigh', 'max');
const bodies = fc.record(
  {
    max_tokens: fc.integer({ min: 1, max: 32_000 }),
    thinking,
    output_config: fc.record({ effort, format: fc.constant({ type: 'json_schema' }) }, { requiredKeys: [] }),
    tool_choice: fc.record({ type: fc.constantFrom('auto', 'none', 'any', 'tool') }),
    messages: fc.constantFrom(ASK.messages, REFUSABLE.prefill?.messages),
    temperature: fc.constantFrom(0, 0.7, 1, null),
    top_p: fc.constantFrom(0.5, 0.95, 0.99, 1),
    top_k: fc.constantFrom(5, null),
    speed: fc.constantFrom('fast', 'standard'),
  },
  { requiredKeys: ['max_tokens', 'messages'] },
);
const rows = fc.constantFrom(...MODELS);

test('changes only thinking and effort, to values that the model supports', () => {
  tryCases(caseCount(3_000), rows, rows, bodies, (row, from, body: JsonObject) => {
    const { changes, refused } = adaptRequestForModel(row, body, from);
    const sent: JsonObject = { ...body, ...changes };
    expect(Object.keys(changes).filter((name) => name !== 'thinking' && name !== 'output_config')).toEqual([]);
    const { effort: _, ...config } = (body.output_config ?? {}) as JsonObject;
    expect({ ...(sent.output_config as JsonObject), effort: undefined }).toEqual({ ...config, effort: undefined });
    if (refused) return undefined;
    expect(adaptRequestForModel(row, sent, row, true)).toEqual({ changes: {} });
    const { type, budget_tokens = 0 } = (sent.thinking ?? {}) as { type?: string; budget_tokens?: number };
    if (type !== 'of tomorrow') expect([undefined, ...(row.thinking?.types ?? [])]).toContain(type);
    const level = (sent.output_config as JsonObject | undefined)?.effort;
    expect([undefined, ...row.efforts]).toContain(level);
    // Thinking that the caller asked for with too few tokens is the caller's own.
    if (changes.thinking && type === 'enabled') expect(computeMinTokensForText(row, sent)).toBe(budget_tokens + 256);
    if (changes.thinking && type === 'enabled') expect(sent.max_tokens).toBeGreaterThanOrEqual(budget_tokens + 256);
    return undefined;
  });
});
