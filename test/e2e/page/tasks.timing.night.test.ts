import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { type Edge, startEdgeWithPage } from '#test/support/edge.ts';
import { focusedNameOf, mockAccounts } from '#test/support/operator-page.ts';
import { askQuestion, openPage, waitForAnswer } from '#test/support/page.ts';
import { traceTasks } from '#test/support/trace-tasks.ts';

const MESSAGES = 1_000;
/** Pixels a second. */
const SPEED_PX = 40_000;

describe.skipIf(isBrowserMissing())('The page while its main-thread tasks are measured, in Chromium', () => {
  let server: Edge;
  let browser: Browser;

  beforeAll(async () => {
    const pace = { SIMULATOR_TTFT_MS: '20', SIMULATOR_TOKENS_PER_SECOND: '400' };
    // A browser of its own: a trace is of all that its browser does.
    [server, browser] = await Promise.all([startEdgeWithPage(pace), launchBrowser(['--mute-audio'])]);
  });

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  const text = (index: number) =>
    `Message ${index}: **locks** and \`weirs\`.\n\n| gate | level |\n| --- | --- |\n| upper | ${index} |\n\n- one\n- two\n\n\`\`\`ts\nconst level = ${index};\n\`\`\``;

  /** Stores a conversation of many messages. */
  const talk = async (conversation: string, count: number) => {
    const messages = Array.from({ length: count - 1 }, (_, index) => ({
      role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
      content: text(index),
    }));
    await createClient({ baseURL: server.url })
      .messages.stream({ conversation, model: 'claude-haiku-5-5', max_tokens: 50, messages })
      .finalMessage();
  };

  test('opens a conversation of 500 messages and loads its older messages', async () => {
    const count = 500;
    await talk('half-as-long', count);
    const { page, faults, close } = await openPage(browser, 'about:blank');
    const open = async () => {
      await page.goto('about:blank');
      await page.goto(`${server.url}/#/chat/half-as-long`);
      await page
        .getByRole('article')
        .filter({ hasText: `Message ${count - 2}:` })
        .first()
        .waitFor();
    };
    await traceTasks(page, 'opening', open);
    const openAll = async () => {
      await open();
      await expect.poll(() => page.getByRole('article').count()).toBe(count);
    };
    await traceTasks(page, 'older messages', openAll);
    expect(faults).toEqual([]);
    await close();
  });

  test('scrolls through 1,000 messages', async () => {
    await talk('long', MESSAGES);
    const { page, faults, close } = await openPage(browser, `${server.url}/#/chat/long`);
    await expect.poll(() => page.getByRole('article').count()).toBe(MESSAGES);
    await waitForAnswer(page);
    const scroller = page.getByRole('log', { name: 'Messages' });
    const top = () => scroller.evaluate((element) => element.scrollTop);
    const height = await top();
    expect(height).toBeGreaterThan(MESSAGES * 50);
    const box = await scroller.boundingBox();
    const [x, y] = [(box?.x ?? 0) + 200, (box?.y ?? 0) + 200];
    const session = await page.context().newCDPSession(page);
    const scroll = async () => {
      // One command for all of it: whatever else the test asked of the page would be its own work in the trace.
      for (const yDistance of [height, -height]) {
        await session.send('Input.synthesizeScrollGesture', { x, y, yDistance, speed: SPEED_PX, preventFling: true });
      }
    };
    await traceTasks(page, 'scrolling', scroll);
    expect(faults).toEqual([]);
    await close();
  });

  test('streams a fast response without layout shifts', async () => {
    const { page, faults, shifts, close } = await openPage(browser, server.url);
    // What is loaded with the first answer is not the stream’s.
    await askQuestion(page, 'In one sentence: what is a weir?');
    await waitForAnswer(page);
    const before = await shifts();
    let articles = await page.getByRole('article').count();
    await traceTasks(page, 'streaming', async () => {
      await askQuestion(page, 'Explain in 1,000 words what a lock gate is.');
      articles += 2;
      await expect.poll(() => page.getByRole('article').count()).toBe(articles);
      await waitForAnswer(page);
    });
    const after = await shifts();
    expect(after.value - before.value, after.moved.slice(before.moved.length).join('\n')).toBe(0);
    expect(faults).toEqual([]);
    await close();
  });

  test('sorts, pages through and opens a thousand accounts by keyboard', async () => {
    const { page, faults, close } = await openPage(browser, 'about:blank');
    await mockAccounts(page, server.url);
    await page.goto(`${server.url}/#/budget/accounts`);
    const table = page.getByRole('region', { name: 'Accounts: table' });
    await table.getByRole('button', { name: 'account-0000' }).waitFor();
    await table.getByRole('button', { name: 'Spent this month' }).focus();
    await traceTasks(page, 'sorting', async () => {
      await page.keyboard.press('Enter');
      await table.getByRole('button', { name: 'account-0000' }).waitFor();
    });
    await expect
      .poll(() => table.getByRole('columnheader', { name: 'Spent this month' }).getAttribute('aria-sort'))
      .toBe('descending');
    await page.getByRole('navigation', { name: 'Pages of accounts' }).getByRole('button', { name: 'Next' }).focus();
    await traceTasks(page, 'pages', async () => {
      await page.keyboard.press('Enter');
      await page.getByText('Page 2').waitFor();
    });
    await table.getByRole('button', { name: 'account-0007' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => focusedNameOf(page)).toBe('Account account-0007');
    expect(faults).toEqual([]);
    await close();
  });
});
