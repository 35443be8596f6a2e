import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '../../../src/client/index.ts';
import { launchBrowser, noBrowser } from '../../support/browser.ts';
import { answered, type OpenPage, openPage } from '../../support/page.ts';
import { npmStart, type Started } from '../../support/start.ts';

const HAIKU = 'claude-haiku-5-5';

describe.skipIf(noBrowser())('Agents in the page, in Chromium', () => {
  let server: Started;
  let browser: Browser;
  let client: Client;
  let shop: Server;
  let shopUrl = '';
  /** What the shop was asked for. */
  const orders: unknown[] = [];

  beforeAll(async () => {
    shop = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        orders.push(JSON.parse(Buffer.concat(pieces).toString()));
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"ordered":true}');
      });
    });
    await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(shop.address() as AddressInfo).port}`;
    shopUrl = `http://${host}/order`;
    const vars = {
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
      TOOL_HOSTS: host,
      TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
    };
    const args = Object.entries(vars).flatMap(([name, value]) => ['--var', `${name}:${value}`]);
    [server, browser] = await Promise.all([npmStart(args), launchBrowser()]);
    client = createClient({ baseURL: server.url });
  });

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    shop?.close();
  });

  async function inPage(work: (opened: OpenPage) => Promise<void>, path: string): Promise<void> {
    const opened = await openPage(browser, server.url + path);
    try {
      await work(opened);
      expect(opened.faults).toEqual([]);
    } finally {
      await opened.close();
    }
  }

  const store = async (name: string, fields: object) =>
    await client.fetch(`/agents/${name}`, { method: 'PUT', body: { model: HAIKU, max_tokens: 200, ...fields } });

  test('are listed with their cost and last run, and open with their versions', async () => {
    await store('porter', { description: 'Opens doors', system: 'You open doors.' });
    await store('porter', { description: 'Opens gates', system: 'You open gates.', limits: { max_turns: 3 } });
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
          expect.stringMatching(/^\$0\.0+\d+$/),
          expect.stringMatching(/^\d\d:\d\d:\d\d$/),
          expect.stringMatching(/^\d\d:\d\d:\d\d$/),
        ]);
      expect(await page.getByRole('row', { name: /idle/ }).getByRole('cell').nth(1).textContent()).toBe('0');
      await page.getByRole('link', { name: 'porter' }).click();
      await page.getByRole('heading', { level: 1, name: 'porter' }).waitFor();
      await page.getByText('max_turns 3').waitFor();
      const versions = page.getByRole('region', { name: 'Versions' }).locator('tbody tr');
      await expect.poll(() => versions.count()).toBe(2);
      await versions.first().getByText('current').waitFor();
      expect(await versions.locator('td:nth-child(4)').allTextContents()).toEqual(['1', '0']);
      await page.getByRole('link', { name: 'a-gate' }).click();
      await page.getByRole('article', { name: 'You' }).getByText('what is a gate').waitFor();
    }, '/#/agents');
  });

  /** Begins a run whose tool waits for approval. */
  const beginWaiting = async (conversation: string) => {
    const order = {
      name: 'order_bread',
      description: 'Orders bread.',
      input_schema: { type: 'object' as const, properties: { loaves: { type: 'integer' as const, minimum: 1 } } },
      run: { url: shopUrl, approval: 'always' as const },
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

  test('a call that waits is a card: its input is changed, it is approved, and the run goes on with what was approved', async () => {
    await beginWaiting('bread-1');
    orders.length = 0;
    await inPage(async ({ page }) => {
      const card = page.getByRole('region', { name: 'Approval of order_bread' });
      await card.getByText('needs your approval').waitFor();
      const input = card.getByRole('textbox', { name: 'Input' });
      await input.fill('{"loaves": ');
      await card.getByRole('button', { name: 'Approve with this input' }).click();
      await card.getByText('The input must be a JSON object').waitFor();
      expect(orders).toEqual([]);
      await input.fill('{"loaves": 12}');
      await card.getByRole('button', { name: 'Approve with this input' }).click();
      await card.waitFor({ state: 'detached' });
      await answered(page);
      await expect.poll(() => orders.length).toBe(1);
      expect(JSON.stringify(orders[0])).toContain('"loaves":12');
      await page.locator('.edge-call[data-state=done]').first().waitFor();
      await page.reload();
      await answered(page);
      expect(await page.getByRole('region', { name: /^Approval of/ }).count()).toBe(0);
    }, '/#/chat/bread-1');
  });

  test('a call that is denied is not made, and its reason is told', async () => {
    await beginWaiting('bread-2');
    orders.length = 0;
    await inPage(async ({ page }) => {
      const card = page.getByRole('region', { name: 'Approval of order_bread' });
      await card.getByRole('textbox', { name: 'Why it is denied' }).fill('We have bread.');
      await card.getByRole('button', { name: 'Deny' }).click();
      await card.waitFor({ state: 'detached' });
      await answered(page);
      const failed = page.locator('.edge-call[data-state=failed]').first();
      await failed.locator('summary').click();
      await failed.getByText(/We have bread\./).waitFor();
      expect(orders).toEqual([]);
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
      await subagent.getByRole('link', { name: 'Open it' }).click();
      await page.waitForURL(/sub_[0-9a-f]{32}$/);
      await answered(page);
    }, '/#/chat/search');
  });
});
