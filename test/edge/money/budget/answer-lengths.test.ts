import { expect, test } from 'vitest';
import { AnswerLengths } from '#edge/money/budget/answer-lengths.ts';

const MODEL = 'claude-opus-5-5';
const ended = (tokens: number, model = MODEL) => ({ model, tokens });

test('one and a half times the third longest of the last 64 answers of a model', () => {
  const lengths = new AnswerLengths(() => []);
  // Where little is known, the tokens for a text count.
  expect(lengths.typicalTokens(MODEL, 51)).toBe(77);
  lengths.note(ended(9_000));
  lengths.note(ended(8_000));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(75);
  lengths.note(ended(100));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(150);
  lengths.note(ended(301));
  lengths.note(ended(7_000, 'claude-haiku-5-5'));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(452);
  for (let more = 0; more < 62; more += 1) lengths.note(ended(200));
  // Of the longest ones only the 8,000 and the 301 are among the last 64.
  expect(lengths.typicalTokens(MODEL, 50)).toBe(300);
  lengths.note(ended(400));
  lengths.note(ended(500));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(300);
  lengths.note(ended(600));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(600);
});

test('what ended before is read once, and nothing counts twice', () => {
  const rows = [ended(300), ended(200), ended(100)];
  let reads = 0;
  const lengths = new AnswerLengths(() => {
    reads += 1;
    return rows;
  });
  rows.push(ended(400));
  lengths.note(ended(400));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(300);
  lengths.note(ended(500));
  expect(lengths.typicalTokens(MODEL, 50)).toBe(450);
  expect(reads).toBe(1);
});

test('sixteen known answers say how many tokens the next one needs, fewer what is worth a try', () => {
  const lengths = new AnswerLengths(() => []);
  expect([lengths.enoughForText(MODEL, 4_096), lengths.tokensWorthTrying(MODEL, 4_096)]).toEqual([4_096, 1_024]);
  expect(lengths.tokensWorthTrying(MODEL, 256)).toBe(256);
  lengths.note(ended(900));
  expect(lengths.tokensWorthTrying(MODEL, 4_096)).toBe(1_350);
  for (let more = 0; more < 14; more += 1) lengths.note(ended(400));
  expect(lengths.enoughForText(MODEL, 4_096)).toBe(4_096);
  lengths.note(ended(400));
  expect(lengths.enoughForText(MODEL, 4_096)).toBe(600);
  expect(lengths.enoughForText(MODEL, 256)).toBe(256);
});
