import { describe, expect, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import { focusedNameOf } from '#test/support/operator-page.ts';
import { ISOLATED_OPTIONS, type OpenPage, openServedPage } from '#test/support/page.ts';
import { createToken } from '#test/support/tokens.ts';

describe.skipIf(isBrowserMissing())('Deleting conversations on the page, in Chromium', () => {
  const server = openServedPage();

  /** Opens the page with three conversations of a test, whose rows stand in the list, newest first. */
  const withThree = async (name: string, work: (at: Awaited<ReturnType<typeof openedAt>>) => Promise<void>) => {
    for (const n of [1, 2, 3]) await server.client.conversations.create({ id: `${name}-${n}`, title: `${name} ${n}` });
    await server.runInPage(async ({ page }) => await work(await openedAt(page, name)), '/', ISOLATED_OPTIONS);
  };
  const openedAt = async (page: OpenPage['page'], name: string) => {
    const list = page.getByRole('navigation', { name: 'Conversations' });
    const rows = list.getByRole('listitem').filter({ hasText: name });
    await expect.poll(() => rows.count()).toBe(3);
    const stored = async () => {
      const { data } = await server.client.conversations.list({ limit: 100 });
      return data.flatMap(({ id }) => (id.startsWith(name) ? [id] : [])).sort();
    };
    return { page, rows, removed: rows.and(list.locator('[data-removed]')), stored };
  };

  test('a double click on Delete marks one row, moves no row, and deletes no other conversation', () =>
    withThree('weir', async ({ page, rows, removed, stored }) => {
      await page.clock.install();
      const before = await Promise.all((await rows.all()).map((row) => row.boundingBox()));
      await rows.nth(1).hover();
      await page.getByRole('button', { name: 'Actions for weir 2' }).click({ force: true });
      await page.getByRole('button', { name: 'Delete weir 2' }).dblclick();
      await expect.poll(() => removed.allTextContents()).toEqual(['weir 2Deleted. Undo']);
      expect(await Promise.all((await rows.all()).map((row) => row.boundingBox()))).toEqual(before);
      // Another removal does not end the undo of this one.
      await rows.nth(0).hover();
      await page.getByRole('button', { name: 'Actions for weir 3' }).click({ force: true });
      await page.getByRole('button', { name: 'Delete weir 3' }).dblclick();
      await expect.poll(() => removed.count()).toBe(2);
      expect(await stored()).toEqual(['weir-1', 'weir-2', 'weir-3']);
      await page.getByRole('button', { name: 'Undo deleting weir 3' }).click();
      await expect.poll(() => removed.allTextContents()).toEqual(['weir 2Deleted. Undo']);
      await page.clock.runFor(21_000);
      await expect.poll(stored).toEqual(['weir-1', 'weir-3']);
      await expect.poll(() => rows.count()).toBe(2);
    }));

  test('the keyboard moves the focus to Undo and back to the row, and the deletion is announced', () =>
    withThree('ford', async ({ page, rows, removed, stored }) => {
      await page.clock.install();
      await rows.nth(1).getByRole('link').focus();
      await page.keyboard.press('Tab');
      await expect.poll(() => focusedNameOf(page)).toBe('Actions for ford 2');
      const remove = async () => {
        await page.keyboard.press('Enter');
        await expect.poll(() => focusedNameOf(page)).toBe('Rename ford 2');
        await page.keyboard.press('ArrowUp');
        await expect.poll(() => focusedNameOf(page)).toBe('Delete ford 2');
        await page.keyboard.press('Enter');
      };
      // Escape closes the menu, and gives the focus back.
      await page.keyboard.press('Enter');
      await expect.poll(() => focusedNameOf(page)).toBe('Rename ford 2');
      await page.keyboard.press('Escape');
      await expect.poll(() => focusedNameOf(page)).toBe('Actions for ford 2');
      await remove();
      const undo = page.getByRole('button', { name: 'Undo deleting ford 2' });
      await expect.poll(() => undo.evaluate((button) => button === document.activeElement)).toBe(true);
      await page.getByRole('status').getByText('Deleted “ford 2”.').waitFor({ state: 'attached' });
      // Nobody's time runs out at the button.
      await page.clock.runFor(60_000);
      expect(await stored()).toHaveLength(3);
      await page.keyboard.press('Enter');
      await expect.poll(() => removed.count()).toBe(0);
      const link = rows.nth(1).getByRole('link');
      await expect.poll(() => link.evaluate((element) => element === document.activeElement)).toBe(true);
      await page.keyboard.press('Tab');
      await remove();
      await expect.poll(() => undo.evaluate((button) => button === document.activeElement)).toBe(true);
      await page.keyboard.press('Tab');
      await page.clock.runFor(21_000);
      await expect.poll(stored).toEqual(['ford-1', 'ford-3']);
    }));

  test('changing the token cancels pending deletions', () =>
    withThree('lock', async ({ page, removed, stored }) => {
      await page.clock.install();
      await page.getByRole('button', { name: 'Actions for lock 2' }).click({ force: true });
      await page.getByRole('button', { name: 'Delete lock 2' }).click({ force: true });
      await expect.poll(() => removed.count()).toBe(1);
      await page.getByRole('button', { name: /^Account/ }).click();
      await page
        .getByRole('dialog')
        .getByLabel('Token', { exact: true })
        .fill(await createToken(server.account));
      await page.getByRole('button', { name: 'Use this token' }).click();
      await expect.poll(() => removed.count()).toBe(0);
      await page.clock.runFor(21_000);
      expect(await stored()).toEqual(['lock-1', 'lock-2', 'lock-3']);
    }));
});
