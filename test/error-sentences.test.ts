import { transform } from 'esbuild';
import { expect, test } from 'vitest';
import { SluiceError } from '../src/client/index.ts';
import { STATUS } from '../src/edge/kit/http/errors.ts';
import { blocksOf, readGuide } from './support/guides.ts';

const guide = await readGuide('errors');
/** The rows of the table: type, statuses, what happened, the sentence, and whether to try again. */
const rows = [...guide.matchAll(/^\| `(\w+)` +\|(.*)\|$/gm)].map(([, type = '', rest = '']) => ({
  type,
  cells: rest.split('|').map((cell) => cell.trim()),
}));

test('the guide to errors has each type, with its status', () => {
  const own = Object.keys(STATUS) as (keyof typeof STATUS)[];
  expect(rows.map(({ type }) => type).toSorted()).toEqual([...own, 'closed', 'connection_error'].toSorted());
  for (const type of own)
    expect(rows.find((row) => row.type === type)?.cells[0], type).toMatch(new RegExp(`\\b${STATUS[type]}\\b`));
});

test('the function of the guide says the sentences of its table', async () => {
  const [block = ''] = blocksOf(guide, 'ts');
  const { code } = await transform(block.replace(/^import .*$/m, ''), { loader: 'ts', format: 'cjs' });
  const module = { exports: {} as { sayError(error: unknown): string } };
  new Function('module', 'SluiceError', code)(module, SluiceError);
  const { sayError } = module.exports;
  for (const { type, cells } of rows.filter((row) => row.type !== 'closed'))
    expect(sayError(new SluiceError(type, 'For developers.')), type).toBe(cells[2]);
  const headers = new Headers({ 'sluice-limited-by': 'deployment' });
  expect(sayError(new SluiceError('billing_error', 'Spent.', { headers }))).toContain('We have reached our budget');
  expect(sayError(new TypeError('unknown'))).toContain('Something went wrong on our side.');
});
