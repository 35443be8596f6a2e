import { beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '../../../src/client/index.ts';
import { noBrowser } from '../../support/browser.ts';
import { startEdgeWithPage } from '../../support/edge.ts';
import { focused } from '../../support/operator-page.ts';
import { servedPage } from '../../support/page.ts';

describe.skipIf(noBrowser())('Parts of the page at their first use, in Chromium', () => {
  let client: Client;
  const server = servedPage(() => startEdgeWithPage({ SIMULATOR_TTFT_MS: '20' }));
  const { inPage } = server;

  beforeAll(() => {
    client = createClient({ baseURL: server.url });
  });

  test('each empty part offers an example that works', async () => {
    const offers: [path: string, name: string, shows: RegExp][] = [
      ['classify', 'Try it with a ticket', /Classified by/],
      ['batches', 'Fill in twelve tickets', /Nothing is sent to Claude yet/],
      ['wire', 'Ask a short question', /^Copy as curl$/],
      ['budget', 'Ask a short question', /^\$0\.\d+ in 14 days/],
    ];
    await inPage(async ({ page }) => {
      for (const [path, name, shows] of offers) {
        // Somebody who has asked nothing yet.
        const body = { account: `new-to-${path}`, scopes: ['messages', 'classify'] };
        const minted = await client.fetch('/tokens', { method: 'POST', body });
        const { token } = (await minted.json()) as { token: string };
        await page.evaluate((own) => sessionStorage.setItem('sluice-token', own), token);
        await page.goto(`${server.url}/#/${path}`);
        await page.reload();
        await page.getByRole('button', { name }).click();
        await page.getByText(shows).first().waitFor();
      }
    });
  });

  test('a prefix that was deleted comes back where it was', async () => {
    await client.prefixes.put('manual', { system: 'The manual.' });
    await inPage(async ({ page }) => {
      await page.clock.install();
      const row = page.getByRole('row', { name: /^manual/ });
      await row.getByRole('button', { name: 'Delete' }).click();
      await row.getByRole('button', { name: 'Undo deleting manual' }).focus();
      // Nobody's time runs out at the button.
      await page.clock.runFor(60_000);
      await page.keyboard.press('Enter');
      await row.getByRole('button', { name: 'Delete' }).focus();
      expect((await client.prefixes.get('manual')).name).toBe('manual');
      await page.keyboard.press('Enter');
      await expect.poll(() => focused(page)).toBe('Undo deleting manual');
      await page.keyboard.press('Tab');
      await page.clock.runFor(21_000);
      await row.waitFor({ state: 'detached' });
      await expect(client.prefixes.get('manual')).rejects.toThrow();
    }, '/#/budget');
  });
});
