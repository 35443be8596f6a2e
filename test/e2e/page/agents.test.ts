import { beforeEach, describe, expect, test } from 'vitest';
import type { Client } from '#client/index.ts';
import type { AgentContent } from '#edge/plugins/agents/agents-answers.schema.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { askQuestion, openServedPage, waitForAnswer } from '#test/support/page.ts';

const HAIKU = 'claude-haiku-5-5';
const PHONE = { width: 390, height: 844 };

// Forms, deletions and decisions are in test/page/agents/ and test/page/chat/.
describe.skipIf(isBrowserMissing())('Agents in the page, in Chromium', () => {
  let client: Client;
  const server = openServedPage();
  const { runInPage: inPage } = server;

  beforeEach(() => {
    ({ client } = server);
  });

  const store = async (name: string, fields: object) =>
    await client.fetch(`/agents/${name}`, { method: 'PUT', body: { model: HAIKU, max_tokens: 200, ...fields } });

  const stored = async (name: string) =>
    (await (await client.fetch(`/agents/${encodeURIComponent(name)}`)).json()) as AgentContent;

  test('an example agent is stored, changed and tried, and a conversation keeps its version', () =>
    inPage(async ({ page }) => {
      const chip = (name: string) => page.getByRole('checkbox', { name, exact: true });
      await page.getByText(/^No agents yet/).waitFor();
      await page.getByRole('button', { name: 'Add an example' }).click();
      await expect.poll(() => page.getByLabel('Name', { exact: true }).inputValue()).toBe('porter');
      expect(await findBarriers(page)).toEqual([]);
      await page.getByText('More fields, as JSON').click();
      await page.getByLabel('More fields').fill('{"stop_sequences": ["END"]}');
      await page.getByRole('button', { name: 'Store agent' }).click();
      await page.getByRole('heading', { level: 1, name: 'porter' }).waitFor();
      const first = await stored('porter');
      expect(first).toMatchObject({ tools: [{ name: 'edge_clock' }], limits: { max_turns: 4 } });
      await page.getByRole('button', { name: 'Edit' }).click();
      await page.getByLabel('System prompt').fill('You guide.');
      await page.getByLabel('Model requests').fill('7');
      await page.getByRole('button', { name: 'Store as a new version' }).click();
      const versions = page.getByRole('region', { name: 'Versions' }).getByRole('row');
      await expect.poll(() => versions.count()).toBe(3);
      // What has no field is in the new version too.
      const second = await stored('porter');
      expect(second).toMatchObject({ stop_sequences: ['END'], limits: { max_turns: 7 } });
      await page.setViewportSize(PHONE);
      expect(await findBarriers(page)).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
      // Both are kept.
      expect(await stored(first.version)).toMatchObject({ limits: { max_turns: 4 } });
      await page.getByText('edge_clock (run by the Worker)').waitFor();
      await page.getByRole('button', { name: 'Try', exact: true }).click();
      await page.getByText('Try porter.').waitFor();
      // The page sends no tools of its own with an agent.
      await page.getByRole('button', { name: 'Options' }).click();
      for (const name of ['Page tools', 'Worker tools']) expect(await chip(name).isDisabled()).toBe(true);
      await page.keyboard.press('Escape');
      await askQuestion(page, 'Call edge_clock, please.');
      await waitForAnswer(page);
      await page.locator('.edge-call[data-state=done]').first().waitFor();
      const tag = page.locator('.talk-head').getByRole('link', { name: /^porter/ });
      const short = second.version.slice('porter@'.length, 'porter@'.length + 8);
      await expect.poll(() => tag.textContent()).toBe(`porter · ${short}`);
      await store('porter', { description: 'Another one' });
      await page.reload();
      await expect.poll(() => tag.textContent()).toMatch(/ · older$/);
      expect(await findBarriers(page, '.talk-head')).toEqual([]);
      await page.getByRole('button', { name: 'New conversation' }).click();
      await page.getByText('Try porter.').waitFor();
    }, '/#/agents'));

  test('are listed with their cost and last run, and open with their versions, without horizontal scrolling on a phone', async () => {
    await store('porter', { description: 'Opens doors', system: 'You open doors.' });
    const history = { max_tokens: 32_000, strategy: 'summarize' };
    await store('porter', { description: 'Opens gates', system: 'You open gates.', limits: { max_turns: 3 }, history });
    await store('idle', { description: 'Does nothing, and says which key opens which door, and who has it' });
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
          expect.stringMatching(/^\$0\.0+\d+(\$0\.0+\d+)?$/),
          expect.stringMatching(/^\d+ [A-Z][a-z]+, \d\d:\d\d$/),
          expect.stringMatching(/^\d+ [A-Z][a-z]+, \d\d:\d\d$/),
        ]);
      await expect.poll(() => page.getByRole('row', { name: /idle/ }).getByRole('cell').nth(1).textContent()).toBe('0');
      const scrolling = () =>
        page
          .locator('.table-frame')
          .evaluateAll((frames) => frames.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth));
      await page.setViewportSize(PHONE);
      expect(await scrolling()).toEqual([0]);
      await page.getByRole('link', { name: 'porter' }).click();
      await page.getByText('3 model requests').waitFor();
      await page.getByText('summarized above 32,000 tokens').waitFor();
      const versions = page.getByRole('region', { name: 'Versions' }).locator('tbody tr');
      await expect.poll(() => versions.count()).toBe(2);
      await versions.first().getByText('current').waitFor();
      await expect.poll(() => versions.locator('td:nth-child(4)').allTextContents()).toEqual(['1', '0']);
      expect(new Set(await scrolling())).toEqual(new Set([0]));
      expect(await findBarriers(page)).toEqual([]);
      await page.getByRole('link', { name: 'a-gate' }).click();
      await page.getByRole('article', { name: 'You' }).getByText('what is a gate').waitFor();
    }, '/#/agents');
  });

  test('are selected next to the models, and a conversation shows and keeps its first agent', async () => {
    await store('keeper', { description: 'Keeps the lock', system: 'You keep a lock.', model: 'claude-sonnet-5' });
    await inPage(async ({ page }) => {
      const who = page.getByRole('combobox', { name: 'Model or agent' });
      await who.selectOption({ label: 'keeper' });
      await page.getByRole('textbox', { name: 'Message' }).fill('In one sentence: who are you?');
      // What is counted is the agent's prompt, at its model's price.
      await page
        .getByText(/^\d+ tokens in \(\$0\.0+\d+\)$/)
        .first()
        .waitFor();
      await page.getByRole('button', { name: 'Send', exact: true }).click();
      await waitForAnswer(page);
      await page.getByRole('article', { name: 'Answer' }).getByText('Claude Sonnet 5').waitFor();
      await page.locator('.talk-head').getByRole('link', { name: 'keeper' }).waitFor();
      await expect.poll(() => who.isDisabled()).toBe(true);
      await expect.poll(() => who.locator('option:checked').textContent()).toBe('keeper');
      const id = decodeURIComponent(new URL(page.url()).hash.split('/')[2] ?? '');
      expect((await client.conversations.get(id)).agent?.name).toBe('keeper');
      await page.reload();
      await waitForAnswer(page);
      await expect.poll(() => who.locator('option:checked').textContent()).toBe('keeper');
      // In other places a model is chosen as before.
      await page.getByRole('button', { name: 'New conversation' }).click();
      await expect.poll(() => who.isEnabled()).toBe(true);
      await expect.poll(() => who.locator('option:checked').textContent()).toMatch(/^Claude/);
    });
  });

  test('that choose their model show the reason next to each response, also after a reload', async () => {
    await client.fetch('/classifiers/level', { method: 'PUT', body: { labels: ['easy'] } });
    const model = { by: 'level', models: { easy: HAIKU }, otherwise: HAIKU };
    await store('router', { system: 'You answer.', model });
    await inPage(async ({ page }) => {
      await page.getByRole('combobox', { name: 'Model or agent' }).selectOption({ label: 'router' });
      await page.getByRole('textbox', { name: 'Message' }).fill('In one sentence: what is a gate?');
      await page.getByRole('button', { name: 'Send', exact: true }).click();
      await waitForAnswer(page);
      const why = page.getByRole('article', { name: 'Answer' }).getByText('model: easy');
      await why.waitFor();
      await page.reload();
      await waitForAnswer(page);
      await why.waitFor();
    });
  });

  test('a pending call is marked in the lists, and its run continues when its changed input is approved', async () => {
    const order = {
      name: 'order_bread',
      description: 'Orders bread.',
      input_schema: { type: 'object' as const, properties: { loaves: { type: 'integer' as const, minimum: 1 } } },
      run: { url: `${server.shopUrl}/order`, approval: 'always' as const },
    };
    await store('baker', { description: 'Orders bread', tools: [order] });
    await client.conversations.create({ id: 'bread', title: 'Bread for Monday', agent: 'baker' });
    const messages = [{ role: 'user' as const, content: 'Call order_bread, please.' }];
    const stream = client.messages.stream({ conversation: 'bread', messages });
    await stream.finalMessage();
    expect(stream.paused).toBe('approval');
    await inPage(async ({ page }) => {
      await page.getByRole('row', { name: /baker/ }).getByText('waiting for approval').waitFor();
      await page.getByRole('link', { name: 'baker' }).click();
      const waiting = page.getByRole('row', { name: /bread/ }).filter({ hasText: 'waiting for approval' });
      await waiting.getByRole('link', { name: 'bread' }).click();
      const item = page.getByRole('listitem').filter({ hasText: 'Bread for Monday' });
      await item.getByText('waiting for approval').waitFor();
      const card = page.getByRole('region', { name: 'Approval of order_bread' });
      await card.getByText('needs your approval').waitFor();
      await expect.poll(() => page.locator('.edge-call-state').textContent()).toBe('waiting for approval');
      expect(await findBarriers(page)).toEqual([]);
      await page.getByRole('textbox', { name: 'Message' }).fill('And a cake?');
      await card.getByRole('textbox', { name: 'Input' }).fill('{"loaves": 12}');
      await card.getByRole('button', { name: 'Approve with this input' }).focus();
      await page.keyboard.press('Enter');
      await card.waitFor({ state: 'detached' });
      // The button that was pressed by the keyboard no longer exists.
      await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe('draft');
      await waitForAnswer(page);
      // The shop gives back what was ordered.
      await expect.poll(() => page.locator('.edge-call').textContent()).toMatch(/"ordered":.*"loaves": 12/s);
      // What was typed meanwhile is still there, and can be sent now.
      await expect.poll(() => page.getByRole('textbox', { name: 'Message' }).inputValue()).toBe('And a cake?');
      await expect.poll(() => page.getByRole('button', { name: 'Send', exact: true }).isEnabled()).toBe(true);
      await page.reload();
      await waitForAnswer(page);
      await expect.poll(() => page.getByRole('region', { name: /^Approval of/ }).count()).toBe(0);
    }, '/#/agents');
  });

  test('a subagent is shown inside its call, with its text and cost', async () => {
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
      await subagent
        .getByText(/^\$0\.0+\d+$/)
        .first()
        .waitFor();
      await subagent.getByRole('link', { name: 'Open' }).click();
      await page.waitForURL(/sub_[0-9a-f]{32}$/);
      await waitForAnswer(page);
    }, '/#/chat/search');
  });
});
