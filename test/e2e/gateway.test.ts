/** A gateway that knows no other route: the page in a browser, and what a start says. */
import type { ServerResponse } from 'node:http';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { type Edge, startEdgeWithPage } from '#test/support/edge.ts';
import { askQuestion, lastAnswerOf, openPage, waitForAnswer } from '#test/support/page.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';

const WEB_PAGE = '<!doctype html><title>Welcome to the gateway</title>';
const KEY = 'sk-of-the-gateway';

/** What a gateway has to say at a path that it does not know. */
const UNKNOWN: Readonly<Record<string, (response: ServerResponse) => void>> = {
  'a 404 in JSON': (response) => send(response, 404, 'application/json', '{"error":"not found"}'),
  'a 405': (response) => send(response, 405, 'text/plain', 'Method Not Allowed'),
  'a web page': (response) => send(response, 200, 'text/html', WEB_PAGE),
  'a redirect to a web page': (response) => response.writeHead(302, { location: '/welcome' }).end(),
  nothing: () => {},
};

const STREAM =
  messageStart({ model: 'claude-haiku-5-5', usage: { input_tokens: 9, output_tokens: 1 } }) +
  textBlock(['Hello from the gateway.']) +
  messageEnd({ output_tokens: 6 });

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}

let gateway: FakeUpstream;
let unknown: (response: ServerResponse) => void;

beforeAll(async () => {
  gateway = await startUpstream(({ method, path }, response) => {
    if (method !== 'POST' || !/^\/v1\/messages(\?|$)/.test(path)) return unknown(response);
    send(response, 200, 'text/event-stream', STREAM);
  });
});
afterAll(async () => await gateway?.stop());

describe.skipIf(isBrowserMissing())(
  'the page of a deployment behind a gateway with only /v1/messages, in Chromium',
  () => {
    let edge: Edge;
    let browser: Browser;

    beforeAll(async () => {
      const vars = { UPSTREAM: 'anthropic', ANTHROPIC_BASE_URL: gateway.url, ANTHROPIC_API_KEY: KEY };
      [edge, browser] = await Promise.all([startEdgeWithPage(vars), launchBrowser()]);
    });
    afterAll(async () => {
      await browser?.close();
      await edge?.stop();
    });

    const KINDS = Object.keys(UNKNOWN);
    // By day the first: to the page all of them are answers that are none.
    test.each(KINDS.slice(0, caseCount(KINDS.length)))('opens and chats if all other paths return %s', async (kind) => {
      unknown = UNKNOWN[kind] ?? unknown;
      const { page, close } = await openPage(browser, edge.url);
      await askQuestion(page, `Hello, by ${kind}`);
      await waitForAnswer(page);
      expect(await lastAnswerOf(page).textContent()).toContain('Hello from the gateway.');
      // It can be chosen who answers, by the edge's own table.
      await page.getByText('Claude Haiku 5.5').first().waitFor();
      await close();
    });
  },
);
