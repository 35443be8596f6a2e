import { beforeEach, describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { openPage, openServedPage, waitForAnswer } from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';
import { createToken } from '#test/support/tokens.ts';

const HAIKU = 'claude-haiku-5-5';
/** The shop gives back what it is sent. */
const SECRET = 'tool_use_id';
const NARROW = { width: 390, height: 844 };
const WIDE = { width: 1280, height: 640 };

describe.skipIf(isBrowserMissing())('The preview of a conversation with a token, in Chromium', () => {
  const server = openServedPage();

  beforeEach(async () => {
    const { client } = server;
    const order = { name: 'order', input_schema: { type: 'object' }, run: { url: `${server.shopUrl}/order` } };
    const agent = { model: HAIKU, max_tokens: 200, tools: [order], tool_choice: { type: 'any' } };
    await client.fetch('/agents/seller', { method: 'PUT', body: agent });
    const messages = [{ role: 'user' as const, content: 'Order some tea.' }];
    const asked = { conversation: 'web-1', agent: 'seller', model: HAIKU, max_tokens: 200, messages };
    await (await client.fetch('/v1/messages', { method: 'POST', body: asked })).text();
  });

  const LOOKS = [
    ['light', WIDE],
    ['dark', NARROW],
  ] as const;

  test.each(selectAppearances(LOOKS))(
    'hides tool inputs and results, and works with the keyboard only (%s)',
    (colorScheme, viewport) =>
      server.runInPage(
        async ({ page, shifts }) => {
          await waitForAnswer(page);
          expect(await page.content()).toContain(SECRET);
          // The title and the agent of a conversation that the page opens with move what is beside them.
          await page
            .locator('.talk-head')
            .getByRole('link', { name: /^seller/ })
            .waitFor();
          const before = await shifts();
          await page.getByRole('button', { name: 'Preview with a token' }).focus();
          await page.keyboard.press('Enter');
          const dialog = page.getByRole('dialog', { name: 'Preview with a token' });
          await dialog.getByLabel('Restricted token').and(page.locator(':focus')).waitFor();
          const token = await createToken(server.account, ['messages'], {
            only: { agents: ['own:seller'], conversations: ['web-*'] },
          });
          await page.keyboard.insertText(token);
          await page.keyboard.press('Enter');
          await dialog.getByRole('article', { name: 'You' }).getByText('Order some tea.').waitFor();
          const answer = dialog.getByRole('article', { name: 'Answer' }).first();
          expect(await answer.textContent()).toContain('ordercalledInput{}');
          expect(await dialog.textContent()).not.toContain(SECRET);
          expect(await findBarriers(page, 'dialog')).toEqual([]);
          const stored = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
          expect(stored).not.toContain(token);

          const shown = await createToken(server.account, ['messages'], {
            only: { agents: ['own:seller'], tools: 'shown' },
          });
          await dialog.getByLabel('Restricted token').fill(shown);
          await page.keyboard.press('Enter');
          await expect.poll(() => dialog.textContent()).toContain(SECRET);
          await page.keyboard.press('Escape');
          await dialog.waitFor({ state: 'detached' });
          expect(await shifts()).toEqual(before);
        },
        '/#/chat/web-1',
        { viewport, colorScheme },
      ),
  );

  test('uses a restricted token that the page creates for an admin', async () => {
    const token = await createToken(server.account, ['admin']);
    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/chat/web-1`, undefined, { token });
    await waitForAnswer(page);
    await page.getByRole('button', { name: 'Preview with a token' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Preview', exact: true }).click();
    await dialog.getByRole('article', { name: 'You' }).getByText('Order some tea.').waitFor();
    expect(await dialog.textContent()).not.toContain(SECRET);
    expect(faults).toEqual([]);
    await close();
  });

  test('shows the API’s error for a rejected token, and keeps the page’s own token', async () => {
    await server.runInPage(async ({ page, faults }) => {
      await waitForAnswer(page);
      await page.getByRole('button', { name: 'Preview with a token' }).click();
      const dialog = page.getByRole('dialog');
      const show = async (token: string) => {
        await dialog.getByLabel('Restricted token').fill(token);
        await dialog.getByRole('button', { name: 'Preview', exact: true }).click();
        return (await dialog.getByRole('alert').textContent()) ?? '';
      };
      expect(await show(await createToken(server.account, ['messages'], { only: { agents: ['other'] } }))).toContain(
        'other',
      );
      await expect.poll(() => show('eyJhbGciOiJIUzI1NiJ9.e30.x')).toContain('credential');
      await page.keyboard.press('Escape');
      await page.getByRole('textbox', { name: 'Message' }).waitFor();
      // The browser itself notes each refusal.
      expect(faults.every((fault) => /status of 40[13]/.test(fault))).toBe(true);
      faults.length = 0;
    }, '/#/chat/web-1');
  });
});
