// @vitest-environment jsdom
import '../../support/without-layout.ts';
import { Blob, File as NodeFile } from 'node:buffer';
import { h } from 'preact';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Batches } from '../../../src/playground/batches/batches.tsx';
import { forget } from '../../../src/playground/batches/draft.ts';
import { models } from '../../../src/playground/edge/models.ts';
import { choose, click, fakeEdge, fill, goTo, named, show, shows } from '../../support/dom.ts';
import { BATCH_ID, FakeBatches } from '../../support/fake-batches.ts';

const HAIKU = { id: 'claude-haiku-5-5', display_name: 'Claude Haiku 5.5', prices: { input: 1 } };
let fake: FakeBatches;
let root: HTMLElement;
/** What was handed to the browser to be saved. */
let saved: { name: string; content: Blob }[];

const chooseFile = async (name: string, content: string) => {
  if (root.querySelector('.chosen-file')) await click(root, 'Choose another file');
  await expect.poll(() => root.querySelector<HTMLInputElement>('input[type=file]')?.disabled).toBe(false);
  const field = named(root, 'File');
  // Lines are read as a stream, which files have in Node; a CSV by a reader, which there is in browsers.
  Object.defineProperty(field, 'files', {
    configurable: true,
    value: [name.endsWith('.csv') ? new File([content], name) : new NodeFile([content], name)],
  });
  field.dispatchEvent(new Event('change', { bubbles: true }));
};
const rows = () => [...root.querySelectorAll('tbody tr')].map(({ textContent }) => textContent ?? '');

beforeEach(async () => {
  fake = new FakeBatches();
  saved = [];
  fakeEdge((asked, headers) => (asked.path.startsWith('/v1/messages/batches') ? fake.answer(asked, headers) : {}));
  vi.stubGlobal('Blob', Blob);
  // No file is saved without a browser.
  const contents = new Map<string, Blob>();
  URL.createObjectURL = (content) => `blob:${contents.set(String(contents.size), content as Blob).size - 1}`;
  URL.revokeObjectURL = () => {};
  vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(function (this: HTMLAnchorElement) {
    saved.push({ name: this.download, content: contents.get(this.href.slice('blob:'.length)) as Blob });
  });
  models.value = [HAIKU as never];
  forget();
  goTo('#/batches');
  root = show(h(Batches, {}));
  onTestFinished(() => void vi.useRealTimers());
  await shows(root, 'No batches yet.');
});

test('a CSV becomes a batch: its price is shown first, and its results can be looked through and saved', async () => {
  await chooseFile(
    'tickets.csv',
    'id;name;ticket\nt-1;Ada;"Where is\nmy {{name}}?"\nt-2;Bob;It broke.\nt-3;Cleo;Thanks!\n',
  );
  await shows(root, '3 rows');
  fill(named(root, /^Prompt for each row/), '{{name}} writes: {{ticket}}');
  fill(named(root, 'System prompt (optional)'), 'Be brief.');
  choose(named(root, 'Request id'), 'id');
  await shows(root, /Ada writes: Where is\smy {{name}}\?/);
  await click(root, 'Show the price');
  await shows(root, '$0.012');
  expect(fake.sent).toEqual([]);
  // A price is of one prompt: where that changes, it is asked for again.
  fill(named(root, 'Longest answer, in tokens'), '64');
  await click(root, 'Show the price');
  fake.state = 'ended';
  await click(root, 'Send 3 requests');
  const asked = (content: string) => ({
    ...{ model: HAIKU.id, max_tokens: 64, system: 'Be brief.', messages: [{ role: 'user', content }] },
  });
  await shows(root, '2 succeeded, 1 errored');
  expect(fake.sent).toEqual([
    {
      requests: [
        { custom_id: 't-1', params: asked('Ada writes: Where is\nmy {{name}}?') },
        { custom_id: 't-2', params: asked('Bob writes: It broke.') },
        { custom_id: 't-3', params: asked('Cleo writes: Thanks!') },
      ],
    },
  ]);
  await expect.poll(rows).toHaveLength(3);
  expect(rows()[0]).toMatch(/^row-00001succeededThank you for ticket 1/);
  expect(rows()[2]).toMatch(/^row-00003erroredOverloaded/);
  await click(root, 'Show');
  await expect.poll(() => root.querySelector('dialog')?.textContent).toContain('"msg_0"');
  await click(root, 'Download JSONL');
  await click(root, 'Download CSV');
  await expect.poll(() => saved.map(({ name }) => name)).toEqual([`${BATCH_ID}.jsonl`, `${BATCH_ID}.csv`]);
  expect(await saved[0]?.content.text()).toBe(fake.lines);
  expect((await saved[1]?.content.text())?.split('\r\n').slice(1, 4)).toEqual([
    `row-00001,succeeded,"Thank you for ticket 1, ""as you say"", we look into it.",end_turn,20,12`,
    // A spreadsheet must not compute it.
    `row-00002,succeeded,"'=1+1",end_turn,20,12`,
    'row-00003,errored,Overloaded,,,',
  ]);
  // Undo opens again what was open.
  await click(root, 'Delete');
  await shows(root, 'Your batches');
  await click(root, `Undo deleting ${BATCH_ID}`);
  await shows(root, 'All batches');
  expect(location.hash).toBe(`#/batches/${BATCH_ID}`);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  await click(root, 'Delete');
  await shows(root, 'Your batches');
  await vi.advanceTimersByTimeAsync(19_000);
  expect(fake.deleted).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  await shows(root, 'No batches yet.');
  expect(fake.deleted).toBe(true);
});

test('JSONL with requests goes up as it is; what cannot go up is told by its line', async () => {
  const line = (custom_id: string) =>
    JSON.stringify({ custom_id, params: { model: HAIKU.id, max_tokens: 5, prefix: 'a', messages: [] } });
  await chooseFile('a.jsonl', `${line('a')}\n\n${line('a')}\n${line('b c')}\n{"custom_id":"d"}\nnone\n`);
  await shows(root, /Line 3: the custom_id a is used twice.*Line 4:.*Line 5:.*Line 6:.*Correct the file/s);
  await chooseFile('a.jsonl', `${line('a')}\r\n${line('b')}`);
  await shows(root, '2 requests, as they are');
  await click(root, 'Show the price');
  await click(root, 'Send 2 requests');
  await shows(root, 'In progress');
  expect(fake.sent).toEqual([{ requests: [JSON.parse(line('a')), JSON.parse(line('b'))] }]);
  await click(root, 'Cancel');
  await click(root, 'Cancel the rest');
  await expect.poll(() => fake.state).toBe('ended');
});

test('what does not fit cannot be sent, and what was refused is sent again under the same key', async () => {
  fake.fits = false;
  await click(root, 'Try it with twelve tickets');
  await click(root, 'Show the price');
  await shows(root, 'covers 7 of them now');
  expect(named<HTMLButtonElement>(root, 'Send 12 requests').disabled).toBe(true);
  fake.fits = true;
  fake.failures = 1;
  fill(named(root, /^Prompt for each row/), '{{ticket}}');
  await click(root, 'Show the price');
  await click(root, 'Send 12 requests');
  await shows(root, 'Try again in 3 seconds.');
  await click(root, 'Send 12 requests');
  await shows(root, 'In progress');
  expect(fake.keys.length).toBe(2);
  expect(new Set(fake.keys).size).toBe(1);
});
