import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import {
  askQuestion,
  askWithAnswer,
  lastAnswerOf,
  type OpenPage,
  openServedPage,
  setSimulatorFaults,
  waitForAnswer,
} from '#test/support/page.ts';

const LONG = 'Explain in 250 words what a lock gate is.';

describe.skipIf(isBrowserMissing())('Chat, in Chromium', () => {
  const server = openServedPage();
  const { runInPage: inPage } = server;

  /** The text of the last answer, once some of it is there. */
  const shown = async ({ page }: OpenPage, characters: number) => {
    const text = lastAnswerOf(page).locator('.markdown');
    await expect
      .poll(async () => (await text.textContent().catch(() => '')) ?? '')
      .toMatch(new RegExp(`.{${characters}}`, 's'));
    return text;
  };

  /** The answer that is coming, once some of it is there. */
  const begun = async (opened: OpenPage) => {
    const text = await shown(opened, 60);
    await opened.page.getByRole('button', { name: 'Stop' }).waitFor();
    return text;
  };

  /** The history of the conversation that is shown, as the edge has it. */
  const sentIn = async (page: OpenPage['page']) => {
    const id = new URL(page.url()).hash.split('/').at(-1) ?? '';
    return await server.client.conversations.messages(decodeURIComponent(id));
  };

  test('counts the tokens of a draft, and streams the response without layout shifts', () =>
    inPage(async (opened) => {
      const { page } = opened;
      await page.getByText('Simulator.').waitFor();
      await setSimulatorFaults(page, 'tps=400');
      await page.getByRole('textbox', { name: 'Message' }).fill(LONG);
      await page
        .getByText(/^\d+ tokens in \(\$[\d.]+\)$/)
        .first()
        .waitFor();
      // 4,096 tokens of output at $0.50 per million.
      await page.getByText(' · answer up to $0.00205', { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Send', exact: true }).click();
      const text = await begun(opened);
      const early = (await text.textContent()) ?? '';
      await waitForAnswer(page);
      const whole = (await text.textContent()) ?? '';
      expect(whole.length).toBeGreaterThan(early.length);
      expect(whole.startsWith(early.slice(0, -20))).toBe(true);
      await expect.poll(() => lastAnswerOf(page).locator('.figures').textContent()).toMatch(/\d+ in\d+ out$/);
      // What it has cost stands with what can be done with it.
      const cost = lastAnswerOf(page).getByRole('toolbar', { name: 'Actions' }).locator('.cost');
      await expect.poll(() => cost.textContent()).toMatch(/^\$0\.000\d+(\$0\.000\d+)?$/);
      await expect.poll(() => cost.getByTitle(/^\$0\.000\d+$/).count()).toBe(1);
      // It has grown beyond the window: who was at the end is still there.
      const scrolled = await page
        .getByRole('log')
        .evaluate((log) => [log.scrollTop, log.scrollHeight - log.scrollTop - log.clientHeight]);
      expect(scrolled[0]).toBeGreaterThan(50);
      expect(scrolled[1]).toBeLessThan(2);
      expect(await opened.shifts()).toEqual({ value: 0, moved: [] });
    }));

  test('resumes a response after a reload', () =>
    inPage(async (opened) => {
      const { page } = opened;
      // It still comes when a slow machine has loaded the page again.
      await setSimulatorFaults(page, 'tps=20');
      await askQuestion(page, LONG);
      const early = (await (await begun(opened)).textContent()) ?? '';
      await page.reload();
      await page.getByRole('article', { name: 'You' }).getByText(LONG).waitFor();
      const text = await shown(opened, early.length + 40);
      expect((await text.textContent())?.startsWith(early.slice(0, -20))).toBe(true);
      await page.getByRole('button', { name: 'Stop' }).click();
      await waitForAnswer(page);
      // It was asked once: the history has one question and one answer.
      await expect.poll(() => page.getByRole('article').count()).toBe(2);
    }));

  test('returns the focus from Stop to the message field, and lists the conversation as answered at once', () =>
    inPage(async (opened) => {
      const { page } = opened;
      // The upstream sends nothing more: the stopped turn is settled later.
      await setSimulatorFaults(page, 'silence-after=40');
      await askQuestion(page, LONG);
      await begun(opened);
      await page.getByText('Escape to stop').waitFor();
      const item = page.getByRole('navigation', { name: 'Conversations' }).getByRole('listitem').first();
      await item.getByText('answering…').waitFor();
      const message = page.getByRole('textbox', { name: 'Message' });
      await message.fill('And a weir?');
      // Attach, model, options, then the button that stops.
      for (const _ of [1, 2, 3, 4]) await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await waitForAnswer(page);
      await expect.poll(() => message.evaluate((field) => field === document.activeElement)).toBe(true);
      expect(await item.locator('.item-note').textContent()).toMatch(/^1 turn/);
      expect(await message.inputValue()).toBe('And a weir?');
    }));

  test('writes a message, its response and the draft in the direction of their script', () =>
    inPage(async ({ page }) => {
      const arabic = 'ما هو السد؟';
      await page.getByRole('textbox', { name: 'Message' }).fill(arabic);
      const directionOf = (selector: string) =>
        page.locator(selector).evaluate((element) => getComputedStyle(element).direction);
      expect(await directionOf('#draft')).toBe('rtl');
      await askWithAnswer(page, 'السد حاجز.\n\nA weir is a barrier.');
      await expect
        .poll(() =>
          lastAnswerOf(page)
            .locator('.prose')
            .evaluateAll((all) => all.map((one) => getComputedStyle(one).direction)),
        )
        .toEqual(['rtl', 'ltr']);
      await askQuestion(page, arabic);
      await waitForAnswer(page);
      expect(
        await page
          .locator('.typed')
          .last()
          .evaluate((element) => getComputedStyle(element).direction),
      ).toBe('rtl');
    }));

  test('edits and regenerates messages, and forks, renames and deletes conversations', () =>
    inPage(async ({ page }) => {
      await askQuestion(page, 'In one sentence: what is a weir?');
      await waitForAnswer(page);
      await page.getByRole('article', { name: 'You' }).getByRole('button', { name: 'Edit and ask again' }).click();
      await askQuestion(page, 'In one sentence: what is a sluice?');
      await lastAnswerOf(page).getByText('what is a sluice').waitFor();
      await waitForAnswer(page);
      await expect.poll(() => page.getByRole('article').count()).toBe(2);
      await page.getByRole('button', { name: 'Regenerate' }).click();
      await page.getByText('3/3').waitFor();
      await waitForAnswer(page);
      await expect.poll(() => page.getByRole('article').count()).toBe(2);
      // What was replaced is there, in the list it is one conversation.
      await page.getByRole('button', { name: 'Previous branch' }).click();
      await page.getByText('2/3').waitFor();
      await page.getByRole('button', { name: 'Previous branch' }).click();
      await page.getByText('1/3').waitFor();
      await page.getByRole('article', { name: 'You' }).getByText('In one sentence: what is a weir?').waitFor();
      expect(
        await page
          .getByRole('navigation', { name: 'Conversations' })
          .getByText(/what is a/)
          .count(),
      ).toBe(1);
      await page.reload();
      await page.getByText('1/3').waitFor();
      await page.getByRole('button', { name: 'Next branch' }).click();
      await page.getByText('2/3').waitFor();
      await page.getByRole('button', { name: 'Next branch' }).click();
      await page.getByText('3/3').waitFor();

      const original = page.url();
      await page.getByRole('button', { name: 'Fork from here' }).click();
      await page.waitForURL((url) => url.href !== original);
      await page.getByRole('heading', { name: /\(fork\)$/ }).waitFor();
      await askQuestion(page, 'And in one sentence: a ford?');
      await expect.poll(() => page.getByRole('article').count()).toBe(4);
      await waitForAnswer(page);

      const list = page.getByRole('navigation', { name: 'Conversations' });
      const fork = list.getByRole('listitem').filter({ hasText: '(fork)' });
      await fork.getByRole('button', { name: /^Actions for/ }).click();
      await fork.getByRole('button', { name: /^Rename/ }).click();
      await list.getByRole('textbox', { name: 'Title' }).fill('Fords');
      await page.keyboard.press('Enter');
      const renamed = list.getByRole('listitem').filter({ hasText: 'Fords' });
      await renamed.getByRole('button', { name: 'Actions for Fords' }).click();
      await renamed.getByRole('button', { name: 'Delete Fords' }).click();
      await page.getByText('Your own gateway to Claude.').waitFor();
      // What was open is opened again.
      await list.getByRole('button', { name: 'Undo' }).click();
      await page.getByRole('heading', { level: 1, name: 'Fords' }).waitFor();
      await renamed.getByRole('button', { name: 'Actions for Fords' }).click();
      await renamed.getByRole('button', { name: 'Delete Fords' }).click();
      await renamed.getByText('Deleted.').waitFor();
      // Who leaves the page does not wait for the undo to end.
      await page.reload();
      await expect.poll(async () => JSON.stringify(await server.client.conversations.list())).not.toContain('Fords');
      await page.goto(original);
      await expect.poll(() => page.getByRole('article').count()).toBe(2);
    }));

  test('keeps the previous response if its replacement is rejected', () =>
    inPage(async (opened) => {
      const { page, faults } = opened;
      await askQuestion(page, 'In one sentence: what is a canal?');
      await waitForAnswer(page);
      const said = await lastAnswerOf(page).locator('.markdown').textContent();
      const refused = { type: 'billing_error', message: 'The daily spend limit is reached.' };
      await page.route('**/messages', (route) =>
        route.request().method() === 'POST'
          ? route.fulfill({
              status: 429,
              headers: { 'content-type': 'application/json', 'x-should-retry': 'false' },
              body: JSON.stringify({ type: 'error', error: refused }),
            })
          : route.continue(),
      );
      const original = page.url();
      await page.getByRole('button', { name: 'Regenerate' }).click();
      await page.getByText('Your remaining budget is too low for this response.').waitFor();
      await expect.poll(() => page.url()).toBe(original);
      await expect.poll(() => lastAnswerOf(page).locator('.markdown').textContent()).toBe(said);
      await page.getByRole('button', { name: 'Edit and ask again' }).click();
      await askQuestion(page, 'In one sentence: what is a ditch?');
      await page.getByText('Your remaining budget is too low for this response.').first().waitFor();
      await expect.poll(() => page.url()).toBe(original);
      await expect.poll(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toContain('ditch');
      await expect.poll(() => lastAnswerOf(page).locator('.markdown').textContent()).toBe(said);
      expect(faults.splice(0).every((fault) => fault.includes('429'))).toBe(true);
    }));

  test('highlights code, shows the thinking time, and explains a response whose thinking left no tokens for text', () =>
    inPage(async ({ page, shifts }) => {
      await askWithAnswer(page, '```typescript\nconst gate: string = "open";\n```');
      await lastAnswerOf(page).locator('.hljs-keyword').getByText('const').waitFor();
      await page.getByRole('button', { name: 'Options' }).click();
      await page.getByLabel('Thinking').selectOption('On');
      await page.keyboard.press('Escape');
      // Slow enough that it is seen while it thinks.
      await setSimulatorFaults(page, 'tps=40; thinking=40');
      const thought = lastAnswerOf(page).locator('details');
      const thinks = thought.getByText(/^Thinking… \d+ s$/).waitFor();
      await askQuestion(page, 'In one sentence: what is a pond?');
      await thinks;
      await thought.getByText(/^Thought for \d+(\.\d+)? m?s$/).waitFor();
      await waitForAnswer(page);
      await expect.poll(() => thought.getAttribute('open')).toBeNull();
      const { length } = (await thought.locator('.typed').textContent()) ?? '';
      expect(length).toBeGreaterThan(10);
      await thought.locator('summary').click();
      await expect.poll(() => thought.locator('.typed').isVisible()).toBe(true);
      // The history does not tell how long it took.
      await page.reload();
      await lastAnswerOf(page).getByText('Thought', { exact: true }).waitFor();
      await setSimulatorFaults(page, 'thinking=9000');
      await askQuestion(page, 'In one sentence: what is a lake?');
      const why = lastAnswerOf(page).getByText(/^The model used all its max_tokens \(4,096\) for thinking/);
      await why.waitFor();
      await waitForAnswer(page);
      expect(await findBarriers(page, '.message:last-child .pause')).toEqual([]);
      expect(await shifts()).toEqual({ value: 0, moved: [] });
      await page.reload();
      await why.waitFor();
      await lastAnswerOf(page).getByRole('button', { name: 'Ask again with 32,768 tokens' }).click();
      await lastAnswerOf(page)
        .getByText(/built-in simulator/)
        .waitFor();
      await page.getByText('2/2').waitFor();
    }));

  test('runs a called tool, sends images and PDFs, and rejects an unsupported file', () =>
    inPage(async ({ page }) => {
      await page.getByRole('button', { name: /^Roll three dice/ }).click();
      await page.getByText(/roll_dice answered/).waitFor();
      await waitForAnswer(page);
      await expect
        .poll(() => page.locator('.call').textContent())
        .toMatch(/roll_dicecalledInput\{"dice":\d+\}Result\d/);
      // The call and what follows it are two answers of one model, which is named above the first alone.
      await expect.poll(() => page.locator('.message.assistant').count()).toBe(2);
      await expect.poll(() => page.locator('.message-name').count()).toBe(1);

      const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
      const file = { name: 'gate.png', mimeType: 'image/png', buffer: Buffer.from(pixel, 'base64') };
      const pdf = { name: 'locks.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF-1.4\n%%EOF') };
      await page.getByLabel('Files', { exact: true }).setInputFiles([file, pdf]);
      await page.getByRole('button', { name: 'Remove gate.png' }).waitFor();
      await page.getByRole('button', { name: 'Remove locks.pdf' }).waitFor();
      await askQuestion(page, 'What is in these files?');
      await lastAnswerOf(page)
        .getByText(/I see 1 image/)
        .waitFor();
      const question = page.getByRole('article', { name: 'You' }).last();
      await expect.poll(() => question.getByRole('img').count()).toBe(1);
      await question.getByText('locks.pdf').waitFor();
      await waitForAnswer(page);
      const { data } = await sentIn(page);
      const sent = data.findLast(({ role }) => role === 'user')?.content;
      expect(sent).toMatchObject([
        { type: 'image', source: { data: pixel } },
        {
          type: 'document',
          title: 'locks.pdf',
          source: { media_type: 'application/pdf', data: btoa('%PDF-1.4\n%%EOF') },
        },
        { type: 'text' },
      ]);
      // What is edited has its files again.
      await question.getByRole('button', { name: 'Edit and ask again' }).click();
      await page.getByRole('button', { name: 'Remove locks.pdf' }).waitFor();
      const text = { name: 'notes.zip', mimeType: 'application/zip', buffer: Buffer.from('PK\x03\x04') };
      await page.getByLabel('Files', { exact: true }).setInputFiles(text);
      await page.getByText(/^Claude cannot read notes\.zip\. Attach a PNG/).waitFor();
    }));

  test('stores a prefix, and shows that the second question reads it from the cache', () =>
    inPage(async ({ page }) => {
      await page.getByRole('button', { name: 'Options' }).click();
      await page.getByRole('button', { name: 'New prefix…' }).click();
      const dialog = page.getByRole('dialog', { name: 'New prefix' });
      await dialog.getByRole('textbox', { name: 'Name' }).fill('gates');
      await dialog
        .getByRole('textbox', { name: 'System prompt' })
        .fill('Each gate has a keeper and a key. '.repeat(800));
      await dialog.getByRole('button', { name: 'Store prefix' }).click();
      await dialog.waitFor({ state: 'hidden' });
      await page.getByRole('button', { name: 'Options' }).filter({ hasText: '1' }).click();
      await expect.poll(() => page.getByRole('combobox', { name: 'Prefix' }).inputValue()).toBe('gates');
      await page.keyboard.press('Escape');
      await askQuestion(page, 'In one sentence: who has the key?');
      await lastAnswerOf(page)
        .getByText(/[\d,]+ to cache/)
        .waitFor();
      await waitForAnswer(page);
      await askQuestion(page, 'In one sentence: and who else?');
      await expect.poll(() => page.getByRole('article').count()).toBe(4);
      await lastAnswerOf(page)
        .getByText(/\d,\d{3} from cache/)
        .waitFor();
      await waitForAnswer(page);
      await expect.poll(() => page.locator('.talk-head .tag').textContent()).toBe('gates');
    }));
});
