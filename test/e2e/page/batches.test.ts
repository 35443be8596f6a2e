import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { servedPage } from '../../support/page.ts';

// All that needs no layout is in test/playground/batches/batches.test.ts.
describe.skipIf(noBrowser())('Batches on the page, in Chromium', () => {
  const server = servedPage();

  test('a file goes through the edge’s own routes, on a phone: priced, sent, followed, read, saved', async () => {
    const { page, faults, close, shifts } = await server.open('/#/batches', { viewport: { width: 360, height: 640 } });
    const button = (name: string | RegExp) => page.getByRole('button', { name });
    const check = async (what: string) => {
      expect(await barriersOn(page), what).toEqual([]);
      const widths = () => ['html', 'main'].map((name) => document.querySelector(name)?.scrollWidth ?? 0);
      expect(Math.max(...(await page.evaluate(widths))), what).toBe(360);
    };
    await page.getByText(/^No batches yet\./).waitFor();
    await check('empty');
    const rows = Array.from({ length: 59 }, (_, at) => `t-${at};How high is gate ${at}?`);
    const buffer = Buffer.from(['id;ticket', ...rows, 't-59;sluice-simulate: errored'].join('\n'));
    await page.getByLabel('File').setInputFiles({ name: 'tickets.csv', mimeType: '', buffer });
    await page.getByLabel(/Prompt for each row/).fill('{{ticket}}');
    await page.getByRole('combobox', { name: 'Request id' }).selectOption('id');
    await button('Show the price').click();
    await page.getByText('At most').waitFor();
    await check('priced');
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
    await button('Send 60 requests').click();
    await page.getByText('In progress').waitFor();
    await check('running');
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
    await check('ended');
    expect(page.url()).toMatch(/#\/batches\/msgbatch_\w{26}$/);
    await page.getByRole('combobox', { name: 'Outcome' }).selectOption('errored');
    await page.getByRole('row', { name: /t-59 errored Internal server error/ }).waitFor();
    const [saved] = await Promise.all([page.waitForEvent('download'), button('Download JSONL').click()]);
    const lines = (await text(await saved.createReadStream())).trim().split('\n');
    const ids = lines.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id);
    expect(new Set(ids)).toEqual(new Set(Array.from({ length: 60 }, (_, at) => `t-${at}`)));
    await page.getByRole('link', { name: 'All batches' }).click();
    await page.getByRole('link', { name: /^msgbatch_/ }).waitFor();
    await check('list');
    expect(faults).toEqual([]);
    await close();
  });
});
