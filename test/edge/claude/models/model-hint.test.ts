import { expect, test } from 'vitest';
import { createModelHint } from '#edge/claude/models/model-hint.ts';
import { ModelTable } from '#edge/claude/models/models.ts';

const NOW = Date.parse('2026-11-29');
const hint = (name: string, models = new ModelTable()) => createModelHint(name, models, NOW);

test.each([
  ['claude-3-5-sonnet-20241022', 'retired on 2025-10-28. Use claude-sonnet-4-6'],
  ['claude-sonnet-4-20250514', 'retired on 2026-06-15. Use claude-sonnet-4-6'],
  ['claude-opus-4-0', 'retired on 2026-06-15. Use claude-opus-4-8'],
  ['claude-opus-4-1-20250805', 'retired on 2026-08-05. Use claude-opus-4-8'],
  ['claude-3-5-haiku-latest', 'retired on 2026-02-19. Use claude-haiku-4-5'],
])('contains the retirement date and replacement of %s, and mentions MODEL_ALIASES', (name, words) => {
  expect(hint(name)).toContain(words);
  expect(hint(name)).toContain('MODEL_ALIASES');
});

test('covers retired models of the model table', () => {
  const models = new ModelTable({ old: { retires_at: '2026-01-02T00:00:00Z', replacement: 'claude-opus-5' } });
  expect(hint('old', models)).toContain('old was retired on 2026-01-02. Use claude-opus-5');
});

test.each([
  ['claude-sonet-5-5', 'claude-sonnet-5-5'],
  ['claude-haiku-5.5', 'claude-haiku-5-5'],
  ['Claude-Opus-5-5', 'claude-opus-5-5'],
])('for %s, suggests %s', (name, meant) => {
  expect(hint(name)).toContain(`Did you mean ${meant}?`);
});

test('is undefined for a supported model, an unrelated name and invalid characters', () => {
  for (const name of ['claude-haiku-5-5', 'gpt-4o', 'claude-\n', 'clàude-haiku-5-5'])
    expect(hint(name)).toBeUndefined();
});
