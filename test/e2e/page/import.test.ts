import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { noBrowser } from '../../support/browser.ts';
import { answered, ask, type OpenPage, servedPage } from '../../support/page.ts';

describe.skipIf(noBrowser())('Export and Import of conversations, in Chromium', () => {
  const server = servedPage();
  const { inPage } = server;

  const list = (page: OpenPage['page']) => page.getByRole('navigation', { name: 'Conversations' });
  const shownIn = async (page: OpenPage['page']) => {
    const id = decodeURIComponent(new URL(page.url()).hash.split('/').at(-1) ?? '');
    return await server.client.conversations.get(id);
  };

  /** Chooses a file by the keyboard alone. */
  const choose = async (page: OpenPage['page'], file: { name: string; mimeType: string; buffer: Buffer }) => {
    // The page puts the keyboard at the question once it is there.
    await page.getByText('Simulator.').waitFor();
    const button = page.getByRole('button', { name: 'Import a conversation' });
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), button.press('Enter')]);
    await chooser.setFiles(file);
  };
  const jsonl = (content: string, name = 'talk.jsonl') => ({
    name,
    mimeType: 'application/jsonl',
    buffer: Buffer.from(content),
  });

  test('a conversation that was saved goes on as another one, with its title and system', async () => {
    const { conversations, messages } = server.client;
    const fields = { model: 'claude-haiku-5-5', max_tokens: 2_000 };
    await conversations.create({ id: 'locks', title: 'On locks', system: 'You know locks.', ...fields });
    const thinking = { type: 'adaptive' as const };
    const question = { role: 'user' as const, content: 'In one sentence: what is a lock?' };
    await messages.stream({ conversation: 'locks', thinking, messages: [question] }).text();
    await inPage(async (opened) => {
      const { page } = opened;
      const item = list(page).getByRole('listitem').filter({ hasText: 'On locks' });
      await item.first().hover();
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        item.first().getByRole('button', { name: 'Export On locks' }).click(),
      ]);
      expect(download.suggestedFilename()).toBe('On-locks.jsonl');
      const saved = await text(await download.createReadStream());
      expect(saved).toContain('"thinking"');
      await choose(page, jsonl(saved, 'saved.jsonl'));
      await page.getByRole('heading', { name: 'On locks' }).waitFor();
      await list(page).getByText('Imported without 1 block of thinking').waitFor();
      await page.getByRole('article', { name: 'You' }).getByText(question.content).waitFor();
      expect(await shownIn(page)).toMatchObject({ title: 'On locks', system: 'You know locks.', messages: 2 });
      await ask(page, 'And a weir?');
      await expect.poll(() => page.getByRole('article').count()).toBe(4);
      await answered(page);
      expect(await opened.shifts()).toEqual({ value: 0, moved: [] });
    });
  });
});
