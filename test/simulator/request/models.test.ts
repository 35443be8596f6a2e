import { describe, expect, test } from 'vitest';
import type { SimulatedModel } from '#simulator/simulator.ts';
import { asking, clientOf, get, post, refusal, simulated, start } from '../api.ts';

const many: SimulatedModel[] = Array.from({ length: 25 }, (_, index) => ({
  id: `claude-${String(index).padStart(2, '0')}`,
  display_name: `Claude ${index}`,
  created_at: new Date(Date.UTC(2026, 0, 1 + index)).toISOString(),
  max_input_tokens: 200_000,
  max_tokens: 64_000,
  minimum_cacheable_tokens: 1024,
}));

describe('models', () => {
  test('are listed newest first, with their limits and lifecycle', async () => {
    const page = await clientOf(simulated()).models.list();
    expect(page.data.map(({ id }) => id)).toEqual(['claude-test-2', 'claude-test-1']);
    expect(page.data[1]).toMatchObject({
      type: 'model',
      display_name: 'Claude Test 1',
      lifecycle: 'deprecated',
      deprecated_at: '2026-06-01T00:00:00Z',
      retires_at: '2026-11-30T00:00:00Z',
      max_input_tokens: 2000,
      max_tokens: 1500,
    });
    expect(page.data[0]).toMatchObject({ lifecycle: 'active', deprecated_at: null, retires_at: null });
  });

  test('are paged, and the pages contain the whole list', async () => {
    const client = clientOf(simulated({ models: many }));
    const first = await client.models.list();
    expect(first.data).toHaveLength(20);
    for (const limit of [1, 7, 24, 25, 1000]) {
      const ids: string[] = [];
      for await (const row of client.models.list({ limit })) ids.push(row.id);
      expect(ids).toEqual(many.map(({ id }) => id).reverse());
    }
  });

  test('can be paged backwards', async () => {
    const page = await clientOf(simulated({ models: many })).models.list({ before_id: 'claude-20', limit: 3 });
    expect(page.data.map(({ id }) => id)).toEqual(['claude-23', 'claude-22', 'claude-21']);
    expect(page.has_more).toBe(true);
  });

  test.each([
    ['limit=0', 'limit: Input should be greater than or equal to 1'],
    ['limit=1001', 'limit: Input should be less than or equal to 1000'],
    ['limit=ten', 'limit: Input should be a valid integer'],
    ['after_id=nobody', 'after_id: no model has the id nobody'],
    ['after_id=claude-test-1&before_id=claude-test-2', 'Only one of after_id and before_id may be given'],
  ])('return 400 for a page with %s', async (query, message) => {
    expect(await refusal(await simulated()(get(`/v1/models?${query}`)))).toMatchObject({ status: 400, message });
  });

  test('can be retrieved by id and by alias', async () => {
    const client = clientOf(simulated());
    expect((await client.models.retrieve('claude-test-1')).id).toBe('claude-test-1');
    expect((await client.models.retrieve('claude-test-latest')).id).toBe('claude-test-2');
    const answer = await client.messages.create({
      model: 'claude-test-latest',
      max_tokens: 9,
      messages: [{ role: 'user', content: 'hi' }],
    });
    expect(answer.model).toBe('claude-test-2');
    await expect(client.models.retrieve('claude-none')).rejects.toMatchObject({ status: 404 });
  });

  test('return 404 for messages if unknown or retired; the error for a retired model names its replacement', async () => {
    const ask = async (model: string, now: number): Promise<unknown> =>
      refusal(await simulated({ now: () => now })(post(asking('hi', { model, max_tokens: 9 }))));
    const later = Date.parse('2026-11-30T00:00:00Z');
    expect(await ask('gpt', start)).toEqual({ status: 404, type: 'not_found_error', message: 'model: gpt' });
    expect(await ask('claude-test-1', later)).toMatchObject({
      status: 404,
      message: expect.stringContaining('claude-test-2'),
    });
    const client = clientOf(simulated({ now: () => later }));
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['claude-test-2']);
    expect((await client.models.list({ lifecycle: ['retired'] })).data.map(({ id }) => id)).toEqual(['claude-test-1']);
    expect((await client.models.retrieve('claude-test-1')).lifecycle).toBe('retired');
  });
});
