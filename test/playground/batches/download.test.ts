import Papa from 'papaparse';
import { expect, test, vi } from 'vitest';
import { resultsCsv } from '../../../src/playground/batches/download.ts';

// The page's client needs a browser, and a CSV needs no edge.
vi.mock('../../../src/playground/edge/client.ts', () => ({}));

/** @returns a result of a batch, as the edge sends it: every tenth has failed */
function lineOf(nth: number): object {
  const custom_id = `item-${nth}`;
  if (nth % 10 === 9) {
    const error = { type: 'invalid_request_error', message: `No "${nth}", sorry` };
    return { custom_id, result: { type: 'errored', error: { type: 'error', error } } };
  }
  const content = [{ type: 'text', text: `=1+${nth}, or so` }];
  const message = { content, stop_reason: 'end_turn', usage: { input_tokens: nth, output_tokens: 2 * nth } };
  return { custom_id, result: { type: 'succeeded', message } };
}

test.each([0, 1, 499, 500, 1_203])('the CSV of %i results has a row for each, in their order', async (count) => {
  const lines = Array.from({ length: count }, (_, nth) => `${JSON.stringify(lineOf(nth))}\n`);
  const csv = new TextDecoder('utf-8', { ignoreBOM: true }).decode(
    await (await resultsCsv(new Blob(lines))).arrayBuffer(),
  );
  expect(csv.startsWith('\uFEFF')).toBe(true);
  const [head, ...rows] = Papa.parse<string[]>(csv.slice(1), { skipEmptyLines: true }).data;
  expect(head).toEqual(['custom_id', 'outcome', 'text', 'stop_reason', 'input_tokens', 'output_tokens']);
  expect(rows).toHaveLength(count);
  expect(rows).toEqual(
    Array.from({ length: count }, (_, nth) =>
      nth % 10 === 9
        ? [`item-${nth}`, 'errored', `No "${nth}", sorry`, '', '', '']
        : [`item-${nth}`, 'succeeded', `'=1+${nth}, or so`, 'end_turn', `${nth}`, `${2 * nth}`],
    ),
  );
});
