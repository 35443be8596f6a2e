import { beforeEach, describe, expect, test } from 'vitest';
import type { Client } from '../../../src/client/index.ts';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { answered, servedPage } from '../../support/page.ts';

const HAIKU = 'claude-haiku-5-5';

describe.skipIf(noBrowser())('Agents in the page, in Chromium', () => {
  let client: Client;
  const server = servedPage();
  const { inPage } = server;

  beforeEach(() => {
    ({ client } = server);
  });

  const store = async (name: string, fields: object) =>
    await client.fetch(`/agents/${name}`, { method: 'PUT', body: { model: HAIKU, max_tokens: 200, ...fields } });

  test('are listed with their cost and last run, and open with their versions', async () => {
    await store('porter', { description: 'Opens doors', system: 'You open doors.' });
    const history = { max_tokens: 32_000, strategy: 'summarize' };
    await store('porter', { description: 'Opens gates', system: 'You open gates.', limits: { max_turns: 3 }, history });
    await store('idle', { description: 'Does nothing' });
    const messages = [{ role: 'user' as const, content: 'In one sentence: what is a gate?' }];
    const asked = { conversation: 'a-gate', agent: 'porter', model: HAIKU, max_tokens: 200, messages };
    await (await client.fetch('/v1/messages', { method: 'POST', body: asked })).text();
    await inPage(async ({ page }) => {
      const row = page.getByRole('row', { name: /porter/ });
      await row.getByRole('cell', { name: 'Opens gates' }).waitFor();
      await expect
        .poll(() => row.getByRole('cell').allTextContents())
        .toMatchObject([
          'Opens gates',
          '1',
          expect.stringMatching(/^<\$0\.01\$0\.0+\d+$/),
          expect.stringMatching(/^\d\d:\d\d:\d\d$/),
          expect.stringMatching(/^\d\d:\d\d:\d\d$/),
        ]);
      await expect.poll(() => page.getByRole('row', { name: /idle/ }).getByRole('cell').nth(1).textContent()).toBe('0');
      await page.getByRole('link', { name: 'porter' }).click();
      await page.getByRole('heading', { level: 1, name: 'porter' }).waitFor();
      await page.getByText('Steps of the model 3').waitFor();
      await page.getByText('summarized above 32,000 tokens').waitFor();
      const versions = page.getByRole('region', { name: 'Versions' }).locator('tbody tr');
      await expect.poll(() => versions.count()).toBe(2);
      await versions.first().getByText('current').waitFor();
      await expect.poll(() => versions.locator('td:nth-child(4)').allTextContents()).toEqual(['1', '0']);
      expect(await barriersOn(page)).toEqual([]);
      await page.getByRole('link', { name: 'a-gate' }).click();
      await page.getByRole('article', { name: 'You' }).getByText('what is a gate').waitFor();
    }, '/#/agents');
  });

  test('have tables that a phone shows without scrolling sideways', async () => {
    await store('keeper-of-keys', { description: 'Knows which key opens which door, and who has it', system: 'Keys.' });
    await inPage(
      async ({ page }) => {
        const name = page.getByRole('link', { name: 'keeper-of-keys' });
        await name.waitFor();
        const scrolling = () =>
          page
            .locator('.table-frame')
            .evaluateAll((frames) => frames.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth));
        expect(await scrolling()).toEqual([0]);
        await name.click();
        await page.getByRole('region', { name: 'Versions' }).waitFor();
        expect(await scrolling()).toEqual([0]);
      },
      '/#/agents',
      { viewport: { width: 390, height: 844 } },
    );
  });

  test('are chosen beside the model, and a conversation shows and keeps the one it began with', async () => {
    await store('keeper', { description: 'Keeps the lock', system: 'You keep a lock.', model: 'claude-sonnet-5' });
    await inPage(async ({ page }) => {
      const who = page.getByRole('combobox', { name: 'Model or agent' });
      await who.selectOption({ label: 'keeper' });
      await page.getByRole('textbox', { name: 'Message' }).fill('In one sentence: who are you?');
      // What is counted is the agent's prompt, at its model's price.
      await page.getByText(/^\d+ tokens · \$0\.0+\d+ to send$/).waitFor();
      await page.getByRole('button', { name: 'Send' }).click();
      await answered(page);
      await page.getByRole('article', { name: 'Answer' }).getByText('Claude Sonnet 5').waitFor();
      await page.locator('.talk-head').getByRole('link', { name: 'keeper' }).waitFor();
      await expect.poll(() => who.isDisabled()).toBe(true);
      await expect.poll(() => who.locator('option:checked').textContent()).toBe('keeper');
      const id = decodeURIComponent(new URL(page.url()).hash.split('/')[2] ?? '');
      expect((await client.conversations.get(id)).agent?.name).toBe('keeper');
      await page.reload();
      await answered(page);
      await expect.poll(() => who.locator('option:checked').textContent()).toBe('keeper');
      // Elsewhere a model is chosen as before.
      await page.getByRole('button', { name: 'New conversation' }).click();
      await expect.poll(() => who.isEnabled()).toBe(true);
      await expect.poll(() => who.locator('option:checked').textContent()).toMatch(/^Claude/);
      expect(await barriersOn(page)).toEqual([]);
    });
  });

  test('that choose their model say beside each answer why, and still do when the page is opened again', async () => {
    await client.fetch('/classifiers/level', { method: 'PUT', body: { labels: ['easy'] } });
    const model = { by: 'level', models: { easy: HAIKU }, otherwise: HAIKU };
    await store('router', { system: 'You answer.', model });
    await inPage(async ({ page }) => {
      await page.getByRole('combobox', { name: 'Model or agent' }).selectOption({ label: 'router' });
      await page.getByRole('textbox', { name: 'Message' }).fill('In one sentence: what is a gate?');
      await page.getByRole('button', { name: 'Send' }).click();
      await answered(page);
      const why = page.getByRole('article', { name: 'Answer' }).getByText('model: easy');
      await why.waitFor();
      await page.reload();
      await answered(page);
      await why.waitFor();
      expect(await barriersOn(page)).toEqual([]);
      await page.goto(`${server.url}/#/agents/router`);
      const saved = page.getByRole('region', { name: 'What the choice has saved' });
      await saved.getByText(/^Not known: no conversation was answered without the choice/).waitFor();
      await saved.getByRole('row', { name: /^Chosen 1 / }).waitFor();
      await saved.getByRole('table', { name: 'US dollars of each conversation' }).waitFor();
      expect(await barriersOn(page)).toEqual([]);
    });
  });

  /** Begins a run whose tool waits for approval. */
  const beginWaiting = async (conversation: string) => {
    const order = {
      name: 'order_bread',
      description: 'Orders bread.',
      input_schema: { type: 'object' as const, properties: { loaves: { type: 'integer' as const, minimum: 1 } } },
      run: { url: `${server.shop}/order`, approval: 'always' as const },
    };
    await client.conversations.create({
      id: conversation,
      title: 'Bread',
      model: HAIKU,
      max_tokens: 500,
      tools: [order],
    });
    const messages = [{ role: 'user' as const, content: 'Call order_bread, please.' }];
    const stream = client.messages.stream({ conversation, messages });
    await stream.finalMessage();
    expect(stream.paused).toBe('approval');
  };

  test('a conversation that waits for approval is marked in the list, and at its agent', async () => {
    const run = { url: `${server.shop}/order`, approval: 'always' as const };
    const tool = { name: 'order_bread', description: 'Orders bread.', input_schema: { type: 'object' as const }, run };
    await store('baker', { description: 'Orders bread', tools: [tool] });
    await client.conversations.create({ id: 'bread-0', title: 'Bread for Monday', agent: 'baker' });
    const messages = [{ role: 'user' as const, content: 'Call order_bread, please.' }];
    const stream = client.messages.stream({ conversation: 'bread-0', messages });
    await stream.finalMessage();
    expect(stream.paused).toBe('approval');
    const [waits] = (await client.conversations.approvals('bread-0')).data;
    await inPage(async ({ page }) => {
      const item = page.getByRole('listitem').filter({ hasText: 'Bread for Monday' });
      await item.getByText('waiting for approval').waitFor();
      await page.getByRole('link', { name: 'Agents' }).click();
      await page.getByRole('row', { name: /baker/ }).getByText('waiting for approval').waitFor();
      await page.getByRole('link', { name: 'baker' }).click();
      await page
        .getByRole('row', { name: /bread-0/ })
        .getByText('waiting for approval')
        .waitFor();
      await client.conversations.approve('bread-0', waits?.id ?? '', { decision: 'deny' });
      await page.getByText('waiting for approval').waitFor({ state: 'detached' });
    });
  });

  test('a call that waits is a card: its input is changed, it is approved, and the run goes on with what was approved', async () => {
    await beginWaiting('bread-1');
    await inPage(async ({ page }) => {
      const card = page.getByRole('region', { name: 'Approval of order_bread' });
      await card.getByText('needs your approval').waitFor();
      await expect.poll(() => page.locator('.edge-call-state').textContent()).toBe('waiting for approval');
      const input = card.getByRole('textbox', { name: 'Input' });
      await input.fill('{"loaves": ');
      await card.getByRole('button', { name: 'Approve with this input' }).click();
      await card.getByText('The input must be a JSON object').waitFor();
      await input.fill('{"loaves": 12}');
      await card.getByRole('button', { name: 'Approve with this input' }).click();
      await card.waitFor({ state: 'detached' });
      await answered(page);
      // The shop gives back what was ordered.
      const call = page.locator('.edge-call');
      await expect.poll(() => call.textContent()).toMatch(/"ordered":.*"loaves":12/s);
      await page.reload();
      await answered(page);
      await expect.poll(() => page.getByRole('region', { name: /^Approval of/ }).count()).toBe(0);
    }, '/#/chat/bread-1');
  });

  test('a call that is denied is not made, and its reason is told', async () => {
    await beginWaiting('bread-2');
    await inPage(async ({ page }) => {
      const card = page.getByRole('region', { name: 'Approval of order_bread' });
      await card.getByRole('textbox', { name: 'Reason for denying' }).fill('We have bread.');
      await card.getByRole('button', { name: 'Deny' }).click();
      await card.waitFor({ state: 'detached' });
      await answered(page);
      const failed = page.locator('.edge-call[data-state=failed]').first();
      await failed.locator('summary').click();
      await failed.getByText(/We have bread\./).waitFor();
      expect(await failed.textContent()).not.toContain('ordered');
    }, '/#/chat/bread-2');
  });

  test('a subagent unfolds in its call, with what it has said and cost', async () => {
    await store('searcher', { description: 'Searches the logs', system: 'You search.' });
    const search = { name: 'search_logs', run: { agent: 'searcher' } };
    await client.conversations.create({
      id: 'search',
      title: 'A search',
      model: HAIKU,
      max_tokens: 500,
      tools: [search],
    });
    const messages = [{ role: 'user' as const, content: 'Call search_logs, please.' }];
    await client.messages.stream({ conversation: 'search', messages }).finalMessage();
    await inPage(async ({ page }) => {
      const call = page.locator('.edge-call');
      await call.locator('summary').click();
      const subagent = call.getByRole('region', { name: 'Subagent' });
      await subagent.getByText(/built-in simulator/).waitFor();
      await subagent.getByText(/^\$0\.0+\d+$/).waitFor();
      await subagent.getByRole('link', { name: 'Open' }).click();
      await page.waitForURL(/sub_[0-9a-f]{32}$/);
      await answered(page);
    }, '/#/chat/search');
  });
});
