import type { Page } from 'playwright-core';
import { afterAll, describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { startEdgeWithPage } from '../../support/edge.ts';
import { looks } from '../../support/looks.ts';
import { ALONE, openPage, servedPage } from '../../support/page.ts';
import { type FakeUpstream, startUpstream } from '../../support/upstream.ts';

describe.skipIf(noBrowser())('Where the page cannot go on, in Chromium', () => {
  let upstream: FakeUpstream;
  /** How the upstream answers. */
  let refusal: { status: number; type: string; message: string } | undefined;
  const NO_MODELS = { data: [], has_more: false, first_id: null, last_id: null };

  const server = servedPage(['messages'], async () => {
    upstream = await startUpstream((_, response) => {
      const { status = 200, ...error } = refusal ?? {};
      const body = refusal ? { type: 'error', error } : NO_MODELS;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    const own = { UPSTREAM: 'anthropic', ANTHROPIC_BASE_URL: upstream.url, ANTHROPIC_API_KEY: 'sk-ant-of-nobody' };
    return await startEdgeWithPage(own);
  });

  afterAll(() => upstream?.stop());

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

  test('an upstream without a list of models does not lock the page', async () => {
    refusal = { status: 404, type: 'not_found_error', message: 'Not Found' };
    const { page, close } = await server.open();
    await page.getByText('Your own edge in front of Claude.').waitFor();
    const models = await page.getByRole('combobox', { name: 'Model' }).locator('option').allTextContents();
    expect(models).toContain('Claude Haiku 5.5');
    await close();
  });

  test.each([
    [
      401,
      'authentication_error',
      'invalid x-api-key',
      /does not know the key\. Put a valid one in ANTHROPIC_API_KEY\./,
    ],
    [402, 'billing_error', 'Your credit balance is too low.', /does not answer until its bill is paid\./],
    [403, 'permission_error', 'Your API key is disabled.', /knows the key, and does not allow it to be used\./],
  ])('a key that the upstream refuses with %i is told in its own words', async (status, type, message, meaning) => {
    refusal = { status, type, message };
    const { page, close } = await openPage(server.browser, server.url);
    const fault = page.getByRole('alert');
    await fault.getByText(meaning).waitFor();
    await fault.getByText(`It says (${status}): ${message}`).waitFor();
    await expect.poll(() => fault.textContent()).not.toContain('sk-ant-of-nobody');
    await fault.getByRole('button', { name: 'Try again' }).waitFor();
    await close();
  });

  test('asks for a token outside development, and keeps it for the session alone', async () => {
    refusal = undefined;
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
    await expect.poll(() => page.getByText('Simulator.').count()).toBe(0);
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
