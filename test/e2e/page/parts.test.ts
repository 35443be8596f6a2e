import { gzipSync } from 'node:zlib';
import type { Page, Response } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import {
  askQuestion,
  lastAnswerOf,
  openPage,
  openServedPage,
  setSimulatorFaults,
  waitForAnswer,
} from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';
import { createToken } from '#test/support/tokens.ts';

const PARTS = ['chat', 'classify', 'agents', 'budget', 'wire'] as const;
const NARROW = { width: 360, height: 640 };

describe.skipIf(isBrowserMissing())('The parts of the page, in Chromium', () => {
  const server = openServedPage();
  const admins = openServedPage(['admin']);

  test('include a form that classifies a text and stores a classifier', async () => {
    const { page, faults, close } = await server.open('/#/classify');
    const result = page.getByRole('region', { name: 'Result' });
    await page.getByRole('button', { name: 'A support ticket' }).click();
    await result.getByText('billing').waitFor();
    await result
      .getByText(/\$0\.000\d+/)
      .first()
      .waitFor();
    await page.getByRole('button', { name: 'Several topics at once' }).click();
    await result.getByText('breakfast').waitFor();
    await page.getByRole('textbox', { name: 'Name of the classifier' }).fill('topics');
    await page.getByRole('button', { name: 'Store labels' }).click();
    await expect.poll(() => page.getByRole('combobox', { name: 'Classifier' }).inputValue()).toBe('topics');
    expect(await (await server.client.fetch('/classifiers/topics')).text()).toContain('breakfast');
    await page.getByRole('button', { name: 'A ticket with a schema' }).click();
    await result.locator('pre').getByText('"requires_human"').waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  test.each(Object.entries(FIRST_SCHEMAS))(
    'show the whole object for a schema with %s, and for a stored classifier with that schema',
    async (kind, { schema, property }) => {
      await server.runInPage(async ({ page }) => {
        await page.goto(`${server.url}/#/classify`);
        const result = page.getByRole('region', { name: 'Result' });
        const input = 'I was charged twice: billing. A high priority, now!';
        await page.getByRole('textbox', { name: 'Text' }).fill(input);
        await page.getByRole('textbox', { name: 'Labels, or a JSON schema' }).fill(JSON.stringify(schema));
        await page.getByRole('button', { name: 'Classify', exact: true }).click();
        await result.locator('pre').waitFor();
        const { output } = await server.client.classify({ schema, input });
        expect(Object.keys(output ?? {})).toEqual(
          expect.arrayContaining((schema.required as string[] | undefined) ?? []),
        );
        const shown = JSON.stringify(output, undefined, 2);
        expect(await result.locator('pre').textContent()).toBe(shown);
        // A model may leave out a property that is not required. Then there is no label.
        expect(await result.locator('strong').allTextContents()).toEqual(
          output && property in output ? [output[property]] : [],
        );
        const name = kind.replaceAll(/\W+/g, '-');
        await page.getByRole('textbox', { name: 'Name of the classifier' }).fill(name);
        await page.getByRole('button', { name: 'Store labels' }).click();
        await expect.poll(() => page.getByRole('combobox', { name: 'Classifier' }).inputValue()).toBe(name);
        await page.getByRole('button', { name: 'Classify', exact: true }).click();
        await expect.poll(() => result.getAttribute('data-outdated')).toBe('false');
        await expect.poll(() => result.locator('pre').textContent()).toBe(shown);
      });
    },
  );

  test('each empty part offers a working example', async () => {
    const offers: [path: string, name: string, shows: RegExp][] = [
      ['classify', 'Try it with a ticket', /Classified by/],
      ['wire', 'Ask a short question', /^Copy as curl$/],
      ['budget', 'Ask a short question', /^\$0\.\d+ in 14 days/],
    ];
    await server.runInPage(async ({ page }) => {
      for (const [path, name, shows] of offers) {
        // Somebody who has asked nothing yet.
        const token = await createToken(`${server.account}-new-to-${path}`, ['messages', 'classify']);
        await page.evaluate((own) => sessionStorage.setItem('sluice-token', own), token);
        await page.goto(`${server.url}/#/${path}`);
        await page.reload();
        await page.getByRole('button', { name }).click();
        await page.getByText(shows).first().waitFor();
      }
    });
  });

  test('on a phone, the header links to the docs, and a Budget view does not scroll beyond its content', () =>
    admins.runInPage(
      async ({ page }) => {
        const docs = page.getByRole('banner').getByRole('link', { name: 'Docs' });
        const box = await docs.boundingBox();
        expect(box?.x).toBeGreaterThanOrEqual(0);
        expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(NARROW.width);
        await page.locator('.parts a[href="#/budget"]').click();
        await page.getByRole('tab', { name: 'Accounts' }).click();
        await page.getByRole('combobox', { name: 'Name' }).fill(admins.account);
        await page.getByRole('button', { name: 'Open', exact: true }).click();
        await page.getByRole('button', { name: /^Create a token/ }).click();
        await page.getByRole('button', { name: 'Revoke' }).first().waitFor();
        // Nothing scrolls but the part itself, and that not beyond what it shows.
        const room = await page.evaluate(() => {
          const main = document.querySelector('main');
          main?.scrollTo(0, main.scrollHeight);
          scrollTo(0, document.documentElement.scrollHeight);
          const ends = [...document.querySelectorAll('main section')].map((one) => one.getBoundingClientRect().bottom);
          return { window: scrollY, below: innerHeight - Math.max(...ends) };
        });
        expect(room.window).toBe(0);
        expect(room.below).toBeGreaterThanOrEqual(0);
        expect(room.below).toBeLessThan(100);
      },
      '/',
      { viewport: NARROW },
    ));

  test('an admin limits an account and creates its token, and the account sees its spending and why a request is rejected', async () => {
    const ada = `ada-of-${admins.account}`;
    const admin = await admins.open('/#/budget/accounts');
    await admin.page.getByRole('combobox', { name: 'Name' }).fill(ada);
    await admin.page.getByRole('button', { name: 'Open', exact: true }).click();
    await admin.page.getByRole('combobox', { name: 'Add a limit' }).selectOption('usd_per_day');
    await admin.page.getByRole('button', { name: 'Add the chosen limit' }).click();
    const limit = async (usd: string) => {
      await admin.page.getByRole('spinbutton', { name: 'Dollars per day' }).fill(usd);
      await admin.page.getByRole('button', { name: 'Save limits' }).click();
      await admin.page.getByText(`of $${usd}`).waitFor();
    };
    await limit('0.05');
    await admin.page.getByRole('button', { name: `Create a token for ${ada}` }).click();
    const token = (await admin.page.locator('.minted code').textContent()) ?? '';

    const { page, faults, close } = await openPage(server.browser, server.url, undefined, { token });
    await page.getByRole('button', { name: `Account ${ada}` }).waitFor();
    // It runs until it is stopped.
    await setSimulatorFaults(page, 'silence-after=40');
    await askQuestion(page, 'Explain in 1,000 words what a budget is.');
    await lastAnswerOf(page).locator('.markdown').waitFor();
    const asked = page.url().split('/').at(-1) ?? '';
    await page.getByRole('link', { name: 'Budget', exact: true }).click();
    const today = page.locator('.gauge').first();
    await page.getByText('1 request is running.').waitFor();
    // An account that is no admin's has no list of accounts.
    await expect.poll(() => page.getByRole('tab').allTextContents()).toEqual(['Overview', 'Requests']);
    await page.getByRole('tab', { name: 'Requests' }).click();
    await page.getByRole('cell', { name: 'running' }).waitFor();
    await createClient({ baseURL: server.url, token }).conversations.stop(decodeURIComponent(asked));
    await setSimulatorFaults(page);
    await page.getByRole('tab', { name: 'Overview' }).click();
    await expect.poll(() => today.locator('strong').textContent()).toMatch(/\$0\.00\d+$/);
    await expect.poll(() => page.getByText('1 request is running.').count()).toBe(0);
    const chart = page.getByRole('table', { name: /per day and model/ });
    await chart.waitFor();
    // Today's column is the highest, since it is the only one.
    const heights = await chart.locator('td').evaluateAll((cells) => cells.map((cell) => cell.clientHeight));
    expect(heights.at(-1)).toBeGreaterThan(100);
    expect(Math.max(...heights.slice(0, -1))).toBe(0);
    expect(faults).toEqual([]);

    await limit('0.0001');
    await page.getByRole('link', { name: 'Chat', exact: true }).click();
    await page.getByRole('button', { name: 'New conversation' }).click();
    await askQuestion(page, 'In one sentence: what is ruin?');
    const why = page.getByRole('alert');
    await why.getByText('Your budget is used up.').waitFor();
    await expect.poll(() => why.textContent()).toMatch(/more than your daily limit/);
    // The browser itself notes an answer of 429 as an error, and it is the only one.
    expect(faults.filter((fault) => !/status of 429/.test(fault))).toEqual([]);
    // The question is not lost: with a budget again, it is asked again.
    await expect.poll(() => why.getByRole('button', { name: /Try again/ }).count()).toBe(0);
    await page.getByRole('article', { name: 'You' }).getByText('Not answered').waitFor();
    await limit('1');
    await why.getByRole('button', { name: 'Edit' }).click();
    await expect.poll(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toContain('ruin');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await waitForAnswer(page);
    expect(admin.faults).toEqual([]);
    await close();
    await admin.close();
  });

  test.each(selectAppearances(['light', 'dark'] as const))(
    'pass axe and fit a narrow window (%s)',
    async (colorScheme) => {
      const { page, faults, close } = await admins.open('/', { viewport: NARROW, colorScheme });
      const check = async (what: string) => {
        expect(await findBarriers(page), what).toEqual([]);
        expect(await beside(page), what).toBe(0);
      };
      await page.getByText('Your own gateway to Claude.').waitFor();
      await check('welcome');
      await askQuestion(
        page,
        'In one sentence: what is a lock, with a_very_long_word_that_does_not_break_by_itself_anywhere_at_all?',
      );
      await waitForAnswer(page);
      await page.getByRole('button', { name: 'Conversations' }).click();
      await check('list');
      await page.getByRole('button', { name: 'Close the list' }).click();
      for (const part of PARTS) {
        await page.locator(`.parts a[href="#/${part}"]`).click();
        // The heading of the part before may still be there, and then none while the code of this one is loaded. The chat's is
        // the title of its conversation.
        await page
          .getByRole('heading', {
            level: 1,
            ...(part === 'chat' ? {} : { name: part === 'wire' ? 'Inspector' : part }),
          })
          .waitFor();
        if (part === 'budget') await page.getByRole('row').nth(1).waitFor();
        await check(part);
      }
      await page.locator('.parts a[href="#/budget"]').click();
      for (const view of selectAppearances(['Accounts', 'Overview', 'Requests', 'Webhooks'])) {
        await page.getByRole('tab', { name: view }).click();
        if (view === 'Requests') {
          await check('Requests of an account');
          await page.getByRole('button', { name: 'All accounts' }).click();
          for (const outcome of ['Failed', 'Rejected']) {
            await page.getByRole('button', { name: outcome, exact: true }).click();
            await check(`${outcome} requests`);
          }
        }
        await check(view);
      }
      await page.locator('.parts a[href="#/wire"]').click();
      await page.setViewportSize({ width: 1280, height: 800 });
      await check('wire, wide');
      expect(faults).toEqual([]);
      await close();
    },
  );

  test('can be used with the keyboard only, with a visible focus', async () => {
    const { page, faults, close } = await server.open();
    await page.getByText('Your own gateway to Claude.').waitFor();
    // One can type at once.
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe('draft');
    await page.getByRole('link', { name: 'Sluice' }).focus();
    await page.keyboard.press('Shift+Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe('Skip to content');
    await page.keyboard.press('Enter');
    const focused = () =>
      page.evaluate(() => {
        const element = document.activeElement;
        const shown = element?.closest('.field') ?? element;
        const { outlineStyle, boxShadow } = shown
          ? getComputedStyle(shown)
          : { outlineStyle: 'none', boxShadow: 'none' };
        return { id: element?.id, seen: outlineStyle !== 'none' || boxShadow !== 'none' };
      });
    const unseen: unknown[] = [];
    for (let step = 0; step < 30 && (await focused()).id !== 'draft'; step += 1) {
      await page.keyboard.press('Tab');
      if (!(await focused()).seen) unseen.push(await page.evaluate(() => document.activeElement?.outerHTML));
    }
    expect(unseen).toEqual([]);
    await page.keyboard.type('In one sentence: what is a key?');
    await page.keyboard.press('Enter');
    await waitForAnswer(page);
    expect(faults).toEqual([]);
    await close();
  });

  test('a keyboard shortcut opens a new conversation, and the actions of a conversation do not cover its title', async () => {
    const title = `A weir ${'of which the title is as long as its room '.repeat(8)}`.trim();
    await server.client.conversations.create({ id: 'a-weir', title });
    await server.runInPage(async ({ page }) => {
      await page.getByText('Your own gateway to Claude.').waitFor();
      await page.goto(`${server.url}/#/chat/a-weir`);
      await page.getByRole('heading', { level: 1, name: title }).waitFor();
      await page.keyboard.press('ControlOrMeta+Shift+O');
      await page.getByText('Your own gateway to Claude.').waitFor();

      // On a phone nothing lies on the title of a conversation.
      await page.setViewportSize({ width: 360, height: 740 });
      await page.getByRole('button', { name: 'Conversations' }).click();
      const item = page.getByRole('listitem').filter({ hasText: 'A weir' }).first();
      const text = await item.locator('.clipped').boundingBox();
      const menu = await item.getByRole('button', { name: /^Actions for/ }).boundingBox();
      expect((text?.x ?? 0) + (text?.width ?? 0)).toBeLessThanOrEqual(menu?.x ?? 0);
      await item.getByRole('button', { name: /^Actions for/ }).click();
      await page.getByText('Fork', { exact: true }).filter({ visible: true }).waitFor();
      expect(await findBarriers(page)).toEqual([]);
    });
  });

  test('load under a content security policy without unsafe sources', async () => {
    const context = await server.browser.newContext();
    const page = await context.newPage();
    const responses: Response[] = [];
    page.on('response', (response) => responses.push(response));
    const response = await page.goto(server.url);
    await page.getByText('Your own gateway to Claude.').waitFor();
    await page.waitForLoadState('networkidle');
    const sizes = await Promise.all(responses.map(async (one) => gzipSync(await one.body(), { level: 9 }).length));
    expect(sizes.length).toBeGreaterThan(5);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    process.stdout.write(`The first load takes ${(bytes / 1_000).toFixed(1)} kB, compressed.\n`);
    const headers = response?.headers() ?? {};
    expect(headers['content-security-policy']).toContain("default-src 'none'; script-src 'self'; style-src 'self';");
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
    await context.close();
  });
});

/** How much wider than its window a page is, in pixels. */
async function beside(page: Page): Promise<number> {
  return await page.evaluate(
    () => Math.max(document.documentElement.scrollWidth, document.querySelector('main')?.scrollWidth ?? 0) - innerWidth,
  );
}
