/** `useChat` in a browser: `test/client/ai-sdk.test.ts` has its transport alone. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { type Site, startSite } from '#test/support/site.ts';

describe.skipIf(isBrowserMissing())('useChat in a React tree', () => {
  let edge: Edge;
  let site: Site;
  let browser: Browser;
  let client: Client;

  beforeAll(async () => {
    edge = await startSimulatingEdge({
      SIMULATOR_TTFT_MS: '20',
      SIMULATOR_TOKENS_PER_SECOND: '400',
    });
    site = await startSite(await bundleForBrowser("import './test/support/chat-page.ts';"));
    browser = await launchBrowser();
    client = createClient({ baseURL: edge.url });
  });

  afterAll(async () => {
    await browser?.close();
    site?.stop();
    await edge?.stop();
  });

  /** Opens a page whose question, if there is a turn to resume, is answered only once it is released. */
  async function openWithHeldResume(id: string, more: Record<string, string>) {
    const page = await browser.newPage();
    let go = () => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const path = `**/conversations/${id}/stream?*`;
    await page.route(path, async (route) => {
      await held;
      await route.continue();
    });
    await open(id, more, page);
    const release = async () => {
      const answered = page.waitForResponse(path);
      go();
      await answered;
      // Time for the page to take over what it was given, if it was given anything.
      await page.waitForTimeout(500);
    };
    return { page, release };
  }

  async function open(id: string, more: Record<string, string> = {}, on?: Page): Promise<Page> {
    const page = on ?? (await browser.newPage());
    page.setDefaultTimeout(240_000);
    await page.goto(`${site.url}?${new URLSearchParams({ edge: edge.url, id, ...more })}`);
    await page.waitForSelector('main[data-status=ready]');
    return page;
  }

  async function send(page: Page, text: string): Promise<void> {
    await page.fill('[name=text]', text);
    await page.press('[name=text]', 'Enter');
  }

  const done = (page: Page, answers: number) =>
    page.waitForFunction(
      (count) =>
        document.querySelector('main')?.dataset.status === 'ready' &&
        document.querySelectorAll('.assistant').length === count &&
        !document.querySelector('.assistant:last-of-type[data-metadata=null]'),
      answers,
    );
  const shown = (page: Page, selector = '.assistant .text') => page.locator(selector).allTextContents();
  const rowsOf = async (id: string) => (await client.conversations.messages(id)).data;
  const said = (content: Awaited<ReturnType<typeof rowsOf>>[number]['content'] | undefined) =>
    (typeof content === 'string' ? [] : (content ?? [])).map(({ text }) => text ?? '').join('');

  test('sends a message, shows the response while it arrives, and keeps it', async () => {
    const page = await open('sends', { simulate: 'tps=60' });
    await send(page, 'Hello there');
    await page.waitForSelector('main[data-status=streaming] .assistant .text');
    await done(page, 1);
    const rows = await rowsOf('sends');
    expect(await shown(page)).toEqual([said(rows[1]?.content)]);
    const metadata = JSON.parse((await page.getAttribute('.assistant', 'data-metadata')) ?? '{}');
    expect(metadata).toMatchObject({ stopReason: 'end_turn', stopped: false, costUsd: rows[1]?.cost_usd });
    await send(page, 'And again');
    await done(page, 2);
    expect((await rowsOf('sends')).map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  });

  test('shows nothing for a conversation that does not exist yet, and logs no 404 to the console', async () => {
    const page = await browser.newPage();
    const said: string[] = [];
    page.on('console', (message) => said.push(message.text()));
    await open('unheard-of', {}, page);
    await page.waitForTimeout(300);
    expect(await page.locator('.assistant').count()).toBe(0);
    expect(said.filter((text) => text.includes('404'))).toEqual([]);
  });

  test('stops the turn, keeps the text so far, and continues', async () => {
    const page = await open('stops', { simulate: 'tps=20' });
    await send(page, 'Tell me about rivers');
    await page.waitForSelector('.assistant .text');
    await page.click('#stop');
    await page.waitForSelector('main[data-status=ready]');
    await expect.poll(async () => (await rowsOf('stops')).map(({ status }) => status)).toEqual(['stopped', 'stopped']);
    await page.goto(page.url().replace('tps%3D20', ''));
    await page.waitForSelector('.assistant .text');
    await send(page, 'Go on');
    await done(page, 2);
    expect(await rowsOf('stops')).toHaveLength(4);
  });

  test('stops a turn that was sent before the page knew whether there was a turn to resume', async () => {
    const { page, release } = await openWithHeldResume('late', { simulate: 'tps=5' });
    await send(page, 'Tell me about rivers');
    await page.waitForSelector('.assistant .text');
    await release();
    await page.click('#stop');
    await expect.poll(async () => (await rowsOf('late')).map(({ status }) => status)).toEqual(['stopped', 'stopped']);
    expect(await page.locator('.assistant').count()).toBe(1);
  });

  test('shows the question and the complete response after a reload in mid-response', async () => {
    const page = await open('reloads', { simulate: 'tps=12' });
    await send(page, 'Tell me about bridges');
    await page.waitForSelector('.assistant .text');
    await page.reload();
    await page.waitForSelector('main[data-status=streaming] .assistant .text');
    expect(await shown(page, '.user .text')).toEqual(['Tell me about bridges']);
    await done(page, 1);
    const rows = await rowsOf('reloads');
    expect(rows.map(({ status }) => status)).toEqual(['complete', 'complete']);
    expect(await shown(page)).toEqual([said(rows[1]?.content)]);
    const { data } = await client.requests({ limit: 1_000 });
    expect(data.filter(({ conversation }) => conversation === 'reloads')).toHaveLength(1);
    // Reloaded once more, everything is there, and nothing runs.
    await page.reload();
    await done(page, 1);
    expect(await shown(page)).toEqual([said(rows[1]?.content)]);
  });

  test('shows a response that ended after a reload, before the page requested its stream', async () => {
    const first = await open('ends-early', { simulate: 'tps=30' });
    await send(first, 'Tell me about bridges');
    await first.waitForSelector('.assistant .text');
    // The question is loaded while the answer runs; what follows the answer is asked when it is over.
    const { page, release } = await openWithHeldResume('ends-early', {});
    await expect.poll(async () => (await client.conversations.get('ends-early')).state).toBe('idle');
    expect(await shown(page, '.user .text')).toEqual(['Tell me about bridges']);
    await release();
    await done(page, 1);
    expect(await shown(page)).toEqual([said((await rowsOf('ends-early'))[1]?.content)]);
  });

  test('runs a tool in the page and responds with its result', async () => {
    const page = await open('tools');
    await send(page, 'What is the weather in Bern?');
    await done(page, 1);
    expect((await shown(page)).at(-1)).toContain('blue');
    const tool = JSON.parse((await shown(page, '.tool-get_weather'))[0] ?? '{}');
    expect(tool).toMatchObject({ state: 'output-available', input: { city: 'Bern' }, output: { sky: 'blue' } });
    const rows = await rowsOf('tools');
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    const metadata = JSON.parse((await page.getAttribute('.assistant', 'data-metadata')) ?? '{}');
    const { cost_usd } = await client.conversations.get('tools');
    expect(metadata.costUsd).toBe(cost_usd);
    await page.reload();
    await done(page, 1);
    expect((await shown(page)).at(-1)).toContain('blue');
    await send(page, 'Thank you');
    await done(page, 2);
  });

  test('regenerates the last response, and sends a picture', async () => {
    const page = await open('again');
    await page.check('[name=picture]');
    await send(page, 'What is this?');
    await done(page, 1);
    const [before] = await rowsOf('again');
    await page.click('#again');
    await expect.poll(async () => (await rowsOf('again')).map(({ id }) => id)).not.toContain(before?.id);
    await done(page, 1);
    const rows = await rowsOf('again');
    expect(rows).toHaveLength(2);
    expect(rows[0]?.content).toMatchObject([{ type: 'image', source: { media_type: 'image/png' } }, { type: 'text' }]);
  });

  test('shows the error type of a rejected request', async () => {
    const page = await open('refused', { max_tokens: '-1' });
    await send(page, 'Hello');
    await page.waitForSelector('main[data-error=invalid_request_error]');
  });

  test('keeps the error when the page learns later that there is nothing to resume', async () => {
    const { page, release } = await openWithHeldResume('refused-late', { max_tokens: '-1' });
    await send(page, 'Hello');
    await page.waitForSelector('main[data-error=invalid_request_error]');
    await release();
    expect(await page.getAttribute('main', 'data-error')).toBe('invalid_request_error');
  });
});
