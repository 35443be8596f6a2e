import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import {
  askQuestion,
  askWithAnswer,
  lastAnswerOf,
  openServedPage,
  setSimulatorFaults,
  waitForAnswer,
} from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';

const LONG = 'Explain in 400 words what a lock gate is.';
const PHONE = { viewport: { width: 390, height: 844 } };

describe.skipIf(isBrowserMissing())('The layout of the chat, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  const edges = (page: Page, selector: string) =>
    page.locator(selector).evaluate((element) => {
      const { left, right } = element.getBoundingClientRect();
      return [Math.round(left), Math.round(right)];
    });

  const SIZES = [
    ['as narrow as the column', { viewport: { width: 1060, height: 640 } }],
    ['wide', { viewport: { width: 1280, height: 640 } }],
    ['on a phone', PHONE],
  ] as const;

  test.each(selectAppearances(SIZES))(
    'aligns the title, the response and the composer in one column (%s)',
    (_, options) =>
      inPage(
        async ({ page }) => {
          await askQuestion(page, 'Explain in 170 words what a lock gate is.');
          await waitForAnswer(page);
          const column = await edges(page, '.message.assistant');
          const head = await edges(page, '.talk-head .column');
          const field = await edges(page, '.field');
          for (const [left, right] of [head, field]) {
            expect(Math.abs((left ?? 0) - (column[0] ?? 0))).toBeLessThanOrEqual(4);
            expect(Math.abs((right ?? 0) - (column[1] ?? 0))).toBeLessThanOrEqual(4);
          }
        },
        '/',
        options,
      ),
  );

  test('shows a caret while a response streams; Escape closes the options first, and then stops the response', () =>
    inPage(async ({ page }) => {
      await setSimulatorFaults(page, 'silence-after=40');
      await askQuestion(page, LONG);
      const caret = () =>
        lastAnswerOf(page)
          .locator('.prose p')
          .last()
          .evaluate((element) => {
            const { content, top } = getComputedStyle(element, '::after');
            const frame = element.closest('.markdown')?.getBoundingClientRect();
            return { there: content === '""', within: Number.parseFloat(top) < (frame?.height ?? 0) };
          });
      await lastAnswerOf(page).locator('.prose p').last().waitFor();
      // Each piece of text is a new paragraph, which has no style once it is replaced.
      await expect.poll(caret).toEqual({ there: true, within: true });
      await page.getByRole('textbox', { name: 'Message' }).focus();
      const options = page.getByRole('button', { name: 'Options' });
      const thinking = page.getByLabel('Thinking');
      await expect.poll(() => thinking.isVisible()).toBe(false);
      // Attach, model, options: what is between the text and the button that sends it.
      for (const _ of [1, 2, 3]) await page.keyboard.press('Tab');
      expect(await options.evaluate((element) => element === document.activeElement)).toBe(true);
      await page.keyboard.press('Enter');
      await thinking.selectOption('On');
      await options.getByText('1').waitFor();
      const [panel, button] = await Promise.all([
        page.locator('.popover:popover-open').boundingBox(),
        options.boundingBox(),
      ]);
      expect((panel?.y ?? 0) + (panel?.height ?? 0)).toBeLessThanOrEqual(button?.y ?? 0);
      await page.keyboard.press('Escape');
      await thinking.waitFor({ state: 'hidden' });
      expect(await page.getByRole('button', { name: 'Stop' }).count()).toBe(1);
      await page.keyboard.press('Escape');
      await page.getByText('Stopped. The text so far is kept.').waitFor();
      await expect.poll(async () => (await caret()).there).toBe(false);
    }));

  const SMALL = [
    [360, 180],
    [640, 240],
  ] as const;

  test.each(selectAppearances(SMALL))(
    'a window of %i × 400 has more than %i pixels for the conversation',
    (width, least) =>
      inPage(
        async ({ page, shifts }) => {
          await askQuestion(page, LONG);
          await waitForAnswer(page);
          const frame = await page.locator('.transcript-frame').boundingBox();
          expect(frame?.height).toBeGreaterThan(least);
          for (const name of ['Options', 'Send', 'Conversations'])
            expect(await page.getByRole('button', { name, exact: true }).isVisible()).toBe(true);
          expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
          expect(await shifts()).toEqual({ value: 0, moved: [] });
        },
        '/',
        { viewport: { width, height: 400 } },
      ),
  );

  test('scrolls a wide table without breaking its words, and shows checked items', () =>
    inPage(
      async ({ page }) => {
        const words = ['Incomprehensibilities', 'Exactness', 'Internationalization', 'Straightforwardness'];
        const table = `| ${words.join(' | ')} |\n|${'---|'.repeat(words.length)}\n| ${words.join(' | ')} |`;
        await askWithAnswer(page, `${table}\n\n- [x] Build the gate\n- [ ] Open it`);
        const cells = lastAnswerOf(page).getByRole('cell');
        // Of a broken word some letters stand on a second line.
        const lines = await cells.evaluateAll((all) =>
          all.map((cell) => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return range.getClientRects().length;
          }),
        );
        expect(lines).toEqual([1, 1, 1, 1]);
        const box = lastAnswerOf(page).getByRole('group', { name: `Table: ${words[0]}` });
        const [inner, outer] = await box.evaluate((element) => [element.scrollWidth, element.clientWidth]);
        expect(inner).toBeGreaterThan(outer ?? 0);
        // By the keyboard as well, which stops at no table that is wide enough.
        await expect.poll(() => box.getAttribute('tabindex')).toBe('0');
        await box.focus();
        await page.keyboard.press('ArrowRight');
        await expect.poll(() => box.evaluate((element) => element.scrollLeft)).toBeGreaterThan(0);
        expect(await findBarriers(page)).toEqual([]);
        await page.setViewportSize({ width: 1_280, height: 844 });
        await expect.poll(() => box.getAttribute('tabindex')).toBeNull();
        await page.setViewportSize(PHONE.viewport);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(PHONE.viewport.width);
        await expect
          .poll(() => lastAnswerOf(page).getByRole('listitem').allTextContents())
          .toEqual(['☑ Build the gate', '☐ Open it']);
      },
      '/',
      PHONE,
    ));

  test('has touch targets that are at least 44 pixels high', () =>
    inPage(
      async ({ page }) => {
        const tooSmall = () =>
          page.evaluate((least) => {
            const all = document.querySelectorAll('button, select, input, textarea, summary, nav a, .top a');
            const pressed = [...all].map((one) =>
              one.matches('[type=checkbox]') ? (one.closest('label') ?? one) : one,
            );
            return pressed
              .filter((one) => one.checkVisibility({ visibilityProperty: true }))
              .map((one) => ({ html: one.outerHTML.slice(0, 90), box: one.getBoundingClientRect() }))
              .filter(({ box }) => box.height < least && box.bottom > 0)
              .map(({ html, box }) => `${box.height} ${html}`);
          }, 44);
        await askWithAnswer(page, 'So:\n\n```ts\nopen();\n```');
        await expect.poll(tooSmall).toEqual([]);
        for (const word of ['Copy', 'Regenerate', 'Fork'])
          await lastAnswerOf(page).locator('.toolbar').getByText(word, { exact: true }).waitFor();
        await page.getByRole('button', { name: 'Options' }).click();
        await expect.poll(tooSmall).toEqual([]);
        // What has opened is within the window.
        const box = await page.locator('.popover:popover-open').boundingBox();
        expect(box?.x).toBeGreaterThanOrEqual(0);
        expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(PHONE.viewport.width);
        expect(box?.y).toBeGreaterThanOrEqual(0);
        await page.keyboard.press('Escape');
        await page.getByRole('button', { name: 'Conversations' }).click();
        await expect.poll(tooSmall).toEqual([]);
        await page.getByRole('button', { name: 'Close the list' }).click();
        for (const part of ['Classify', 'Agents', 'Budget', 'Inspector']) {
          await page.getByRole('link', { name: part, exact: true }).click();
          await page.getByRole('heading', { level: 1, name: part }).waitFor();
          if (part === 'Budget') await page.getByRole('row').nth(1).waitFor();
          await expect.poll(tooSmall, { message: part }).toEqual([]);
        }
      },
      '/',
      { ...PHONE, hasTouch: true, isMobile: true },
    ));

  test('shows message actions on hover, and always for the last response, as one tab stop', () =>
    inPage(async ({ page }) => {
      await askQuestion(page, 'In one sentence: what is a weir?');
      await waitForAnswer(page);
      await page.mouse.move(0, 0);
      const bars = page.locator('.message .toolbar');
      const opacity = (index: number) => bars.nth(index).evaluate((bar) => getComputedStyle(bar).opacity);
      await expect.poll(() => opacity(1)).toBe('1');
      await expect.poll(() => opacity(0)).toBe('0');
      await page.getByRole('article', { name: 'You' }).hover();
      await expect.poll(() => opacity(0)).toBe('1');
      const stops = await bars.nth(1).evaluate((bar) => bar.querySelectorAll('[tabindex="0"]').length);
      expect(stops).toBe(1);
      await bars.nth(1).getByRole('button').first().focus();
      await page.keyboard.press('ArrowRight');
      const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label'));
      expect(await focused()).toBe('Regenerate');
      await page.keyboard.press('ArrowLeft');
      expect(await focused()).toBe('Copy');
    }));

  test('groups conversations by day, searches their titles, and titles untitled ones by their first message', () =>
    inPage(async ({ page }) => {
      const { client } = server;
      const messages = [{ role: 'user' as const, content: 'Why do herons stand on one leg?' }];
      const model = 'claude-haiku-5-5';
      await client.messages.stream({ conversation: 'of-an-sdk', model, max_tokens: 50, messages }).finalMessage();
      await client.conversations.create({ id: 'a-mill', title: 'A mill' });
      await page.reload();
      const list = page.getByRole('navigation', { name: 'Conversations' });
      const today = list.getByRole('region', { name: 'Today' });
      await today.getByRole('link', { name: /Why do herons stand on one leg\?/ }).waitFor();
      await list.getByRole('searchbox', { name: 'Search conversations' }).fill('leg HERONS');
      await expect.poll(() => list.getByRole('listitem').count()).toBe(1);
      await list.getByRole('link', { name: /herons/ }).click();
      await page.getByRole('heading', { level: 1, name: 'Why do herons stand on one leg?' }).waitFor();
      await list.getByRole('searchbox').fill('nothing of the kind');
      await list.getByText('No title matches.').waitFor();
    }));
});
