import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { servedPage } from '../../support/page.ts';
import { sharedEdge } from '../../support/shared-start.ts';

const PHONE = { viewport: { width: 360, height: 844 } };
const WIDE = { viewport: { width: 1280, height: 844 } };
const LOOKS = [PHONE, WIDE].flatMap((size) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ ...size, colorScheme })),
);

// In each of them a word of the browser about its policy, or about a script, fails the test.
describe.skipIf(noBrowser())('The guides, in Chromium', () => {
  const shared = sharedEdge();
  const { inPage } = servedPage(async () => ({ url: await shared(), stop: async () => {} }));

  test.each(['', '/operating', '/frontends', '/clients'])(
    '%s has no barrier, no line that moves, and nothing wider than the window',
    async (guide) => {
      for (const options of LOOKS) {
        await inPage(
          async ({ page, shifts }) => {
            expect(await barriersOn(page), JSON.stringify(options)).toEqual([]);
            expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(options.viewport.width);
            expect(await shifts()).toEqual({ value: 0, moved: [] });
          },
          `/docs/guides${guide}`,
          options,
        );
      }
    },
  );

  test.each(['', '/clients', '/budgets'])(
    '%s names the origin at which it is read, and not the one that is written',
    (guide) =>
      inPage(async ({ page }) => {
        const { origin } = new URL(page.url());
        const text = await page.locator('main').textContent();
        expect(text).toContain(origin);
        expect(text).not.toContain('localhost:8787');
        expect(await page.locator('a[href*="localhost:8787"]').count()).toBe(0);
      }, `/docs/guides${guide}`),
  );

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
