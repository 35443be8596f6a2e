import { describe, expect, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import { askQuestion, lastAnswerOf, openServedPage, setSimulatorFaults, waitForAnswer } from '#test/support/page.ts';

/** An answer that goes on for a minute: on a busy machine, looking takes seconds. Each test stops it. */
const SLOW = 'tps=6; thinking=6';
const LONG = 'Explain in 200 words what a lock gate is.';

describe.skipIf(isBrowserMissing())('Every view that shows a running stream, in Chromium', () => {
  const server = openServedPage();

  test('shows new events of a running stream in the Inspector, joined and one row for each', () =>
    server.runInPage(async ({ page }) => {
      // The Inspector is loaded when it is opened first.
      await page.getByRole('link', { name: 'Inspector' }).click();
      await page.getByRole('heading', { name: 'Inspector' }).waitFor();
      await page.getByRole('link', { name: 'Chat', exact: true }).click();
      await setSimulatorFaults(page, SLOW);
      await askQuestion(page, LONG);
      await lastAnswerOf(page).locator('.markdown').waitFor();
      await page.getByRole('link', { name: 'Inspector' }).click();
      const events = page.getByRole('region', { name: 'Events' });
      const text = events.getByRole('row').filter({ hasText: 'text_delta' });
      const countDeltas = async () => Number(/× (\d+)/.exec((await text.textContent()) ?? '')?.[1] ?? 0);
      await expect.poll(countDeltas).toBeGreaterThan(0);
      const first = await countDeltas();
      await expect.poll(countDeltas).toBeGreaterThan(first + 1);
      await page.getByRole('checkbox', { name: 'One row for each delta' }).check();
      const rows = events.locator('tbody tr');
      const before = await rows.count();
      await expect.poll(() => rows.count()).toBeGreaterThan(before + 1);
      // The facts above count the same events; the first row of the table is that of the headers.
      const counted = page.locator('main dl').first().getByText(/^\d+$/).last();
      await expect
        .poll(async () => Number(await counted.textContent()) - (await rows.count()))
        .toBeGreaterThanOrEqual(-1);
      await page.goBack();
      await page.getByRole('button', { name: 'Stop' }).click();
      await waitForAnswer(page);
    }));

  test('shows new text, thinking and steps in the chat', () =>
    server.runInPage(async ({ page }) => {
      await setSimulatorFaults(page, 'tps=20; thinking=20');
      await page.getByRole('button', { name: 'Let Sluice call tools' }).click();
      const steps = lastAnswerOf(page).locator('.run-step');
      await expect.poll(() => steps.count()).toBe(1);
      await expect.poll(() => steps.locator('.edge-call').count()).toBe(2);
      await expect.poll(() => steps.count()).toBe(2);
      await waitForAnswer(page);
      await askQuestion(page, LONG);
      const text = lastAnswerOf(page).locator('.markdown').last();
      const measure = async () => ((await text.textContent().catch(() => '')) ?? '').length;
      await expect.poll(measure).toBeGreaterThan(20);
      const first = await measure();
      await expect.poll(measure).toBeGreaterThan(first + 40);
      await page.getByRole('button', { name: 'Stop' }).click();
      await waitForAnswer(page);
    }));
});
