import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { ResponseStatistics } from '#edge/claude/usage/response-statistics.ts';

test('assumes one handover per minute until more is known, and never a rate of zero', () => {
  const answers = new ResponseStatistics();
  expect(answers.getModelHandoversPerSecond('a')).toBe(1 / 60);
  answers.recordHandovers('a', 540, 0);
  expect(answers.getModelHandoversPerSecond('a')).toBe(1 / 600);
  answers.recordHandovers('a', 0, 5);
  expect(answers.getModelHandoversPerSecond('a')).toBe(6 / 600);
  answers.recordHandovers('a', 1e9, 0);
  expect(answers.getModelHandoversPerSecond('a')).toBeGreaterThan(0);
  expect(answers.getModelHandoversPerSecond('b')).toBe(1 / 60);
});

test('returns the longest result of each tool', () => {
  const answers = new ResponseStatistics();
  expect(answers.getLongestToolResultTokens('web_fetch')).toBe(0);
  for (const web_fetch of [100, 90_000, 7]) answers.recordResults({ web_fetch });
  expect(answers.getLongestToolResultTokens('web_fetch')).toBe(90_000);
  expect(answers.getLongestToolResultTokens('ask')).toBe(0);
});

describe('thinking in the prompt', () => {
  const models = new ModelTable();
  /** @returns the tokens of the prompt that are held for a signature of this length */
  const heldFor = (signed: number, thinkingShare?: number) => {
    const promptWith = (signature: string) => {
      const content = [{ type: 'thinking', thinking: '', signature }];
      const messages = [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content },
      ];
      const body = { model: 'claude-opus-5-5', max_tokens: 100, messages };
      const options = { bytes: 200 + signature.length, models, count: 50, leavesOutThinking: true };
      return computeMaximumCost(body, { ...options, thinkingShare }).terms.promptTokens;
    };
    return promptWith('s'.repeat(signed)) - promptWith('');
  };

  test('is held by the bytes of its signature, or by a ratio learned from sixteen responses', () => {
    const answers = new ResponseStatistics();
    expect(heldFor(4_000, answers.getThinkingTokensPerSignatureCharacter('a'))).toBe(3_000);
    for (let tokens = 500; tokens < 515; tokens += 1) answers.recordThinking('a', tokens, 2_650);
    expect(answers.getThinkingTokensPerSignatureCharacter('a')).toBeUndefined();
    answers.recordThinking('a', 530, 2_650);
    expect(answers.getThinkingTokensPerSignatureCharacter('a')).toBe(0.2);
    expect(heldFor(4_000, answers.getThinkingTokensPerSignatureCharacter('a'))).toBe(800);
    expect(answers.getThinkingTokensPerSignatureCharacter('b')).toBeUndefined();
  });

  test('is never held for more than the bytes of its signature', () => {
    expect(heldFor(4_000, 9)).toBe(3_000);
  });
});
