import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '../../../src/client/index.ts';
import { launchBrowser, noBrowser } from '../../support/browser.ts';
import { type OpenPage, openPage } from '../../support/page.ts';
import { npmStart, type Started } from '../../support/start.ts';

const HAIKU = 'claude-haiku-5-5';

describe.skipIf(noBrowser())('Agents in the page, in Chromium', () => {
  let server: Started;
  let browser: Browser;
  let client: Client;

  beforeAll(async () => {
    const pace = ['--var', 'SIMULATOR_TTFT_MS:0', '--var', 'SIMULATOR_TOKENS_PER_SECOND:0'];
    [server, browser] = await Promise.all([npmStart(pace), launchBrowser()]);
    client = createClient({ baseURL: server.url });
  });

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  async function inPage(work: (opened: OpenPage) => Promise<void>, path: string): Promise<void> {
    const opened = await openPage(browser, server.url + path);
    try {
      await work(opened);
      expect(opened.faults).toEqual([]);
    } finally {
      await opened.close();
    }
  }

  const store = async (name: string, fields: object) =>
    await client.fetch(`/agents/${name}`, { method: 'PUT', body: { model: HAIKU, max_tokens: 200, ...fields } });

  test('are listed with their cost and last run, and open with their versions', async () => {
    await store('porter', { description: 'Opens doors', system: 'You open doors.' });
    await store('porter', { description: 'Opens gates', system: 'You open gates.', limits: { max_turns: 3 } });
    await store('idle', { description: 'Does nothing' });
    const messages = [{ role: 'user' as const, content: 'In one sentence: what is a gate?' }];
    const asked = { conversation: 'a-gate', agent: 'porter', model: HAIKU, max_tokens: 200, messages };
    await (await client.fetch('/v1/messages', { method: 'POST', body: asked })).text();
    await inPage(async ({ page }) => {
      const row = page.getByRole('row', { name: /porter/ });
      await row.getByRole('cell', { name: 'Opens gates' }).waitFor();
      await expect
        .poll(() => row.getByRole('cell').allTextContents())
        .toMatchObject([
          'Opens gates',
          '1',
          expect.stringMatching(/^\$0\.0+\d+$/),
          expect.stringMatching(/^\d\d:\d\d:\d\d$/),
        ]);
      expect(await page.getByRole('row', { name: /idle/ }).getByRole('cell').nth(1).textContent()).toBe('0');
      await page.getByRole('link', { name: 'porter' }).click();
      await page.getByRole('heading', { level: 1, name: 'porter' }).waitFor();
      await page.getByText('max_turns 3').waitFor();
      const versions = page.getByRole('region', { name: 'Versions' }).locator('tbody tr');
      await expect.poll(() => versions.count()).toBe(2);
      await versions.first().getByText('current').waitFor();
      expect(await versions.locator('td:nth-child(4)').allTextContents()).toEqual(['1', '0']);
      await page.getByRole('link', { name: 'a-gate' }).click();
      await page.getByRole('article', { name: 'You' }).getByText('what is a gate').waitFor();
    }, '/#/agents');
  });
});
