import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { ISOLATED_OPTIONS, openPage, openServedPage } from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';

describe.skipIf(isBrowserMissing())('The page in situations that block it, in Chromium', () => {
  const server = openServedPage(['messages']);

  test('shows a page with a link to the start for an unknown path, in both color schemes on a phone', async () => {
    for (const colorScheme of selectAppearances(['dark', 'light'] as const)) {
      const viewport = { width: 390, height: 700 };
      const { page, close } = await server.open('/no/such/page', { colorScheme, viewport });
      await page.getByRole('heading', { name: 'This page does not exist' }).waitFor();
      await page
        .getByText('/no/such/page does not exist. Check the path and the method; /docs lists all routes.')
        .waitFor();
      // It has the page's own style, by its own policy.
      expect(await page.evaluate(() => getComputedStyle(document.body).fontFamily)).toContain('Figtree');
      expect(await findBarriers(page)).toEqual([]);
      await page.getByRole('link', { name: 'Back to the start' }).click();
      await page.waitForURL(`${server.url}/`);
      await close();
    }
  });

  test('asks for a token outside development, and keeps it only for the session', async () => {
    // An edge that is deployed knows nobody without a token.
    const before = async (first: Page) => {
      await first.context().route(`${server.url}/models?*`, async (route) => {
        const error = { type: 'authentication_error', message: 'Send a credential.' };
        if (route.request().headers().authorization) await route.continue();
        else await route.fulfill({ status: 401, json: { type: 'error', error } });
      });
    };
    const { page, close } = await openPage(server.browser, server.url, ISOLATED_OPTIONS, { before });
    await page.getByRole('heading', { name: 'Enter your token' }).waitFor();
    const use = async (token: string) => {
      await page.getByLabel('Token', { exact: true }).fill(token);
      await page.getByRole('button', { name: 'Use this token' }).click();
    };
    await use('eyJub3QiOiJvbmUifQ.eyJub3QiOiJvbmUifQ.c2ln');
    await page.getByRole('alert').waitFor();
    await use(server.token);
    await page.getByRole('button', { name: `Account ${server.account}` }).waitFor();
    await page.getByText('Your own gateway to Claude.').waitFor();
    await page.reload();
    await page.getByText('Your own gateway to Claude.').waitFor();
    expect(await page.evaluate(() => [Object.keys(localStorage), document.cookie])).toEqual([[], '']);
    const other = await page.context().newPage();
    await other.goto(server.url);
    await other.getByRole('heading', { name: 'Enter your token' }).waitFor();
    await close();
  });

  test('opens without a list of models, explains why, and retries', async () => {
    let isDead = true;
    const before = async (first: Page) => {
      const context = first.context();
      const since = '2026-11-26T08:00:00.000Z';
      let healths = 0;
      await context.route(`${server.url}/health`, async (route) => {
        healths += 1;
        // Only the list has let the edge hear of it.
        const told = healths > 1 ? { status: 'degraded', since, todo: 'Put a valid key in ANTHROPIC_API_KEY.' } : {};
        await route.fulfill({ json: { status: 'ok', upstream: 'anthropic', plugins: ['transfer'], ...told } });
      });
      await context.route(`${server.url}/models?*`, async (route) => {
        const error = { type: 'api_error', message: 'The upstream rejected this deployment.' };
        if (isDead) await route.fulfill({ status: 500, json: { type: 'error', error } });
        else await route.continue();
      });
    };
    const look = { ...ISOLATED_OPTIONS, colorScheme: 'dark' as const, viewport: { width: 360, height: 740 } };
    const { page, close } = await openPage(server.browser, server.url, look, { before, token: server.token });
    await page.getByLabel('Key rejected').getByText('Put a valid key in ANTHROPIC_API_KEY.').waitFor();
    const fault = page.getByRole('alert').filter({ hasText: 'The models cannot be listed now.' });
    await fault.waitFor();
    await page.getByRole('textbox', { name: 'Message' }).fill('Hello?');
    expect(await page.getByRole('button', { name: 'Send', exact: true }).isDisabled()).toBe(true);
    expect(await findBarriers(page)).toEqual([]);
    await page.getByRole('link', { name: 'Budget' }).click();
    await page.getByRole('heading', { name: 'Budget' }).waitFor();
    await page.getByRole('link', { name: 'Chat' }).click();
    isDead = false;
    await fault.getByRole('button', { name: 'Try again' }).click();
    await expect.poll(() => fault.count()).toBe(0);
    const send = page.getByRole('button', { name: 'Send', exact: true });
    await send.click();
    const answers = page.getByRole('toolbar', { name: 'Actions' }).getByRole('button', { name: 'Regenerate' });
    await answers.waitFor();
    // A conversation that has an answer asks the model of that one.
    const asked = await page.getByRole('combobox', { name: 'Model' }).inputValue();
    isDead = true;
    await page.reload();
    await fault.waitFor();
    await answers.waitFor();
    expect(await page.getByRole('combobox', { name: 'Model' }).inputValue()).toBe(asked);
    await page.getByRole('textbox', { name: 'Message' }).fill('And now?');
    await send.click();
    await expect.poll(() => answers.count()).toBe(2);
    await close();
  });
});
