import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { looks } from '../../support/looks.ts';
import { ALONE, openPage, servedPage } from '../../support/page.ts';

describe.skipIf(noBrowser())('Where the page cannot go on, in Chromium', () => {
  const server = servedPage(['messages']);

  test('a path that there is not is a page that leads back, in both colours and narrow', async () => {
    for (const colorScheme of looks(['dark', 'light'] as const)) {
      const viewport = { width: 390, height: 700 };
      const { page, close } = await server.open('/no/such/page', { colorScheme, viewport });
      await page.getByRole('heading', { name: 'This page does not exist' }).waitFor();
      await page.getByText('There is nothing at /no/such/page.').waitFor();
      // It has the page's own style, by its own policy.
      expect(await page.evaluate(() => getComputedStyle(document.body).fontFamily)).toContain('Figtree');
      expect(await barriersOn(page)).toEqual([]);
      await page.getByRole('link', { name: 'Back to the start' }).click();
      await page.waitForURL(`${server.url}/`);
      await close();
    }
  });

  test('asks for a token outside development, and keeps it for the session alone', async () => {
    // An edge that is deployed knows nobody without a token.
    const before = async (first: Page) => {
      await first.context().route(`${server.url}/models?*`, async (route) => {
        const error = { type: 'authentication_error', message: 'Send a credential.' };
        if (route.request().headers().authorization) await route.continue();
        else await route.fulfill({ status: 401, json: { type: 'error', error } });
      });
    };
    const { page, close } = await openPage(server.browser, server.url, ALONE, { before });
    await page.getByRole('heading', { name: 'Enter your token' }).waitFor();
    const use = async (token: string) => {
      await page.getByLabel('Token', { exact: true }).fill(token);
      await page.getByRole('button', { name: 'Use this token' }).click();
    };
    await use('eyJub3QiOiJvbmUifQ.eyJub3QiOiJvbmUifQ.c2ln');
    await page.getByRole('alert').waitFor();
    await use(server.token);
    await page.getByRole('button', { name: `Account ${server.account}` }).waitFor();
    await page.getByText('Your own edge in front of Claude.').waitFor();
    await page.reload();
    await page.getByText('Your own edge in front of Claude.').waitFor();
    expect(await page.evaluate(() => [Object.keys(localStorage), document.cookie])).toEqual([[], '']);
    const other = await page.context().newPage();
    await other.goto(server.url);
    await other.getByRole('heading', { name: 'Enter your token' }).waitFor();
    await close();
  });
});
