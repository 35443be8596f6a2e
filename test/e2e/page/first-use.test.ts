import { describe, expect, test } from 'vitest';
import { noBrowser } from '../../support/browser.ts';
import { focused } from '../../support/operator-page.ts';
import { ALONE, servedPage } from '../../support/page.ts';
import { tokenOf } from '../../support/tokens.ts';

describe.skipIf(noBrowser())('Parts of the page at their first use, in Chromium', () => {
  const server = servedPage();
  const admins = servedPage(['admin']);

  test('each empty part offers an example that works', async () => {
    const offers: [path: string, name: string, shows: RegExp][] = [
      ['classify', 'Try it with a ticket', /Classified by/],
      ['batches', 'Fill in twelve tickets', /Nothing is sent to Claude yet/],
      ['wire', 'Ask a short question', /^Copy as curl$/],
      ['budget', 'Ask a short question', /^\$0\.\d+ in 14 days/],
    ];
    await server.inPage(async ({ page }) => {
      for (const [path, name, shows] of offers) {
        // Somebody who has asked nothing yet.
        const token = await tokenOf(`${server.account}-new-to-${path}`, ['messages', 'classify']);
        await page.evaluate((own) => sessionStorage.setItem('sluice-token', own), token);
        await page.goto(`${server.url}/#/${path}`);
        await page.reload();
        await page.getByRole('button', { name }).click();
        await page.getByText(shows).first().waitFor();
      }
    });
  });

  test('a prefix that was deleted comes back where it was', async () => {
    const { client } = admins;
    const name = `manual-${admins.account}`;
    await client.prefixes.put(name, { system: 'The manual.' });
    await admins.inPage(
      async ({ page }) => {
        await page.clock.install();
        const row = page.getByRole('row', { name });
        await row.getByRole('button', { name: 'Delete' }).click();
        await row.getByRole('button', { name: `Undo deleting ${name}` }).focus();
        // Nobody's time runs out at the button.
        await page.clock.runFor(60_000);
        await page.keyboard.press('Enter');
        await row.getByRole('button', { name: 'Delete' }).focus();
        expect((await client.prefixes.get(name)).name).toBe(name);
        await page.keyboard.press('Enter');
        await expect.poll(() => focused(page)).toBe(`Undo deleting ${name}`);
        await page.keyboard.press('Tab');
        await page.clock.runFor(21_000);
        await row.waitFor({ state: 'detached' });
        await expect(client.prefixes.get(name)).rejects.toThrow();
      },
      '/#/budget',
      ALONE,
    );
  });
});
