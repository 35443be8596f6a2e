import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { looks } from '../../support/looks.ts';
import { servedPage } from '../../support/page.ts';

const PHONE = { viewport: { width: 360, height: 844 } };
const WIDE = { viewport: { width: 1280, height: 844 } };
const LOOKS = [PHONE, WIDE].flatMap((size) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ ...size, colorScheme })),
);

const GUIDES = [
  ['', '/budgets'],
  ['/operating', '/frontends', '/clients'],
];

// In each of them a word of the browser about its policy, or about a script, fails the test.
describe.skipIf(noBrowser())('The guides, in Chromium', () => {
  const server = servedPage();
  const { inPage } = server;

  test('have no barrier, no line that moves, nothing wider than the window, and the origin at which they are read', async () => {
    for (const options of looks(LOOKS)) {
      await inPage(
        async ({ page, shifts }) => {
          for (const guide of looks(GUIDES).flat()) {
            await page.goto(`${server.url}/docs/guides${guide}`);
            expect(await barriersOn(page), `${guide} ${JSON.stringify(options)}`).toEqual([]);
            expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(options.viewport.width);
            expect(await shifts()).toEqual({ value: 0, moved: [] });
            // An origin that is written is not named.
            expect(await page.locator('main').textContent()).not.toContain('localhost:8787');
            expect(await page.locator('a[href*="localhost:8787"]').count()).toBe(0);
            if (guide !== '/operating' && guide !== '/frontends')
              expect(await page.locator('main').textContent()).toContain(server.url);
          }
        },
        '/docs/guides',
        options,
      );
    }
  });

  test('each block of code is copied by the keyboard, which is said', () =>
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
      expect(copied).toContain(`${new URL(page.url()).origin}/accounts/alice/limits`);
    }, '/docs/guides/budgets'));

  test('on a phone a button lists them, and the theme is the one of the page, to which there is a way back', () =>
    inPage(
      async ({ page }) => {
        const budgets = page.getByRole('link', { name: 'Accounts and budgets' });
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
