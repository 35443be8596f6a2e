import { expect, test } from 'vitest';
import { RecentAnswerLengths } from '#edge/money/budget/answer-lengths.ts';

const MODEL = 'claude-opus-5-5';
const ended = (tokens: number, model = MODEL) => ({ model, tokens });

test('estimates one and a half times the third longest of a model’s last 64 responses', () => {
  const lengths = new RecentAnswerLengths(() => []);
  // Where little is known, the tokens for a text count.
  expect(lengths.estimateTypicalTokens(MODEL, 51)).toBe(77);
  lengths.recordAnswer(ended(9_000));
  lengths.recordAnswer(ended(8_000));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(75);
  lengths.recordAnswer(ended(100));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(150);
  lengths.recordAnswer(ended(301));
  lengths.recordAnswer(ended(7_000, 'claude-haiku-5-5'));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(452);
  for (let more = 0; more < 62; more += 1) lengths.recordAnswer(ended(200));
  // Of the longest ones only the 8,000 and the 301 are among the last 64.
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(300);
  lengths.recordAnswer(ended(400));
  lengths.recordAnswer(ended(500));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(300);
  lengths.recordAnswer(ended(600));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(600);
});

test('reads earlier responses once, and counts none twice', () => {
  const rows = [ended(300), ended(200), ended(100)];
  let reads = 0;
  const lengths = new RecentAnswerLengths(() => {
    reads += 1;
    return rows;
  });
  rows.push(ended(400));
  lengths.recordAnswer(ended(400));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(300);
  lengths.recordAnswer(ended(500));
  expect(lengths.estimateTypicalTokens(MODEL, 50)).toBe(450);
  expect(reads).toBe(1);
});

test('estimates the needed tokens from at least sixteen responses, but the tokens worth trying from fewer', () => {
  const lengths = new RecentAnswerLengths(() => []);
  expect([lengths.estimateTokensForText(MODEL, 4_096), lengths.estimateTokensWorthTrying(MODEL, 4_096)]).toEqual([
    4_096, 1_024,
  ]);
  expect(lengths.estimateTokensWorthTrying(MODEL, 256)).toBe(256);
  lengths.recordAnswer(ended(900));
  expect(lengths.estimateTokensWorthTrying(MODEL, 4_096)).toBe(1_350);
  for (let more = 0; more < 14; more += 1) lengths.recordAnswer(ended(400));
  expect(lengths.estimateTokensForText(MODEL, 4_096)).toBe(4_096);
  lengths.recordAnswer(ended(400));
  expect(lengths.estimateTokensForText(MODEL, 4_096)).toBe(600);
  expect(lengths.estimateTokensForText(MODEL, 256)).toBe(256);
});
