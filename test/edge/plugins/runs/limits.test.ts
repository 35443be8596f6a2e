import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseJsonRememberingText } from '#edge/kit/json/remembered-text.ts';
import { doesCallNeedApproval } from '#edge/plugins/runs/approvals/pending-calls.ts';
import { RunBudget } from '#edge/plugins/runs/limits.ts';
import type { ToolRunConfig } from '#edge/registry/tools/tool-kind.ts';
import { tryCases } from '#test/support/property-cases.ts';

const NANO = 1e9;
const LIMITS = { max_turns: 1_000, max_usd: 1, max_seconds: 60, max_tool_calls: 1_000, parallel_tools: 4 };
const spent = fc.record({ steps: fc.nat(20), calls: fc.nat(20), cost: fc.nat(NANO / 4) });
const carried = fc.tuple(spent, fc.nat(59_000)).map(([before, ms]) => ({ ...before, ms }));
const BEGAN = Date.UTC(2026, 10, 20, 12);

test('each limit of a run includes usage before a crash and usage of the runs that it continues', () => {
  tryCases(100, fc.option(spent, { nil: undefined }), fc.option(carried, { nil: undefined }), (own, before) => {
    const used = { steps: 0, calls: 0, cost: 0 };
    for (const one of [own, before]) {
      if (one) for (const kind of ['steps', 'calls', 'cost'] as const) used[kind] += one[kind];
    }
    const meterOf = (limits: object) =>
      new RunBudget({ ...LIMITS, ...limits }, BEGAN, { isStreaming: true, spent: own, carried: before });
    expect(meterOf({}).maxStepCost).toBe(NANO - used.cost);
    expect(meterOf({}).spentNanodollars).toBe(own?.cost ?? 0);
    expect(meterOf({}).computeRemainingMs(BEGAN)).toBe(60_000 - (before?.ms ?? 0));
    expect(meterOf({ max_turns: used.steps + 1 }).findPauseReason(BEGAN)).toBeUndefined();
    expect(meterOf({ max_turns: used.steps }).findPauseReason(BEGAN)).toBe('max_turns');
    const counting = meterOf({ max_tool_calls: used.calls + 1 });
    expect([1, 2].map((input) => counting.countToolCallIfAllowed({ name: 'x', input }))).toEqual([true, false]);
    expect(counting.findPauseReason(BEGAN)).toBe('max_tool_calls');
    const paying = meterOf({});
    paying.countStep(1_000, true);
    paying.addSubagentCost(500);
    expect(paying.maxStepCost).toBe(NANO - used.cost - 1_500);
  });
});

test('the third identical call in a row pauses a run, and a different call does not', () => {
  const meter = new RunBudget(LIMITS, BEGAN, { isStreaming: true });
  for (const input of [1, 1, 2, 2]) meter.countToolCallIfAllowed({ name: 'x', input });
  expect(meter.findPauseReason(BEGAN)).toBeUndefined();
  meter.countToolCallIfAllowed({ name: 'x', input: 2 });
  expect(meter.findPauseReason(BEGAN)).toBe('repeated_call');
});

test('a non-streaming run without max_seconds pauses after nine minutes', () => {
  const { max_seconds: _, ...limits } = LIMITS;
  const meter = new RunBudget(limits, BEGAN, { isStreaming: false });
  expect([meter.findPauseReason(BEGAN + 539_999), meter.findPauseReason(BEGAN + 540_000)]).toEqual([
    undefined,
    'max_seconds',
  ]);
  expect(new RunBudget(limits, BEGAN, { isStreaming: true }).findPauseReason(BEGAN + 540_000)).toBeUndefined();
});

test('a call needs an approval above the threshold, or when its field is not a number', () => {
  const over: ToolRunConfig = { worker: true, approval: { over: { field: 'amount', above: 100 } } } as ToolRunConfig;
  const inputs = [{ amount: 100 }, { amount: 100.01 }, { amount: '5' }, {}, null, Object.create({ amount: 1 })];
  expect(inputs.map((input) => doesCallNeedApproval(over, input))).toEqual([false, true, true, true, true, true]);
  expect(doesCallNeedApproval({ worker: true } as ToolRunConfig, { amount: 1_000 })).toBe(false);
  expect(doesCallNeedApproval(undefined, {})).toBe(false);
});

test.each([
  ...['{"amount":1}', '{"amount":1.0}', '{"amount":1E+2}', '{"amount":-0}', '{"amount":0.10}', '{"amount":1e-7}'].map(
    (input) => [input, false] as const,
  ),
  ...['{"amount":0.00000012}', '{ "note": ["amount", {"amount": 1}], "amount": 99.99 }'].map(
    (input) => [input, false] as const,
  ),
  // Another reader may read another of two, or has more digits.
  ...['{"amount":5000,"amount":1}', '{"amount":1,"\\u0061mount":1}', '{"amount":1,"to":[{"a":1,"a":1}]}'].map(
    (input) => [input, true] as const,
  ),
  ...[
    '{"amount":99.99999999999999999}',
    '{"amount":-9007199254740993}',
    '{"amount":1e-400}',
    '{"amount":-1e400}',
    `{"amount":1.${'0'.repeat(99)}}`,
  ].map((input) => [input, true] as const),
])('an input of %s needs an approval because it is ambiguous: %s', (input, needs) => {
  const over = { worker: true, approval: { over: { field: 'amount', above: 100 } } } as ToolRunConfig;
  expect(doesCallNeedApproval(over, parseJsonRememberingText(input))).toBe(needs);
});

test('calls whose inputs differ only in the last digit are different calls', () => {
  const meter = new RunBudget(LIMITS, BEGAN, { isStreaming: true });
  for (const digit of [1, 2, 3])
    meter.countToolCallIfAllowed({ name: 'x', input: parseJsonRememberingText(`{"id":251229204212100000${digit}}`) });
  expect(meter.findPauseReason(BEGAN)).toBeUndefined();
});
