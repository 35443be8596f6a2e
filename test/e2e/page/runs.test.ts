import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { lastAnswerOf, openServedPage, waitForAnswer } from '#test/support/page.ts';

describe.skipIf(isBrowserMissing())('A run in the page, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  test('is shown as a timeline with expandable tool calls, and is unchanged after a reload', () =>
    inPage(async ({ page, shifts }) => {
      await page.getByRole('button', { name: 'Let Sluice call tools' }).click();
      const steps = lastAnswerOf(page).locator('.run-step');
      await steps.first().waitFor();
      await waitForAnswer(page);
      await expect.poll(() => steps.count()).toBe(2);
      const figures = /^Step \d[\d,]+ in.*\d+ outfirst byte after \d+.*\$0\.0/;
      await expect.poll(() => steps.nth(1).locator('.run-figures').textContent()).toMatch(figures);
      await expect.poll(() => steps.nth(0).locator('.run-figures').textContent()).toMatch(figures);
      // What a key opens moves what is below it. On a busy machine that comes too late to count as the key's doing.
      expect(await shifts()).toEqual({ value: 0, moved: [] });
      // By the keyboard alone.
      const calls = steps.nth(0).locator('.edge-call');
      await expect.poll(() => calls.locator('summary code').allTextContents()).toEqual(['edge_clock', 'edge_dice']);
      await calls.nth(1).locator('summary').focus();
      await page.keyboard.press('Enter');
      await expect.poll(() => calls.nth(1).getAttribute('open')).not.toBeNull();
      await expect
        .poll(() => calls.nth(1).locator('dl').textContent())
        .toMatch(/Input\{\s*"dice": \d+\s*\}Result\{"rolled":\[[\d,]+\]\}/);
      await expect
        .poll(() => calls.nth(1).locator('summary').textContent())
        .toMatch(/edge_dicedone\d+(\.\d+)? m?s\d+ B/);
      const shown = await steps.allTextContents();
      await page.reload();
      await waitForAnswer(page);
      await expect.poll(() => lastAnswerOf(page).locator('.run-step').allTextContents()).toEqual(shown);
      // A phone shows all figures in two lines.
      await page.setViewportSize({ width: 360, height: 740 });
      const line = steps.nth(0).locator('.run-figures');
      expect(
        await line.evaluate((box) => [box.scrollWidth - box.clientWidth, box.scrollHeight - box.clientHeight]),
      ).toEqual([0, 0]);
      expect(await findBarriers(page)).toEqual([]);
    }));

  test('shows failed calls and the reason for a pause, and continues when Continue is clicked', async () => {
    const { client } = server;
    const order = { name: 'order_bread', description: 'Orders bread.', input_schema: { type: 'object' as const } };
    const tools = [
      { ...order, run: { url: `${server.shopUrl}/closed` } },
      { name: 'edge_dice', run: 'worker' as const },
    ];
    const { id } = await client.conversations.create({
      title: 'Bread',
      model: 'claude-haiku-5-5',
      max_tokens: 500,
      tools,
    });
    const messages = [{ role: 'user' as const, content: 'Call order_bread and edge_dice, please.' }];
    await client.messages.stream({ conversation: id, messages, max_turns: 1 }).finalMessage();
    const narrow = { viewport: { width: 360, height: 740 }, colorScheme: 'dark' as const };
    await inPage(
      async ({ page }) => {
        await page.getByText('Paused: the run has reached its step limit.').waitFor();
        const failed = page.locator('.edge-call[data-state=failed]');
        await expect.poll(() => failed.locator('summary code').textContent()).toBe('order_bread');
        await failed.locator('summary').click();
        await failed.getByText('The shop is closed.').waitFor();
        const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
        expect(isWide).toBe(false);
        await page.getByRole('button', { name: 'Continue' }).click();
        await expect.poll(() => page.getByRole('article', { name: 'Answer' }).count()).toBe(2);
        await waitForAnswer(page);
        await expect.poll(() => page.getByRole('button', { name: 'Continue' }).count()).toBe(0);
      },
      `/#/chat/${id}`,
      narrow,
    );
    const { data } = await client.conversations.messages(id, { view: 'shown' });
    expect(data.map(({ role, paused }) => [role, paused])).toEqual([
      ['user', null],
      ['assistant', 'max_turns'],
      ['assistant', null],
    ]);
  });
});
