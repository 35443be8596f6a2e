/** The static page for visitors. What stands in for Turnstile, in the page and where the edge asks it, is said below. */
import { json } from 'node:stream/consumers';
import { decodeJwt } from 'jose';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import {
  ANSWER,
  askByForm,
  guide,
  openSharedFrontends,
  publishGuidePage,
  startFrontend,
} from '#test/support/frontend.ts';
import { filesOfSection } from '#test/support/guides.ts';

const API_JS = 'https://challenges.cloudflare.com/turnstile/v0/api.js*';
/** More than half of the hour for which a visitor's token holds. */
const PAST_HALF_MS = 31 * 60_000;
const { startSiteAndEdge: startBoth, openPage: visit, expectRestrictedAnswer: expectBound } = openSharedFrontends();

/**
 * A stand-in for Turnstile's script: a widget answers soon after it is rendered, and a second one in the same place does not.
 */
const TURNSTILE = `
  let answers = 0;
  const rendered = new Map();
  window.turnstile = {
    render(container, options) {
      if (!document.querySelector(container) || rendered.has(container)) throw new Error('no place for a widget');
      if (options.sitekey === undefined || options.action !== 'sluice') throw new Error('not this widget');
      rendered.set(container, options);
      setTimeout(() => options.callback('answer-' + ++answers));
      return container;
    },
    remove(widget) { rendered.delete(widget); },
  };`;

describe.skipIf(isBrowserMissing())('a static page for visitors', () => {
  const files = filesOfSection(guide, 'Visitors without a login');

  /** What stands in for Turnstile where the edge asks it: an answer is good once, or again for the same question. */
  async function startVerifier(expired: readonly string[] = []) {
    const asked: Record<string, string>[] = [];
    const used = new Map<string, string>();
    const verifier = await startFrontend();
    onTestFinished(verifier.stop);
    verifier.server = async (request, response) => {
      const sent = (await json(request)) as { response: string; idempotency_key: string };
      asked.push(sent);
      const isGood = (used.get(sent.response) ?? sent.idempotency_key) === sent.idempotency_key;
      used.set(sent.response, sent.idempotency_key);
      const verdict =
        isGood && !expired.includes(sent.response)
          ? { success: true, hostname: '127.0.0.1', action: 'sluice', challenge_ts: new Date().toISOString() }
          : { success: false, 'error-codes': ['timeout-or-duplicate'] };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(verdict));
    };
    return { asked, url: `${verifier.origin}/siteverify` };
  }

  /** @returns the Worker with another address at which it verifies responses */
  function createWorkerWithVerifier(url: string): string {
    const parts = inject('deployed').code.split('https://challenges.cloudflare.com/turnstile/v0/siteverify');
    expect(parts).toHaveLength(2);
    return parts.join(url);
  }

  /** Opens the page, on an edge with the guide's setting. */
  async function open({ script = TURNSTILE, expired = [] as string[] } = {}) {
    const verifier = await startVerifier(expired);
    const settings = ({ origin }: { origin: string }) => ({
      VISITORS: (/^VISITORS = '(.*)'$/m.exec(guide)?.[1] ?? '').replace('https://app.example.com', origin),
      TURNSTILE_SECRET: 'the-secret-of-the-tests-widget',
    });
    const { site, edge } = await startBoth(settings, createWorkerWithVerifier(verifier.url));
    publishGuidePage(site, edge, files);
    const seen = await visit(site, edge, async (page) => {
      await page.route(API_JS, (route) => route.fulfill({ contentType: 'text/javascript', body: script }));
      await page.clock.install();
    });
    return { site, edge, seen, verified: verifier.asked };
  }

  test('shows a response, and renews its token without another Turnstile check', async () => {
    const { site, edge, seen, verified } = await open();
    expect(seen.sentRequests).toEqual([]);
    expect(await askByForm(seen, 'Do you deliver?')).toContain(ANSWER);
    const first = await expectBound(seen, site, edge, 'Do you deliver?');
    expect(decodeJwt(first)).toMatchObject({ only: { agents: ['support'], origins: [site.origin] } });
    await seen.page.clock.fastForward(PAST_HALF_MS);
    expect(await askByForm(seen, 'When?')).toContain(ANSWER);
    const second = await expectBound(seen, site, edge, 'When?');
    expect(seen.sentRequests.map(({ path }) => path)).toEqual([
      '/tokens/visitor',
      '/messages',
      '/tokens/renew',
      '/messages',
    ]);
    expect(decodeJwt(second)).toMatchObject({ jti: decodeJwt(first).jti, sub: decodeJwt(first).sub });
    expect(verified.map(({ response }) => response)).toEqual(['answer-1']);
  });

  test('becomes a new visitor if its token can no longer be renewed', async () => {
    const { site, edge, seen, verified } = await open();
    expect(await askByForm(seen, 'Do you deliver?')).toContain(ANSWER);
    const first = await expectBound(seen, site, edge, 'Do you deliver?');
    await seen.page.route(`${edge.url}/tokens/renew`, (route) =>
      route.fulfill({ status: 401, headers: { 'access-control-allow-origin': site.origin }, json: {} }),
    );
    await seen.page.clock.fastForward(PAST_HALF_MS);
    expect(await askByForm(seen, 'Hello again.')).toContain(ANSWER);
    expect(verified.map(({ response }) => response)).toEqual(['answer-1', 'answer-2']);
    expect(decodeJwt(seen.sentRequests.at(-1)?.token ?? '').sub).not.toBe(decodeJwt(first).sub);
  });

  test('requests another Turnstile response if the first one has expired', async () => {
    const { seen, verified } = await open({ expired: ['answer-1'] });
    expect(await askByForm(seen, 'Do you deliver?')).toContain(ANSWER);
    expect(verified.map(({ response }) => response)).toEqual(['answer-1', 'answer-2']);
  });

  test('shows an error for each question if Turnstile fails or is not loaded', async () => {
    const failing = TURNSTILE.replace(
      /options\.callback\('answer-' \+ \+\+answers\)/,
      "options['error-callback']('300010')",
    );
    expect(failing).not.toBe(TURNSTILE);
    for (const [script, told] of [
      [failing, 'Turnstile: 300010'],
      ['', 'Turnstile was not loaded'],
    ] as const) {
      const { seen } = await open({ script });
      expect(await askByForm(seen, 'Hello?')).toContain(told);
      expect(await askByForm(seen, 'Hello?')).toContain(told);
      expect(seen.sentRequests).toEqual([]);
    }
  });
});
