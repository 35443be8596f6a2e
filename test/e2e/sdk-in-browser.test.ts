/** The official SDK where a browser asks before it sends: `test/edge/auth` has no browser. */
import type AnthropicSdk from '@anthropic-ai/sdk';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { readGuide } from '#test/support/guides.ts';
import { type Site, startSite } from '#test/support/site.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

const SHOWN_LINE = 'new Anthropic({ baseURL, authToken: token, dangerouslyAllowBrowser: true })';

describe.skipIf(isBrowserMissing())('the official SDK in a browser page', () => {
  let upstream: FakeUpstream;
  let edge: Edge;
  let site: Site;
  let foreign: Site;
  let browser: Browser;

  beforeAll(async () => {
    upstream = await startUpstream((_, response) => {
      void streamBytes(response, [new TextEncoder().encode(TEXT_STREAM)], 'end');
    });
    const script = await bundleForBrowser(
      "import Anthropic from '@anthropic-ai/sdk'; globalThis.Anthropic = Anthropic;",
    );
    site = await startSite(script);
    foreign = await startSite(script);
    edge = await startEdge(inject('deployed').code, {
      SIGNING_SECRET: SECRET,
      ANTHROPIC_API_KEY: 'test-key',
      ANTHROPIC_BASE_URL: upstream.url,
      ALLOWED_ORIGINS: new URL(site.url).origin,
    });
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser?.close();
    site?.stop();
    foreign?.stop();
    await edge?.stop();
    await upstream?.stop();
  });

  /** Streams an answer in a page. @returns its text, or the status and name of what it failed with */
  async function ask(from: Site, token: string): Promise<string> {
    const page: Page = await browser.newPage();
    await page.goto(from.url);
    return await page.evaluate(
      async ({ baseURL, token }) => {
        const { Anthropic } = globalThis as unknown as { Anthropic: typeof AnthropicSdk };
        const anthropic = new Anthropic({ baseURL, authToken: token, dangerouslyAllowBrowser: true, maxRetries: 0 });
        const messages = [{ role: 'user' as const, content: 'Hi' }];
        try {
          return await anthropic.messages.stream({ model: 'claude-haiku-4-5', max_tokens: 100, messages }).finalText();
        } catch (thrown) {
          const { status, message } = thrown as { status?: number; message: string };
          return `${status}: ${message}`;
        }
      },
      { baseURL: edge.url, token },
    );
  }

  test("streams with a short-lived token, which the edge replaces with the upstream's key", async () => {
    const token = await createToken('browser', ['messages'], { expiresIn: 60 });
    expect(await ask(site, token)).toBe('Héllo, "wörld" 🌍\n');
    expect(upstream.receivedRequests.at(-1)?.headers).toMatchObject({ 'x-api-key': 'test-key' });
    expect(upstream.receivedRequests.at(-1)?.headers.origin).toBeUndefined();
  });

  test('gets a 401 authentication_error for an expired token', async () => {
    const token = await createToken('browser', ['messages'], { expiresIn: 1 });
    await expect.poll(() => ask(site, token), { interval: 500 }).toMatch(/^401: .*authentication_error/s);
  });

  test('gets no response on a page of an origin that is not allowed', async () => {
    const before = upstream.receivedRequests.length;
    expect(await ask(foreign, await createToken('browser', ['messages'], { expiresIn: 60 }))).toMatch(/^undefined: /);
    expect(upstream.receivedRequests.length).toBe(before);
  });

  test('is configured as the guide shows', async () => {
    expect(await readGuide('clients')).toContain(SHOWN_LINE);
  });
});
