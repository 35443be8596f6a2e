import fc from 'fast-check';
import { expect, test } from 'vitest';
import { csvOf, readCsv } from '../../../src/playground/batches/csv.ts';
import { readUpload } from '../../../src/playground/batches/read-file.ts';
import { requestsOfRows } from '../../../src/playground/batches/requests-of-rows.ts';
import { type RowsUpload, UploadError } from '../../../src/playground/batches/upload.ts';
import { runs } from '../../support/runs.ts';

const PROMPT = { model: 'm', maxTokens: 9, system: '', template: '{{a}}', idColumn: undefined };

/** Any text that is something, in CSV as in a prompt. */
const text = fc
  .string({ unit: fc.constantFrom(...'ab "\',;\t\n{}=é🙂'), minLength: 1 })
  .filter((one) => one.trim() !== '');

async function requestsIn(body: Blob): Promise<{ custom_id: string; params: Record<string, unknown> }[]> {
  return JSON.parse(await body.text()).requests;
}

const quoted = (value: string) => `"${value.replaceAll('"', '""')}"`;

test('what stands in a CSV reaches the prompt as it is, whatever it is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 20 }),
      fc.constantFrom(',', ';', '\t'),
      fc.constantFrom('\n', '\r\n'),
      async (rows, delimiter, end) => {
        const csv = [['a', 'b'], ...rows].map((row) => row.map(quoted).join(delimiter) + end).join('');
        const upload = await readCsv('a.csv', csv);
        expect(upload).toMatchObject({ columns: ['a', 'b'], rows });
        const { body, count } = await requestsOfRows(upload, { ...PROMPT, template: '{{b}} – {{a}} – {{ b }}' });
        expect(count).toBe(rows.length);
        expect((await requestsIn(body)).map(({ params }) => params.messages)).toEqual(
          rows.map(([a, b]) => [{ role: 'user', content: `${b} – ${a} – ${b}` }]),
        );
      },
    ),
    { numRuns: runs(200) },
  );
});

test('what is written as CSV is read as the same, but for what a spreadsheet would compute', async () => {
  const rows = [
    ['a', 'b'],
    ['one, "two"\nthree', '=SUM(A1)'],
    ['-1', '@x'],
  ];
  expect((await readCsv('a.csv', csvOf(rows))).rows).toEqual([
    ['one, "two"\nthree', "'=SUM(A1)"],
    ["'-1", "'@x"],
  ]);
});

test('columns have a name each, and each its own', async () => {
  expect((await readCsv('a.csv', '\uFEFFname,name,,{x}\n1,2,3,4\n')).columns).toEqual([
    'name',
    'name 2',
    'column 3',
    'x',
  ]);
  expect((await readCsv('a.csv', 'only\none\n\ntwo\n')).rows).toEqual([['one'], ['two']]);
});

test('a line is a text, or a JSON string with line ends in it', async () => {
  const upload = await readUpload(new File(['  one \r\n\n"two\\nlines"\n"no string'], 'a.txt'));
  expect(upload).toMatchObject({ kind: 'rows', columns: ['text'], rows: [['one'], ['two\nlines'], ['"no string']] });
});

test('lines with requests go up byte by byte as they are, at any size of the pieces', async () => {
  const lines = Array.from({ length: 3_000 }, (_, index) =>
    JSON.stringify({ custom_id: `id-${index}`, params: { model: 'm', note: `é🙂 ${'x'.repeat(index)}` } }),
  );
  const bytes = new TextEncoder().encode(lines.join('\n'));
  for (const size of [1_000, 65_537, bytes.length]) {
    const file = new File([bytes], 'a.jsonl');
    file.stream = () =>
      new ReadableStream({
        start(controller) {
          for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
          controller.close();
        },
      });
    const upload = await readUpload(file);
    expect(upload).toMatchObject({ kind: 'items', count: lines.length });
    if (upload.kind === 'items') expect(await upload.body.text()).toBe(`{"requests":[${lines.join(',')}]}`);
  }
});

test.each([
  ['an id that is none', { idColumn: 'b' }, /Request 1: its custom_id must be/],
  ['a prompt that is empty', { template: '{{c}}' }, /Request 1: its prompt is empty/],
  ['a prompt without a row', { template: 'Hi' }, /names no column/],
  ['a column that is not there', { template: '{{d}}' }, /no such column. It has: a, b, c/],
])('%s is told, and nothing is made', async (_, change, said) => {
  const upload: RowsUpload = { kind: 'rows', name: 'a', columns: ['a', 'b', 'c'], rows: [['x', 'no id', ' ']] };
  const made = requestsOfRows(upload, { ...PROMPT, ...change });
  await expect(made).rejects.toThrow(said);
  await expect(made).rejects.toBeInstanceOf(UploadError);
});

test.each([
  ['a head alone', 'a.csv', 'only,a,head\n', /^The file needs a first row/],
  ['a row that is too long', 'a.csv', 'a,b\n1,2\n1,2,3\n', /^Row 3: it has 3 fields, and there are 2 columns\./],
  ['a quote without an end', 'a.csv', 'a,b\n1,"2\n', /^Row \d: .*Correct the file/],
  ['nothing', 'a.txt', ' \n\n', /^The file is empty\./],
])('a file with %s is no list of requests, and is told so', async (_, name, content, said) => {
  // A file of CSV is read by a worker, which only a browser has.
  const read = name.endsWith('.csv') ? readCsv(name, content) : readUpload(new File([content], name));
  await expect(read).rejects.toThrow(said);
});

test('one who has made a mistake many times is told the first of them', async () => {
  const rows = Array.from({ length: 100 }, () => ['same']);
  const made = requestsOfRows({ kind: 'rows', name: 'a', columns: ['a'], rows }, { ...PROMPT, idColumn: 'a' });
  await expect(made).rejects.toThrow(/Request 2: .*Request 6: .* And 94 more like these\. Correct the file/);
});

test('no cell that is written begins as a formula, however many lines it has', () => {
  const cell = fc.string({ unit: fc.constantFrom(...'=+-@\t\r\na"', "'") });
  fc.assert(
    fc.property(cell, (value) => {
      const written = csvOf([[value]]).replace(/^"/, '');
      expect(written).not.toMatch(/^[=+\-@\t]/);
      if (/^[=+\-@\t\r]/.test(value))
        expect(written.replaceAll('""', '"').slice(0, value.length + 1)).toBe(`'${value}`);
    }),
    { numRuns: runs(300) },
  );
});
