import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { canDisableThinking, createThinkingRequestFields, type ThinkingMode } from '#page/chat/session/thinking.ts';
import type { ListedModel } from '#page/edge/models.ts';

/** No model of the table is retired yet. */
const NOW = Date.parse('2026-11-20T12:00:00Z');
const simulate = createSimulator({ ttftMs: 0, tokensPerSecond: 1e6, now: () => NOW });

/** Asks a model as the page does. @returns the types of the blocks of its answer */
async function typesOf(row: { id: string }, choice: ThinkingMode): Promise<string[]> {
  const members = createThinkingRequestFields(choice, row as unknown as ListedModel, 4_096);
  const messages = [{ role: 'user', content: 'What is a pond?' }];
  const response = await simulate(
    new Request('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', 'x-api-key': 'any' },
      body: JSON.stringify({ model: row.id, messages, ...members }),
    }),
  );
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return (JSON.parse(text) as { content: { type: string }[] }).content.map(({ type }) => type);
}

test.each(MODELS)('$id thinks when thinking is on, and not when it is off and can be disabled', async (row) => {
  expect(await typesOf(row, 'on')).toContain('thinking');
  const model = await typesOf(row, 'model');
  expect(model.includes('thinking')).toBe(row.thinking?.default !== 'off');
  const off = await typesOf(row, 'off');
  expect(off.includes('thinking')).toBe(!canDisableThinking(row as unknown as ListedModel));
});

test('an unknown model gets the usual thinking parameters', () => {
  expect(createThinkingRequestFields('model', undefined, 10)).toEqual({ max_tokens: 10 });
  expect(createThinkingRequestFields('on', undefined, 10).thinking?.type).toBe('adaptive');
  expect(createThinkingRequestFields('off', undefined, 10).thinking?.type).toBe('disabled');
});
