import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { openServedPage } from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';

const PHONE = { viewport: { width: 360, height: 844 } };
const WIDE = { viewport: { width: 1280, height: 844 } };
const LOOKS = [PHONE, WIDE].flatMap((size) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ ...size, colorScheme })),
);

const GUIDES = [
  ['/guides', '/guides/budgets', ''],
  ['/guides/operating', '/guides/frontends', '/guides/clients'],
];

/** Of the reference one of each: axe takes half a minute for all of it. */
const OF_EACH_KIND = 'nav, #streamMessage, #putAgent, #schema-Limits, #error-429';

// In each of them a word of the browser about its policy, or about a script, fails the test.
describe.skipIf(isBrowserMissing())('The guides, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  test('pass axe without layout shifts, fit the window, and show the origin of the deployment', async () => {
    for (const options of selectAppearances(LOOKS)) {
      await inPage(
        async ({ page, shifts }) => {
          for (const guide of selectAppearances(GUIDES).flat()) {
            await page.goto(`${server.url}/docs${guide}`);
            expect(
              await findBarriers(page, guide === '' ? OF_EACH_KIND : undefined),
              `${guide} ${JSON.stringify(options)}`,
            ).toEqual([]);
            expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(options.viewport.width);
            expect(await shifts()).toEqual({ value: 0, moved: [] });
            // An origin that is written is not named.
            expect(await page.locator('main').textContent()).not.toContain('localhost:8787');
            expect(await page.locator('a[href*="localhost:8787"]').count()).toBe(0);
            if (guide !== '/guides/operating' && guide !== '/guides/frontends')
              expect(await page.locator('main').textContent()).toContain(server.url);
          }
        },
        '/docs/guides',
        options,
      );
    }
  });

  test('each code block can be copied with the keyboard, and the copy is announced', () =>
    inPage(async ({ page }) => {
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
      const blocks = page.locator('main pre');
      expect(await blocks.count()).toBeGreaterThan(5);
      const buttons = page.getByRole('button', { name: 'Copy' });
      expect(await buttons.count()).toBe(await blocks.count());
      await buttons.first().press('Enter');
      await page.getByRole('button', { name: 'Copied' }).waitFor();
      expect(await page.getByRole('status').textContent()).toBe('Copied');
      const copied = await page.evaluate(() => navigator.clipboard.readText());
      expect(copied).toBe(await blocks.first().textContent());
      expect(copied).toContain(`${new URL(page.url()).origin}/accounts/dana/limits`);
    }, '/docs/guides/budgets'));

  test('the reference can be searched with the keyboard, and a route links to its schemas', () =>
    inPage(
      async ({ page }) => {
        const found = page.getByRole('navigation').getByRole('link');
        expect(await found.count()).toBe(0);
        await page.getByRole('button', { name: 'All routes' }).press('Enter');
        await page.keyboard.press('Tab');
        const all = await found.count();
        expect(all).toBeGreaterThan(150);
        await page.keyboard.type('rewind');
        await expect.poll(() => found.count()).toBeLessThan(all / 10);
        await page.getByText(`${await found.count()} found`).waitFor();
        await page.keyboard.press('ControlOrMeta+A');
        await page.keyboard.type('FORK at conversation');
        await expect.poll(() => found.allTextContents()).toEqual(['POST /conversations/{id}/fork']);
        await page.keyboard.press('Enter');
        await page.waitForURL('**/docs#forkConversation');
        await page.getByRole('button', { name: 'All routes' }).waitFor();
        expect(await found.count()).toBe(0);
        const route = page.getByRole('region', { name: 'POST /conversations/{id}/fork' });
        await expect.poll(() => route.evaluate((one) => one.getBoundingClientRect().top < innerHeight)).toBe(true);
        await route.getByRole('link', { name: 'Conversation', exact: true }).click();
        await page.getByRole('region', { name: 'Conversation', exact: true }).getByText('retention_seconds').waitFor();
      },
      '/docs',
      PHONE,
    ));

  test('are listed by a button on a phone, use the theme of the page, and link back to it', () =>
    inPage(
      async ({ page }) => {
        const budgets = page.getByRole('navigation', { name: 'Guides' }).getByRole('link', { name: 'Budgets' });
        expect(await budgets.isVisible()).toBe(false);
        await page.getByRole('button', { name: 'All guides' }).press('Enter');
        await budgets.click();
        await page.waitForURL('**/docs/guides/budgets');
        const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await paper();
        await page.evaluate(() => localStorage.setItem('sluice-theme', 'dark'));
        await page.reload();
        expect(await paper()).not.toBe(light);
        await page.getByRole('link', { name: 'Sluice', exact: true }).click();
        await page.getByRole('navigation', { name: 'Parts' }).waitFor();
      },
      '/docs/guides/clients',
      { ...PHONE, colorScheme: 'light' },
    ));
});
