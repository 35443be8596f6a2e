import { text } from 'node:stream/consumers';
import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { BATCH_ID, FakeBatches } from '../../support/fake-batches.ts';
import { looks } from '../../support/looks.ts';
import { ALONE, servedPage } from '../../support/page.ts';

const NARROW = { width: 360, height: 640 };
const file = (name: string, text: string) => ({ name, mimeType: '', buffer: Buffer.from(text) });
const choose = (page: Page, name: string, text: string) => page.getByLabel('File').setInputFiles(file(name, text));
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name });

async function download(page: Page, name: string): Promise<string> {
  const [saved] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
  expect(saved.suggestedFilename()).toBe(`${BATCH_ID}.${name.split(' ')[1]?.toLowerCase()}`);
  return await text(await saved.createReadStream());
}

describe.skipIf(noBrowser())('Batches on the page, in Chromium', () => {
  const server = servedPage();

  async function opened(options?: Parameters<typeof server.open>[1]) {
    const fake = new FakeBatches();
    const open = await server.open('/#/batches', options, (page) => fake.serve(page));
    await open.page.getByRole('heading', { name: 'New batch' }).waitFor();
    return { ...open, fake };
  }

  test('a file goes through the edge’s own routes: priced, sent, followed, read, saved, cancelled', async () => {
    const { page, faults, close, shifts } = await server.open('/#/batches');
    const rows = Array.from({ length: 59 }, (_, at) => `t-${at};How high is gate ${at}?`);
    await choose(page, 'tickets.csv', ['id;ticket', ...rows, 't-59;sluice-simulate: errored'].join('\n'));
    await page.getByLabel(/Prompt for each row/).fill('{{ticket}}');
    await page.getByRole('combobox', { name: 'Request id' }).selectOption('id');
    await button(page, 'Show the price').click();
    await page.getByText('At most').waitFor();
    // The page hears of the end only when the beginning has been seen, however slowly it is drawn: until then it is told what
    // the edge has said at first.
    let first = '';
    let isSeen = false;
    await page.route(/\/batches$/, async (route) => {
      const response = await route.fetch();
      first = await response.text();
      await route.fulfill({ response, body: first });
    });
    await page.route(/\/batches\/msgbatch_\w+$/, async (route) => {
      if (isSeen) await route.continue();
      else await route.fulfill({ contentType: 'application/json', body: first });
    });
    await button(page, 'Send 60 requests').click();
    await page.getByText('In progress').waitFor();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const before = await shifts();
    isSeen = true;
    await page.unroute(/\/batches$/);
    await page.getByText('59 succeeded, 1 errored').waitFor();
    await page.getByText(/^\$0\.00\d+$/).waitFor();
    await page.getByText('1 to 50 of 60').waitFor();
    // Nothing moves by itself when the batch ends and its results come.
    const after = await shifts();
    const moved = after.moved.slice(before.moved.length).join('\n');
    expect(after.value - before.value, moved).toBeLessThan(0.02);
    expect(page.url()).toMatch(/#\/batches\/msgbatch_\w{26}$/);
    await page.getByRole('combobox', { name: 'Outcome' }).selectOption('errored');
    await page.getByRole('row', { name: /t-59 errored Internal server error/ }).waitFor();
    const [saved] = await Promise.all([page.waitForEvent('download'), button(page, 'Download JSONL').click()]);
    const lines = (await text(await saved.createReadStream())).trim().split('\n');
    const ids = lines.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id);
    expect(new Set(ids)).toEqual(new Set(Array.from({ length: 60 }, (_, at) => `t-${at}`)));

    await page.getByRole('link', { name: 'All batches' }).click();
    const line = (custom_id: string) => ({
      custom_id,
      params: { model: 'claude-haiku-5-5', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] },
    });
    await choose(page, 'a.jsonl', [line('a'), line('b')].map((one) => JSON.stringify(one)).join('\n'));
    await button(page, 'Show the price').click();
    // It runs until it is cancelled, however slowly the buttons are found.
    await page.route('**/v1/messages/batches', (route) =>
      route.continue({ headers: { ...route.request().headers(), 'sluice-simulate': 'batch-ms=20000' } }),
    );
    await button(page, 'Send 2 requests').click();
    await page.getByText('In progress').waitFor();
    await button(page, 'Cancel').click();
    await button(page, 'Cancel the rest').click();
    await page.getByText(/^(2 canceled|1 succeeded, 1 canceled)$/).waitFor();
    const opened = page.url();
    await button(page, 'Delete').click();
    await page.getByRole('heading', { name: 'Your batches' }).waitFor();
    // Undo opens again what was open.
    await page.getByRole('button', { name: /^Undo deleting/ }).click();
    await page.getByText(/^(2 canceled|1 succeeded, 1 canceled)$/).waitFor();
    expect(page.url()).toBe(opened);
    await button(page, 'Delete').click();
    await page.getByRole('button', { name: /^Undo deleting/ }).waitFor();
    // What waits is deleted when the page is closed.
    await page.reload();
    await expect.poll(() => page.getByRole('row').count()).toBe(2);
    expect(faults).toEqual([]);
    await close();
  });

  test('a CSV becomes a batch: its price is shown first, and its results can be looked through and saved', async () => {
    const { page, faults, close, fake } = await opened(ALONE);
    await page.getByText(/^No batches yet\./).waitFor();
    await choose(
      page,
      'tickets.csv',
      'id;name;ticket\nt-1;Ada;"Where is\nmy {{name}}?"\nt-2;Bob;It broke.\nt-3;Cleo;Thanks!\n',
    );
    await page.getByText('3 rows', { exact: true }).waitFor();
    await page.getByLabel(/Prompt for each row/).fill('{{name}} writes: {{ticket}}');
    await page.getByLabel('System prompt (optional)').fill('Be brief.');
    await page.getByRole('combobox', { name: 'Request id' }).selectOption('id');
    await page.getByText('Ada writes: Where is my {{name}}?').waitFor();
    await button(page, 'Show the price').click();
    await page.getByText('$0.012').waitFor();
    expect(fake.sent).toEqual([]);
    // A price is of one prompt: where that changes, it is asked for again.
    await page.getByLabel('Longest answer, in tokens').fill('64');
    await button(page, 'Show the price').click();
    await button(page, 'Send 3 requests').click();
    await page.getByText('In progress').waitFor();
    const model = fake.sent[0]?.requests[0]?.params.model;
    const asked = (content: string) => ({
      ...{ model, max_tokens: 64, system: 'Be brief.', messages: [{ role: 'user', content }] },
    });
    expect(fake.sent).toEqual([
      {
        requests: [
          { custom_id: 't-1', params: asked('Ada writes: Where is\nmy {{name}}?') },
          { custom_id: 't-2', params: asked('Bob writes: It broke.') },
          { custom_id: 't-3', params: asked('Cleo writes: Thanks!') },
        ],
      },
    ]);
    expect(model).toMatch(/^claude-haiku/);

    fake.state = 'ended';
    await page.getByText('2 succeeded, 1 errored').waitFor();
    await page.getByRole('row', { name: /row-00001 succeeded Thank you for ticket 1/ }).waitFor();
    await page.getByRole('row', { name: /row-00003 errored Overloaded/ }).waitFor();
    await page
      .getByRole('row', { name: /row-00001/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.getByRole('dialog', { name: 'row-00001' }).getByText('"msg_0"').waitFor();
    await page.keyboard.press('Escape');
    expect(await download(page, 'Download JSONL')).toBe(fake.lines);
    const csv = await download(page, 'Download CSV');
    expect(csv.split('\r\n').slice(1, 4)).toEqual([
      `row-00001,succeeded,"Thank you for ticket 1, ""as you say"", we look into it.",end_turn,20,12`,
      // A spreadsheet must not compute it.
      `row-00002,succeeded,"'=1+1",end_turn,20,12`,
      'row-00003,errored,Overloaded,,,',
    ]);
    await page.clock.install();
    await button(page, 'Delete').click();
    await page.getByRole('button', { name: /^Undo deleting/ }).waitFor();
    expect(fake.deleted).toBe(false);
    await page.clock.runFor(21_000);
    await page.getByText(/^No batches yet\./).waitFor();
    expect(fake.deleted).toBe(true);
    expect(faults).toEqual([]);
    await close();
  });

  test('JSONL with requests goes up as it is; what cannot go up is told by its line', async () => {
    const { page, faults, close, fake } = await opened();
    const line = (custom_id: string) =>
      JSON.stringify({ custom_id, params: { model: 'claude-haiku-5-5', max_tokens: 5, prefix: 'a', messages: [] } });
    await choose(page, 'a.jsonl', `${line('a')}\n\n${line('a')}\n${line('b c')}\n{"custom_id":"d"}\nnone\n`);
    const said = (await page.getByRole('alert').textContent()) ?? '';
    for (const fault of [
      'Line 3: the custom_id a is used twice',
      'Line 4:',
      'Line 5:',
      'Line 6:',
      'Correct the file',
    ]) {
      expect(said).toContain(fault);
    }
    await choose(page, 'a.jsonl', `${line('a')}\r\n${line('b')}`);
    await page.getByText('2 requests, as they are').waitFor();
    await button(page, 'Show the price').click();
    await button(page, 'Send 2 requests').click();
    await page.getByText('In progress').waitFor();
    expect(fake.sent).toEqual([{ requests: [JSON.parse(line('a')), JSON.parse(line('b'))] }]);
    await button(page, 'Cancel').click();
    await button(page, 'Cancel the rest').click();
    await expect.poll(() => fake.state).toBe('ended');
    expect(faults).toEqual([]);
    await close();
  });

  test('what does not fit cannot be sent, and what was refused is sent again under the same key', async () => {
    const { page, close, fake } = await opened();
    fake.fits = false;
    await button(page, 'Try it with twelve tickets').click();
    await button(page, 'Show the price').click();
    await page
      .getByRole('alert')
      .getByText(/covers 7 of them now/)
      .waitFor();
    await expect.poll(() => button(page, 'Send 12 requests').isDisabled()).toBe(true);
    fake.fits = true;
    fake.failures = 1;
    await page.getByLabel('Longest answer, in tokens').fill('50');
    await button(page, 'Show the price').click();
    await button(page, 'Send 12 requests').click();
    await page.getByRole('alert').getByText('Details').click();
    await page.getByRole('alert').getByText('Try again in 3 seconds.').waitFor();
    await button(page, 'Send 12 requests').click();
    await page.getByText('In progress').waitFor();
    expect(fake.keys.length).toBe(2);
    expect(new Set(fake.keys).size).toBe(1);
    await close();
  });

  test.each(looks(['light', 'dark'] as const))(
    'has nothing that axe finds, nothing beside a narrow window, and nothing that moves by itself, in the %s',
    async (colorScheme) => {
      const { page, faults, close, fake, shifts } = await opened({ viewport: NARROW, colorScheme });
      const check = async (what: string) => {
        expect(await barriersOn(page), what).toEqual([]);
        const beside = await page.evaluate(
          () =>
            Math.max(document.documentElement.scrollWidth, document.querySelector('main')?.scrollWidth ?? 0) -
            innerWidth,
        );
        expect(beside, what).toBe(0);
      };
      await check('empty');
      await button(page, 'Try it with twelve tickets').click();
      await button(page, 'Show the price').click();
      await page.getByText('$0.012').waitFor();
      await check('priced');
      await button(page, 'Send 12 requests').click();
      await page.getByText('In progress').waitFor();
      await check('running');
      fake.state = 'ended';
      await page.getByText('11 succeeded, 1 errored').waitFor();
      await page.getByText('1 to 12 of 12').waitFor();
      await check('ended');
      await page.getByRole('link', { name: 'All batches' }).click();
      await page.getByRole('link', { name: BATCH_ID }).waitFor();
      await check('list');
      const { value, moved } = await shifts();
      expect(value, moved.join('\n')).toBeLessThan(0.05);
      expect(faults).toEqual([]);
      await close();
    },
  );
});
