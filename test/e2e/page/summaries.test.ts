import type { Locator, Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { ConversationSummary } from '#client/index.ts';
import { REFUSAL_TRIGGER } from '#simulator/answer/answer.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { askQuestion, lastAnswerOf, openServedPage, waitForAnswer } from '#test/support/page.ts';

const MODEL = 'claude-haiku-5-5';
const SUMMARIZED = { max_tokens: 1_500, strategy: 'summarize' as const };
const DIE = { name: 'edge_dice', run: 'worker' as const };
const LINE = /^Summarized up to here · \$0\.0\d+$/;

const long = (n: number) =>
  `Remember that box ${n} has the number ${1_000 + n}. ${'And so on, as before. '.repeat(30)}`;

describe.skipIf(isBrowserMissing())('Summaries in the chat, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  const create = async (history: object, tools?: object[]) => {
    const fields = { title: 'Boxes', model: MODEL, max_tokens: 100, history: { ...SUMMARIZED, ...history } };
    return (await server.client.conversations.create({ ...fields, ...(tools && { tools: tools as never }) })).id;
  };

  const say = async (id: string, content: string) =>
    await server.client.messages.stream({ conversation: id, messages: [{ role: 'user', content }] }).finalMessage();

  /** Goes on until there are so many summaries. @returns them */
  const sayUntil = async (id: string, count: number, said: (n: number) => string = long) => {
    let summaries: ConversationSummary[] = [];
    for (let n = 0; summaries.length < count && n < 30; n += 1) {
      await say(id, said(n));
      ({ summaries = [] } = await server.client.conversations.get(id));
    }
    expect(summaries.length).toBe(count);
    return summaries;
  };

  /** Asks in the page until something is shown. */
  const askUntil = async (page: Page, shown: Locator) => {
    const answers = page.getByRole('article', { name: 'Answer' });
    const before = await answers.count();
    for (let n = 0; (await shown.count()) === 0 && n < 30; n += 1) {
      await askQuestion(page, long(n));
      await expect.poll(() => answers.count()).toBe(before + n + 1);
      await waitForAnswer(page);
    }
    await shown.first().waitFor();
  };

  const lines = (page: Page) => page.getByRole('button', { name: LINE });

  /** @returns the ids of the shown messages, as far as one that has a line below it */
  const placesOf = (page: Page) =>
    page
      .getByRole('article')
      .evaluateAll((articles) =>
        articles.flatMap((article, index) => (article.querySelector('.summary-line') ? [index] : [])),
      );

  test('are shown as a line after the last summarized message, and expand in place by keyboard', async () => {
    const id = await create({});
    await sayUntil(id, 1);
    await inPage(
      async ({ page }) => {
        await expect.poll(() => lines(page).count()).toBe(1);
        // The next one comes without a reload, behind an answer.
        await askUntil(page, lines(page).nth(1));
        const { conversations } = server.client;
        const { summaries = [] } = await conversations.get(id);
        const { data } = await conversations.messages(id, { view: 'shown', limit: 1_000 });
        expect(await placesOf(page)).toEqual(
          summaries.map(({ until_shown }) => data.findIndex((row) => row.id === until_shown)),
        );
        const line = lines(page).last();
        // At the end, where the view follows what grows: not what is opened by hand.
        await page.getByRole('log').evaluate((log) => log.scrollTo(0, log.scrollHeight));
        await line.focus();
        const before = await line.boundingBox();
        await page.keyboard.press('Enter');
        const text = page.getByRole('region', { name: 'Summary of the messages above' });
        await text.locator('.markdown').waitFor();
        await expect.poll(() => line.getAttribute('aria-expanded')).toBe('true');
        expect(await text.getAttribute('id')).toBe(await line.getAttribute('aria-controls'));
        expect(await line.boundingBox()).toEqual(before);
        const words = (summaries.at(-1)?.content ?? '?').slice(0, 20);
        expect(await text.textContent()).toContain(words);
        expect(await text.textContent()).toContain('Haiku');
        expect(await findBarriers(page, '.message:has(.summary-text) > :not(.message-body)')).toEqual([]);
        await page.keyboard.press('Enter');
        await expect.poll(() => text.count()).toBe(0);
        expect(await line.boundingBox()).toEqual(before);
        await lines(page).first().click();
        await text.getByText('A newer summary is now sent instead of this one.').waitFor();
      },
      `/#/chat/${id}`,
      { viewport: { width: 1280, height: 1700 } },
    );
  });

  test('are shown after the complete response of a run, also on a phone', async () => {
    const id = await create({}, [DIE]);
    const [summary] = await sayUntil(id, 1, (n) => `Call edge_dice, please. ${long(n)}`);
    expect(summary?.until_shown).not.toBe(summary?.until);
    const { data } = await server.client.conversations.messages(id, { view: 'shown', limit: 1_000 });
    await inPage(
      async ({ page }) => {
        await lines(page).waitFor();
        expect(await placesOf(page)).toEqual([data.findIndex((row) => row.id === summary?.until_shown)]);
        await lines(page).click();
        await page.getByRole('region', { name: 'Summary of the messages above' }).locator('.markdown').waitFor();
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
        expect(await findBarriers(page, '.message:has(.summary-text) > :not(.message-body)')).toEqual([]);
      },
      `/#/chat/${id}`,
      { viewport: { width: 360, height: 740 }, colorScheme: 'dark' },
    );
  });

  test('appear without layout shifts', async () => {
    const id = await create({});
    await sayUntil(id, 1);
    let isMade = false;
    await inPage(async ({ page, shifts }) => {
      // The edge as it is before the summary is made.
      await page.route(`**/conversations/${id}`, async (route) => {
        const response = await route.fetch();
        const { summaries, ...report } = (await response.json()) as Record<string, unknown>;
        await route.fulfill({ response, json: isMade ? { ...report, summaries } : report });
      });
      await page.route('**/conversations?*', async (route) => {
        const response = await route.fetch();
        const { data, ...rest } = (await response.json()) as { data: { cost_usd: number }[] };
        const rows = data.map((row) => ({ ...row, cost_usd: row.cost_usd + Number(isMade) }));
        await route.fulfill({ response, json: { data: rows, ...rest } });
      });
      await page.reload();
      await waitForAnswer(page);
      const known = () => page.waitForResponse(/\/conversations\?/);
      const [listed] = await Promise.all([known(), anotherWindow(page)]);
      await listed.finished();
      const boxes = () =>
        page.getByRole('article').evaluateAll((all) => all.map((one) => JSON.stringify(one.getBoundingClientRect())));
      const before = await boxes();
      expect(await lines(page).count()).toBe(0);
      isMade = true;
      await anotherWindow(page);
      await lines(page).waitFor();
      expect(await boxes()).toEqual(before);
      expect(await shifts()).toEqual({ value: 0, moved: [] });
    }, `/#/chat/${id}`);
  });

  test('are replaced by a note about the omitted turns if none could be created', async () => {
    await server.client.prefixes.put('boxes', { system: 'You know all boxes.' });
    const { id } = await server.client.conversations.create({
      title: 'Boxes',
      model: MODEL,
      max_tokens: 100,
      prefix: 'boxes',
      history: { ...SUMMARIZED, instructions: REFUSAL_TRIGGER },
    });
    const remark = 'Generated without the oldest turns of the conversation';
    await inPage(async ({ page }) => {
      await page.getByText('No messages yet.').waitFor();
      await askUntil(page, page.getByText(remark));
      await lastAnswerOf(page).getByText(remark).waitFor();
      expect(await lines(page).count()).toBe(0);
    }, `/#/chat/${id}`);
  });
});

/** Has the page look for what has changed, as if it had changed in another window. */
async function anotherWindow(page: Page): Promise<void> {
  await page.evaluate(() => new BroadcastChannel('sluice').postMessage('changed'));
}
