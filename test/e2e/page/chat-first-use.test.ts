import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { looks } from '../../support/looks.ts';
import { answered, ask, lastAnswer, type OpenPage, servedPage, simulate } from '../../support/page.ts';

const MODEL = 'claude-haiku-5-5';
const LONG = 'Explain in 400 words what a lock gate is.';
const DECIDE = 'Decide above first: the answer waits for you.';

describe.skipIf(noBrowser())('The chat at its first use, in Chromium', () => {
  const server = servedPage();
  const inPage = server.inFailingPage;

  const draftOf = ({ page }: OpenPage) => page.getByRole('textbox', { name: 'Message' });

  /** Creates a conversation that has a tool whose calls wait. */
  const createBakery = async (id: string) => {
    const tool = { name: 'order_bread', description: 'Orders bread.', input_schema: { type: 'object' as const } };
    const tools = [{ ...tool, run: { url: `${server.shop}/order`, approval: 'always' as const } }];
    await server.client.conversations.create({ id, title: id, model: MODEL, max_tokens: 300, tools });
  };
  const order = async (conversation: string) => {
    const messages = [{ role: 'user' as const, content: 'Call order_bread, please.' }];
    await server.client.messages.stream({ conversation, messages }).finalMessage();
  };

  test('while a call waits the composer says so and sends nothing, and what is typed stays, also after a reload', async () => {
    await createBakery('bakery');
    await order('bakery');
    await inPage(async (opened) => {
      const { page } = opened;
      const draft = draftOf(opened);
      await page.getByRole('status').getByText(DECIDE).waitFor();
      await draft.fill('And a cake?');
      await draft.press('Enter');
      const send = page.getByRole('button', { name: 'Send' });
      await expect.poll(() => send.isDisabled()).toBe(true);
      expect(await draft.inputValue()).toBe('And a cake?');
      expect(await barriersOn(page)).toEqual([]);
      await page.reload();
      await page.getByRole('status').getByText(DECIDE).waitFor();
      await expect.poll(() => draft.inputValue()).toBe('And a cake?');
      await page.getByRole('button', { name: 'Approve' }).click();
      await page.getByText(DECIDE).waitFor({ state: 'detached' });
      await answered(page);
      await expect.poll(() => send.isEnabled()).toBe(true);
      await draft.press('Enter');
      await expect.poll(() => page.getByRole('article', { name: 'You' }).count()).toBe(2);
      await expect.poll(() => draft.inputValue()).toBe('');
    }, '/#/chat/bakery');
  });

  test('a question that meets a call of which the page did not know comes back into the composer', async () => {
    await createBakery('mill');
    await inPage(async (opened) => {
      const { page } = opened;
      await page.getByText('No messages yet.').waitFor();
      // It hears of nothing by itself.
      await page.route('**/conversations?*', (route) => route.abort());
      await order('mill');
      await ask(page, 'And a cake?');
      await page.getByRole('status').getByText(DECIDE).waitFor();
      await expect.poll(() => draftOf(opened).inputValue()).toBe('And a cake?');
      await expect.poll(() => page.getByRole('article', { name: 'You' }).count()).toBe(1);
      expect(await page.locator('body').textContent()).not.toContain('/approvals');
    }, '/#/chat/mill');
  });

  test('each conversation keeps its draft over a reload until it is sent', () =>
    inPage(async (opened) => {
      const { page } = opened;
      const draft = draftOf(opened);
      await server.client.conversations.create({ id: 'one', title: 'one' });
      await draft.fill('Of a new one');
      await page.reload();
      await expect.poll(() => draft.inputValue()).toBe('Of a new one');
      const list = page.getByRole('navigation', { name: 'Conversations' });
      await list.getByRole('link', { name: /^one/ }).click();
      await expect.poll(() => draft.inputValue()).toBe('');
      await draft.fill('What is a weir?\nIn one sentence.');
      // There and back before the next frame.
      await page.evaluate(() => {
        for (const hash of ['#/chat', location.hash]) {
          history.replaceState(null, '', hash);
          dispatchEvent(new HashChangeEvent('hashchange'));
        }
      });
      await expect.poll(() => draft.inputValue()).toBe('What is a weir?\nIn one sentence.');
      await list.getByRole('button', { name: 'New conversation' }).click();
      await expect.poll(() => draft.inputValue()).toBe('Of a new one');
      await page.goBack();
      await page.reload();
      await expect.poll(() => draft.inputValue()).toBe('What is a weir?\nIn one sentence.');
      // Until the history is there nothing is sent.
      await expect.poll(() => page.getByRole('button', { name: 'Send' }).isEnabled()).toBe(true);
      await draft.press('Enter');
      await answered(page);
      await page.reload();
      await answered(page);
      expect(await draft.inputValue()).toBe('');
      const stored = await page.evaluate(() => Object.values({ ...sessionStorage, ...localStorage }).join());
      expect(stored).not.toContain('weir');
      expect(stored).toContain('Of a new one');
    }));

  test('Escape stops a running answer, but first closes what is open', () =>
    inPage(async (opened) => {
      const { page } = opened;
      await simulate(page, 'silence-after=40');
      await ask(page, LONG);
      await lastAnswer(page).locator('.markdown').waitFor();
      const options = page.getByRole('button', { name: 'Options' });
      await options.click();
      const thinking = page.getByRole('checkbox', { name: 'Thinking' });
      await thinking.waitFor();
      await page.keyboard.press('Escape');
      await thinking.waitFor({ state: 'hidden' });
      expect(await page.getByRole('button', { name: 'Stop' }).count()).toBe(1);
      await page.keyboard.press('Escape');
      await page.getByText('Stopped. The text so far is kept.').waitFor();
    }));

  test('what there is not says so, and leads back', () =>
    inPage(async ({ page }) => {
      for (const [path, title] of [
        ['no-such-part', 'This page does not exist'],
        ['chat/one/two', 'This page does not exist'],
        ['chat/no-such-conversation', 'This conversation does not exist'],
      ] as const) {
        await page.goto(`${server.url}/#/${path}`);
        await page.getByRole('heading', { name: title }).waitFor();
        expect(await barriersOn(page)).toEqual([]);
        expect(await page.getByRole('textbox', { name: 'Message' }).count()).toBe(0);
        await page.getByRole('link', { name: 'Back to the start' }).click();
        await page.getByText('Your own edge in front of Claude.').waitFor();
      }
    }));

  test.each(['in a conversation', 'in a new one'])(
    'without a connection a question %s is not sent, and can be sent again',
    (where) =>
      inPage(async (opened) => {
        const { page } = opened;
        await server.client.conversations.create({ id: 'harbour', title: 'harbour' }).catch(() => {});
        const list = page.getByRole('navigation', { name: 'Conversations' });
        if (where === 'in a conversation') await list.getByRole('link', { name: /^harbour/ }).click();
        await expect.poll(() => page.getByRole('button', { name: 'Send' }).count()).toBe(1);
        await page.context().setOffline(true);
        await ask(page, 'In one sentence: what is a pier?');
        const alert = page.getByRole('alert');
        if (where === 'in a new one') {
          // Above it the lists, if they have not been read yet, say the same.
          const form = page.locator('form').filter({ has: page.getByRole('textbox', { name: 'Message' }) });
          await form
            .getByRole('alert')
            .getByText('The edge cannot be reached. Check your connection, then try again.')
            .waitFor();
          await expect.poll(() => draftOf(opened).inputValue()).toBe('In one sentence: what is a pier?');
        } else {
          await alert.getByText(/^Not sent: the edge cannot be reached\./).waitFor();
          await page.getByRole('article', { name: 'You' }).getByText('Not sent').waitFor();
          expect(await page.getByText('answering…').count()).toBe(0);
          // Sent in vain, it is still there.
          await alert.getByRole('button', { name: 'Send again' }).click();
          await alert.getByText(/^Not sent: the edge cannot be reached\./).waitFor();
        }
        await page.context().setOffline(false);
        await page
          .getByRole('button', { name: /^Send( again)?$/ })
          .and(page.locator(':enabled'))
          .first()
          .click();
        await answered(page);
        await expect.poll(() => page.getByRole('article', { name: 'You' }).count()).toBe(1);
      }),
  );

  test('what was open is opened again by Undo', () =>
    inPage(async ({ page }) => {
      await ask(page, 'In one sentence: what is a quay?');
      await answered(page);
      const address = page.url();
      const item = page
        .getByRole('navigation', { name: 'Conversations' })
        .getByRole('listitem')
        .filter({ hasText: 'quay' });
      await item.getByRole('button', { name: /^Delete/ }).click();
      await page.getByText('Your own edge in front of Claude.').waitFor();
      await item.getByRole('button', { name: /^Undo/ }).click();
      await page.waitForURL(address);
      await answered(page);
    }));

  const SMALL = [
    [360, 180],
    [640, 240],
  ] as const;

  test.each(looks(SMALL))('a window of %i × 400 has more than %i pixels for the conversation', (width, least) =>
    inPage(
      async (opened) => {
        const { page } = opened;
        await ask(page, LONG);
        await answered(page);
        const frame = await page.locator('.transcript-frame').boundingBox();
        expect(frame?.height).toBeGreaterThan(least);
        for (const name of ['Options', 'Send', 'Conversations'])
          expect(await page.getByRole('button', { name, exact: true }).isVisible()).toBe(true);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
        expect(await opened.shifts()).toEqual({ value: 0, moved: [] });
      },
      '/',
      { viewport: { width, height: 400 } },
    ),
  );
});
