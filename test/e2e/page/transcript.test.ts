import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { askWithAnswer, ISOLATED_OPTIONS, lastAnswerOf, openServedPage } from '#test/support/page.ts';

/** Bytes a second: 400 kbit. */
const SLOW = 50_000;

describe.skipIf(isBrowserMissing())('The transcript, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  test('shows formulas, and loads their script, style and fonts only with the first one', () =>
    inPage(async ({ page }) => {
      const loaded = () =>
        page.evaluate(() =>
          performance
            .getEntriesByType('resource')
            .flatMap(({ name }) => /\/(formulas-|formulas\.css|KaTeX_[A-Za-z0-9]+-[A-Za-z]+)/.exec(name)?.[1] ?? [])
            .sort(),
        );
      await askWithAnswer(page, 'It costs $5 and $6, or US$7.');
      await lastAnswerOf(page).getByText('It costs $5 and $6, or US$7.').waitFor();
      expect(await loaded()).toEqual([]);
      await askWithAnswer(page, '$E = mc^2$, \\(\\vec{a_1}\\) and\n\n$$\n\\frac{a}{b}\n$$\n\nor\n\\[\n\\sqrt{2}\n\\]');
      const display = () =>
        lastAnswerOf(page)
          .locator('math')
          .evaluateAll((all) => all.map((one) => one.getAttribute('display')));
      await expect.poll(display).toEqual([null, null, 'block', 'block']);
      const fonts = ['KaTeX_Main-Regular', 'KaTeX_Math-Italic'];
      await expect.poll(loaded).toEqual([...fonts, 'formulas-', 'formulas.css']);
      expect(await lastAnswerOf(page).locator('.mfrac').count()).toBe(1);
      // By the policy without exceptions, of which the console would tell.
      const arrow = lastAnswerOf(page).locator('.accent-body svg');
      expect(await arrow.evaluate((one) => one.getBoundingClientRect().width)).toBeLessThan(12);
      expect(await findBarriers(page)).toEqual([]);
    }));

  test('scrolls a formula that is wider than a phone in its own focusable box', () =>
    inPage(
      async ({ page }) => {
        await askWithAnswer(page, `$$${'a + '.repeat(30)}b$$\n\n$$c$$`);
        const boxes = lastAnswerOf(page).getByRole('group', { name: 'Formula' });
        const stops = () => boxes.evaluateAll((all) => all.map((box) => (box as HTMLElement).tabIndex));
        await expect.poll(stops).toEqual([0, -1]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
      },
      '/',
      { viewport: { width: 360, height: 800 } },
    ));

  test('links footnotes in both directions within their message, and stays in the conversation', () =>
    inPage(async ({ page }) => {
      for (const what of ['lock', 'weir']) await askWithAnswer(page, `A ${what}.[^1]\n\n[^1]: Of the ${what}.`);
      const ids = () => page.locator('.markdown [id]').evaluateAll((all) => all.map(({ id }) => id));
      await expect.poll(async () => (await ids()).length).toBe(6);
      expect(new Set(await ids()).size).toBe(6);
      const address = page.url();
      const note = lastAnswerOf(page).getByRole('link', { name: '1', exact: true });
      await note.press('Enter');
      const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim());
      expect(await focused()).toMatch(/^Of the weir\./);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      expect(await focused()).toBe('1');
      expect(page.url()).toBe(address);
      expect(await findBarriers(page)).toEqual([]);
    }));

  test('shows a quotation from a document and its source', () =>
    inPage(async ({ page }) => {
      const sentence = 'The warranty of the lamp is two years.';
      const source = {
        type: 'text' as const,
        media_type: 'text/plain' as const,
        data: `The lamp costs 40. ${sentence}`,
      };
      await server.client.messages
        .stream({
          conversation: 'rules',
          model: 'claude-haiku-5-5',
          max_tokens: 2_048,
          messages: [
            {
              role: 'user',
              content: [
                { type: 'document', title: 'Rules', citations: { enabled: true }, source },
                { type: 'text', text: 'How long is the warranty of the lamp?' },
              ],
            },
          ],
        })
        .finalMessage();
      await page.goto(`${server.url}/#/chat/rules`);
      const quote = lastAnswerOf(page).locator('blockquote');
      await quote.getByText(sentence).waitFor();
      expect(await quote.locator('footer').textContent()).toBe('Rules');
      expect(await findBarriers(page)).toEqual([]);
    }));

  test('opens at its end, and keeps its scroll position while older messages load', () =>
    inPage(
      async ({ page, shifts }) => {
        const messages = Array.from({ length: 199 }, (_, index) => ({
          role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
          content: `Message ${index}.\n\n${'It holds the water. '.repeat(30)}`,
        }));
        await server.client.messages
          .stream({ conversation: 'long', model: 'claude-haiku-5-5', max_tokens: 50, messages })
          .finalMessage();
        // Older messages wait until the test lets them come.
        await page.addInitScript(() => {
          const asked: IdleRequestCallback[] = [];
          const idle = () => {
            for (const act of asked.splice(0)) act({ didTimeout: false, timeRemaining: () => 10 });
          };
          const requestIdleCallback = (act: IdleRequestCallback) => asked.push(act);
          Object.assign(globalThis, { requestIdleCallback, cancelIdleCallback: () => asked.splice(0), idle });
        });
        const idle = () => page.evaluate(() => (globalThis as unknown as { idle(): void }).idle());
        await page.goto('about:blank');
        await page.goto(`${server.url}/#/chat/long`);
        const last = page.getByRole('article').filter({ hasText: 'Message 198.' }).first();
        await last.waitFor();
        const count = () => page.getByRole('article').count();
        const early = await count();
        expect(early).toBeLessThan(50);
        const log = page.getByRole('log', { name: 'Messages' });
        const toEnd = () => log.evaluate((view) => Math.round(view.scrollHeight - view.scrollTop - view.clientHeight));
        await expect.poll(toEnd).toBe(0);
        await idle();
        await expect.poll(count).toBeGreaterThan(early);
        expect(await toEnd()).toBe(0);
        // In the middle, then at the very top, where a browser keeps nothing in its place by itself.
        for (const place of [0.6, 0]) {
          const before = await count();
          const oldest = await page.getByRole('article').first().elementHandle();
          const top = await log.evaluate(
            (view, [share, first]) => {
              view.scrollTop = view.scrollHeight * (share as number);
              return (first as Element).getBoundingClientRect().top;
            },
            [place, oldest] as const,
          );
          if (place > 0) await idle();
          await expect.poll(count).toBeGreaterThan(before);
          const now = await oldest?.evaluate((first) => first.getBoundingClientRect().top);
          expect(Math.abs((now ?? 0) - top)).toBeLessThan(1.5);
        }
        for (let tries = 0; tries < 100 && (await count()) < 200; tries += 1) await idle();
        await expect.poll(count).toBe(200);
        // As the browser's own search does, from the top.
        const isFound = await page.evaluate(() => {
          const { find } = globalThis as unknown as { find(...words: unknown[]): boolean };
          return find('Message 0.', false, false, true);
        });
        expect(isFound).toBe(true);
        expect(await shifts()).toEqual({ value: 0, moved: [] });
      },
      '/',
      ISOLATED_OPTIONS,
    ));

  test('shows a skeleton before its style and script load at 400 kbit/s, without layout shifts', () =>
    inPage(
      async ({ page, shifts }) => {
        await page.goto('about:blank');
        const session = await page.context().newCDPSession(page);
        await session.send('Network.enable');
        const bytes = { downloadThroughput: SLOW, uploadThroughput: SLOW };
        await session.send('Network.emulateNetworkConditions', { offline: false, latency: 150, ...bytes });
        // The sketch is there while these have not even begun to come.
        let release = () => {};
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        await page.route(/page\.js|style\.css/, async (route) => {
          await held;
          await route.continue();
        });
        await page.goto(server.url, { waitUntil: 'commit' });
        const painted = () => page.evaluate(() => performance.getEntriesByName('first-paint').length);
        await expect.poll(painted).toBe(1);
        const sketch = page.locator('#skeleton');
        const heights = () => sketch.locator('p').evaluateAll((lines) => lines.map((line) => line.clientHeight));
        expect(await heights()).toEqual([16, 16, 16]);
        release();
        await page.getByText('Your own gateway to Claude.').waitFor();
        await expect.poll(() => sketch.count()).toBe(0);
        expect(await shifts()).toEqual({ value: 0, moved: [] });
      },
      '/',
      ISOLATED_OPTIONS,
    ));
});
