import { expect, test } from 'vitest';
import { judgePrices, unlistedPrices } from '../../scripts/unlisted-prices.ts';

const LISTED = ['claude-opus-5-5', 'claude-haiku-4-5-20251001'];

test('a row that no model of the upstream has is told by its name', () => {
  expect(unlistedPrices(['claude-opus-5.5', 'claude-opus-5-5'], LISTED)).toEqual(['claude-opus-5.5']);
});

test('a dated name is its model, and so is a model of which a snapshot is listed', () => {
  expect(unlistedPrices(['claude-opus-5-5-20261001', 'claude-haiku-4-5', 'claude-opus-5-5-latest'], LISTED)).toEqual(
    [],
  );
});

test('nobody is asked where there are no rows', async () => {
  expect(await judgePrices([], () => Promise.reject(new Error('asked')))).toBeUndefined();
});

test('what is said names the rows, or says why they were not checked', async () => {
  const list = async () => Response.json({ data: LISTED.map((id) => ({ id })) });
  expect(await judgePrices(['claude-next'], list)).toContain('PRICES names claude-next,');
  expect(await judgePrices(['claude-opus-5-5'], list)).toBeUndefined();
  const refused = async () => new Response(null, { status: 500 });
  expect(await judgePrices(['claude-opus-5-5'], refused)).toContain('were not checked');
});
