import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HiddenOutputClock } from '#edge/claude/usage/hidden-output.ts';
import { measureVisibleOutput, WritingSpeeds } from '#edge/claude/usage/writing-speeds.ts';
import { tryCases } from '#test/support/property-cases.ts';

const KEY = 'a model';
const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2027, 0, 1, 12);

/** @returns speeds that have learned of so many answers, from so many accounts. */
function taught(answers: number, accounts: number, perSecond = 80, now = NOON): WritingSpeeds {
  const speeds = new WritingSpeeds();
  for (let index = 0; index < answers; index += 1) {
    speeds.recordVisibleOutput(KEY, `account-${index % accounts}`, { tokens: perSecond * 10, ms: 10_000 }, now);
  }
  return speeds;
}

test('returns twice the speed of fifty responses from three accounts, and undefined for fewer', () => {
  expect(taught(50, 3).getMaxTokensPerSecond(KEY, NOON)).toBe(160);
  expect(taught(49, 3).getMaxTokensPerSecond(KEY, NOON)).toBeUndefined();
  expect(taught(500, 2).getMaxTokensPerSecond(KEY, NOON)).toBeUndefined();
  expect(taught(50, 3).getMaxTokensPerSecond('another', NOON)).toBeUndefined();
});

test('ignores a response with fewer than 300 tokens', () => {
  const speeds = taught(49, 3);
  speeds.recordVisibleOutput(KEY, 'account-0', { tokens: 299, ms: 3_000 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBeUndefined();
  speeds.recordVisibleOutput(KEY, 'account-0', { tokens: 300, ms: 3_750 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBe(160);
});

test('returns at least 100 tokens per second', () => {
  expect(taught(50, 3, 30).getMaxTokensPerSecond(KEY, NOON)).toBe(100);
});

test('a faster response raises the maximum immediately, and an instant response removes it', () => {
  const speeds = taught(50, 3);
  speeds.recordVisibleOutput(KEY, 'account-9', { tokens: 1_000, ms: 5_000 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBe(400);
  speeds.recordVisibleOutput(KEY, 'account-9', { tokens: 1_000, ms: 0 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBe(Number.POSITIVE_INFINITY);
});

test('forgets responses that are six hours old', () => {
  const speeds = taught(50, 3);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON + 5 * HOUR_MS)).toBe(160);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON + 6 * HOUR_MS)).toBeUndefined();
});

test('keeps a bounded number of models, and drops the least recently used models first', () => {
  const speeds = new WritingSpeeds();
  for (let index = 0; index < 20_000; index += 1) {
    const now = NOON + index * 60_000;
    speeds.recordVisibleOutput(`model-${index % 400}`, `account-${index}`, { tokens: 1_000, ms: 10_000 }, now);
  }
  for (let index = 0; index < 60; index += 1)
    speeds.recordVisibleOutput(KEY, `a${index}`, { tokens: 800, ms: 10_000 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBe(160);
  for (let index = 0; index < 200; index += 1)
    speeds.recordVisibleOutput(`m${index}`, 'a', { tokens: 800, ms: 10_000 }, NOON);
  expect(speeds.getMaxTokensPerSecond(KEY, NOON)).toBeUndefined();
});

/** What the API sends, and how much later it is read, at the most. */
const deltas = fc.array(
  fc.record({ tokens: fc.integer({ min: 1, max: 40 }), late: fc.integer({ min: 0, max: 400 }) }),
  {
    minLength: 2,
    maxLength: 80,
  },
);

test('never measures a response as slower than it was written, however late it is read', () => {
  tryCases(100, deltas, fc.integer({ min: 20, max: 400 }), (parts, perSecond) => {
    const clock = new HiddenOutputClock(0);
    clock.recordBlockStart('text', 500);
    let at = 500;
    let readAt = 500;
    let output = 0;
    for (const { tokens, late } of parts) {
      at += (tokens / perSecond) * 1_000;
      output += tokens;
      readAt = Math.max(readAt, at + late);
      clock.recordVisibleOutput(readAt, at);
    }
    const written = measureVisibleOutput({ output_tokens: output }, clock);
    expect(((written?.tokens ?? 0) * 1_000) / (written?.ms ?? Number.NaN)).toBeGreaterThanOrEqual(perSecond * 0.999);
  });
});

/** An answer with these blocks, each with two deltas a second apart. */
function clockOf(...types: string[]): HiddenOutputClock {
  const clock = new HiddenOutputClock(0);
  let at = 1_000;
  for (const type of types) {
    clock.recordBlockStart(type, at);
    clock.recordVisibleOutput(at);
    at += 1_000;
    clock.recordVisibleOutput(at);
    clock.recordBlockEnd(at);
  }
  return clock;
}

test.each([
  [['text'], {}, { tokens: 900, ms: 1_000 }],
  [['text', 'tool_use'], {}, { tokens: 900, ms: 2_000 }],
  // What was thought is not measured: it may be shown in part, or not at all.
  [['thinking', 'text'], { output_tokens_details: { thinking_tokens: 500 } }, { tokens: 400, ms: 1_000 }],
  [['thinking', 'text'], {}, undefined],
  // The input of a call may come in one piece when it is complete.
  [['tool_use'], {}, undefined],
  // Steps of which nobody says how long they took.
  [['text', 'server_tool_use', 'web_search_tool_result', 'text'], {}, undefined],
  [['mcp_tool_use', 'mcp_tool_result', 'text'], {}, undefined],
  [['text', 'advisor'], {}, undefined],
  [['text', 'fallback', 'text'], {}, undefined],
  [['compaction', 'text'], {}, undefined],
  [[], {}, undefined],
])('measures the visible output of the blocks %j', (types, details, expected) => {
  expect(measureVisibleOutput({ output_tokens: 900, ...details }, clockOf(...types))).toEqual(expected);
});
