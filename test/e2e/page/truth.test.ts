import { describe, expect, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import {
  askQuestion,
  ISOLATED_OPTIONS,
  lastAnswerOf,
  openServedPage,
  setSimulatorFaults,
  waitForAnswer,
} from '#test/support/page.ts';

const LONG = 'Explain in 200 words what a lock gate is.';
/** An answer that goes on for some ten seconds, and one that begins and does not end by itself. */
const [SLOW, HELD] = ['tps=20', 'silence-after=40'];

describe.skipIf(isBrowserMissing())('The page after failures, stops and changes elsewhere, in Chromium', () => {
  const server = openServedPage();
  const inPage = server.runInFailingPage;

  test('shows a countdown after a lost connection, keeps the text, and resumes the response', () =>
    inPage(async ({ page }) => {
      await setSimulatorFaults(page, SLOW);
      await askQuestion(page, LONG);
      const text = lastAnswerOf(page).locator('.markdown');
      const length = async () => ((await text.textContent().catch(() => '')) ?? '').length;
      await expect.poll(length).toBeGreaterThan(60);
      const said = (await text.textContent()) ?? '';
      // The network is gone: the open connection with it, and each new one.
      await page.context().setOffline(true);
      await page.evaluate(() => dispatchEvent(new Event('online')));
      const note = lastAnswerOf(page).getByRole('status');
      await note.getByText(/^Connection lost\. Reconnecting in \d s…$/).waitFor();
      expect((await text.textContent())?.startsWith(said.slice(0, -20))).toBe(true);
      await page.context().setOffline(false);
      await expect.poll(() => note.count()).toBe(0);
      await expect.poll(length).toBeGreaterThan(said.length + 40);
      await page.getByRole('button', { name: 'Stop' }).click();
      await waitForAnswer(page);
    }));

  test('shows what a declined answer cost, at once and after a reload', () =>
    inPage(async ({ page }) => {
      // It thinks until its tokens are used: the history then contains only the question.
      await setSimulatorFaults(page, 'stop-reason=refusal; thinking=9000');
      await askQuestion(page, 'In one sentence: what must nobody say?');
      const figures = lastAnswerOf(page).locator('.figures');
      for (const load of [() => Promise.resolve(), () => page.reload()]) {
        await load();
        await lastAnswerOf(page).getByText('Claude declined to answer.').waitFor();
        await expect.poll(() => figures.textContent()).toMatch(/^[\d,]+ in.*[\d,]+ out\$0\.0/);
      }
    }));

  test('shows a streaming response and its end in another window', () =>
    inPage(
      async ({ page }) => {
        await askQuestion(page, 'In one sentence: what is a sluice?');
        await waitForAnswer(page);
        const other = await page.context().newPage();
        await other.goto(page.url());
        await waitForAnswer(other);
        // The window that is looked at is the one that reads again.
        await page.bringToFront();
        await setSimulatorFaults(page, HELD);
        await askQuestion(page, LONG);
        const item = (window: typeof page) =>
          window.getByRole('navigation', { name: 'Conversations' }).getByRole('listitem').first();
        await item(page).getByText('answering…').waitFor();
        await other.bringToFront();
        await item(other).getByText('answering…').waitFor();
        await expect.poll(() => other.getByRole('article').count()).toBe(4);
        await other.getByRole('button', { name: 'Stop' }).click();
        await waitForAnswer(other);
        await item(other)
          .getByText(/^2 turns/)
          .first()
          .waitFor();
        await page.bringToFront();
        await waitForAnswer(page);
        await expect
          .poll(() => lastAnswerOf(other).locator('.markdown').textContent())
          .toBe(await lastAnswerOf(page).locator('.markdown').textContent());
      },
      '/',
      ISOLATED_OPTIONS,
    ));

  test('shows the text of a stopped response, and after a reload the output tokens that the ledger lists', () =>
    inPage(async ({ page }) => {
      await setSimulatorFaults(page, HELD);
      await askQuestion(page, LONG);
      const text = lastAnswerOf(page).locator('.markdown');
      await expect.poll(async () => ((await text.textContent().catch(() => '')) ?? '').length).toBeGreaterThan(100);
      await page.getByRole('button', { name: 'Stop' }).click();
      await waitForAnswer(page);
      await page.getByText('Stopped. The text so far is kept.').waitFor();
      const kept = await text.textContent();
      const figures = lastAnswerOf(page).locator('.figures');
      await expect.poll(() => figures.textContent()).toMatch(/\d+ out$/);
      // What it cost is booked once the edge has read on: from then on that is shown.
      const newest = async () => (await server.client.requests({ limit: 1 })).data[0];
      await expect.poll(newest).toMatchObject({ status: 'stopped', estimated: true });
      const booked = (await newest())?.usage.output_tokens;
      expect(booked).toBeGreaterThan(15);
      const shownAgain = async () => {
        await page.reload();
        await waitForAnswer(page);
        return Number(/([\d,]+) out/.exec((await figures.textContent()) ?? '')?.[1]?.replaceAll(',', ''));
      };
      await expect.poll(shownAgain).toBe(booked);
      expect(await text.textContent()).toBe(kept);
    }));

  test('draws spending on a labeled axis with values in tooltips, and aligns costs to the right', () =>
    inPage(async ({ page }) => {
      await askQuestion(page, 'In one sentence: what is a lock?');
      await waitForAnswer(page);
      await page.getByRole('link', { name: 'Budget', exact: true }).click();
      const spending = page.getByRole('region', { name: 'Spent per day' });
      const axis = spending.locator('.chart-axis li');
      await axis.first().waitFor();
      const ticks = (await axis.allTextContents()).map((tick) => Number(tick.slice(1)));
      expect(ticks).toEqual([ticks[0], (ticks[0] ?? 0) / 2, 0]);
      const column = spending.locator('.spend-chart tbody tr').last().locator('td').last();
      const ends = await spending.locator('.chart-axis').evaluate((list) => {
        const middles = [...list.children]
          .map((tick) => tick.getBoundingClientRect())
          .map((at) => (at.top + at.bottom) / 2);
        const body = document.querySelector('.spend-chart tbody')?.getBoundingClientRect();
        const zero = document.querySelector('.spend-chart tbody tr:last-child td')?.getBoundingClientRect();
        return [(middles.at(0) ?? 0) - (body?.top ?? 0), (middles.at(-1) ?? 0) - (zero?.bottom ?? 0)];
      });
      for (const apart of ends) expect(Math.abs(apart)).toBeLessThan(3);
      await column.hover();
      await expect
        .poll(() => column.locator('.tooltip').evaluate((tip) => getComputedStyle(tip).visibility))
        .toBe('visible');
      await expect
        .poll(() => column.locator('.tooltip').textContent())
        .toMatch(/^\d+ [A-Z][a-z]{2,3} · Claude .*: \$0\.0\d+$/);
      await page.getByRole('tab', { name: 'Requests' }).click();
      const list = page.getByRole('region', { name: 'Requests: table' });
      await list.locator('tbody tr').first().waitFor();
      const costs = list.locator('tbody td:nth-child(8)');
      // Rounded, then exactly for screen readers.
      for (const cost of await costs.allTextContents()) expect(cost).toMatch(/^(≈ )?\$0\.\d+(\$0\.\d+)?$/);
      const sides = await costs.evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell).textAlign));
      expect(new Set(sides)).toEqual(new Set(['right']));
    }));
});
