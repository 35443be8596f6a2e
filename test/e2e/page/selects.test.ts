import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import { openServedPage, waitForAnswer } from '#test/support/page.ts';

/** The views that contain selects. Options are in a popover. */
const VIEWS = [
  '#/',
  '#/classify',
  '#/agents/@new',
  '#/budget',
  '#/budget/accounts',
  '#/budget/accounts/own',
  '#/budget/groups/red',
  '#/budget/requests',
  '#/budget/webhooks/github',
  '#/wire',
];

/** Runs in the page. @returns the controls that are shown besides the selects, whose numbers and names of values differ */
function listActions(): string[] {
  const all = [
    ...document.querySelectorAll<HTMLElement>('dialog[open], input:not([type*=date]), textarea, [type=submit]'),
  ];
  return all.filter((one) => one.checkVisibility()).map((one) => `${one.tagName} ${one.getAttribute('name') ?? ''}`);
}

/** Presses the arrow keys on each closed select of a view. @returns the names of those that did more than take a value */
async function findActingSelects(page: Page): Promise<string[]> {
  const acting: string[] = [];
  const changes: string[] = [];
  page.on('request', (request) => {
    if (request.method() !== 'GET') changes.push(`${request.method()} ${request.url()}`);
  });
  const selects = page.locator('select:enabled:visible');
  for (let index = 0; index < (await selects.count()); index += 1) {
    const select = selects.nth(index);
    const before = await page.evaluate(listActions);
    const options = await select.locator('option').count();
    await select.focus();
    // One key for each option: a person on Windows or Linux looks through them this way.
    for (let press = 1; press < options; press += 1) await page.keyboard.press('ArrowDown');
    const hasFocus = await select.evaluate((element) => element === document.activeElement);
    const isLast = await select.evaluate(
      (element) => (element as HTMLSelectElement).selectedIndex === element.children.length - 1,
    );
    const name = await select.evaluate(
      (element) => element.ariaLabel ?? (element as HTMLSelectElement).labels[0]?.textContent,
    );
    const after = await page.evaluate(listActions);
    if (
      !hasFocus ||
      (options > 1 && !isLast && (await select.locator('optgroup').count()) === 0) ||
      String(after) !== String(before)
    )
      acting.push(String(name));
  }
  return [...acting, ...changes];
}

describe.skipIf(isBrowserMissing())('The selects of the page, in Chromium', () => {
  const server = openServedPage(['admin']);

  test('only take a value when the arrow keys are pressed on a closed one', () =>
    server.runInPage(async ({ page }) => {
      await page.getByRole('button', { name: 'Stream 200 words' }).click();
      await waitForAnswer(page);
      const acting: Record<string, string[]> = {};
      for (const view of VIEWS) {
        await page.evaluate(
          (hash) => {
            location.hash = hash;
          },
          view.replace('accounts/own', `accounts/${server.account}`),
        );
        await page.locator('main h1, main h2').first().waitFor();
        await page.waitForLoadState('networkidle');
        if (view === '#/') await page.getByRole('button', { name: 'Options' }).click();
        const found = await findActingSelects(page);
        if (found.length > 0) acting[view] = found;
        if (view === '#/') await page.keyboard.press('Escape');
      }
      expect(acting).toEqual({});
    }));
});
