/** The page of a server that mints. Real are the edge, the client and Express; of Next.js nothing runs. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { decodeJwt } from 'jose';
import type { Page } from 'playwright-core';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createClient } from '#client/index.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import type { Edge } from '#test/support/edge.ts';
import { countFollowers } from '#test/support/followers.ts';
import {
  ANSWER,
  askByForm,
  type Frontend,
  LONG_QUESTION,
  type NodeServer,
  openSharedFrontends,
  publishGuidePage,
  startSlowEdge,
} from '#test/support/frontend.ts';
import { filesOfSection, readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { createToken } from '#test/support/tokens.ts';

/** More than half of the 15 minutes for which a token holds. */
const PAST_HALF_MS = 8 * 60_000;
const react = await readGuide('react');
const nextjs = await readGuide('nextjs');
const { startSiteAndEdge: startBoth, openPage: visit, expectRestrictedAnswer: expectBound } = openSharedFrontends();

describe.skipIf(isBrowserMissing())('a page whose server creates tokens', () => {
  const files = filesOfSection(react, 'The server');
  // This file contains no types, so it is JavaScript as well.
  const pageFiles = new Map([['token.js', filesOfSection(react, 'Make the folder').get('src/token.ts') ?? '']]);

  /** Writes a server of the guide into a folder of its own, with its settings. @returns where its file is */
  async function writeServer(name: string, code: ReadonlyMap<string, string>, site: Frontend, edge: Edge) {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-frontend-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await writeFile(join(folder, 'package.json'), '{"type": "module"}');
    for (const [file, text] of code) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), text);
    }
    vi.stubEnv('SLUICE_URL', edge.url);
    vi.stubEnv('SLUICE_ADMIN_TOKEN', await createToken('backend', ['admin']));
    vi.stubEnv('PAGE_ORIGIN', site.origin);
    vi.stubEnv('PORT', '0');
    // In tests Express does not log what has failed.
    vi.stubEnv('NODE_ENV', 'development');
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    return join(folder, name);
  }

  async function serverOf(site: Frontend, edge: Edge): Promise<NodeServer> {
    const path = await writeServer('server.ts', files, site, edge);
    const { server } = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as { server: Server };
    onTestFinished(() => void server.close());
    return (request, response) => server.emit('request', request, response);
  }

  /** By the guide's own login. */
  const asAlice = (site: Frontend) => async (page: Page) => {
    await page.request.get(`${site.origin}/login?user=alice`, { maxRedirects: 0 });
  };

  test('shows a response, and renews its token without the server', async () => {
    const { site, edge } = await startBoth();
    publishGuidePage(site, edge, pageFiles);
    let minted = 0;
    const server = await serverOf(site, edge);
    site.server = (request, response) => {
      if (request.url === '/chat-token') minted += 1;
      return server(request, response);
    };
    const seen = await visit(site, edge, async (page) => {
      await asAlice(site)(page);
      await page.clock.install();
    });
    expect(seen.sentRequests).toEqual([]);
    expect(await askByForm(seen, 'Where is my parcel?')).toContain(ANSWER);
    const first = await expectBound(seen, site, edge, 'Where is my parcel?');
    expect(decodeJwt(first)).toMatchObject({
      sub: 'alice',
      only: { agents: ['support'], origins: [site.origin], approvals: true },
    });

    await seen.page.clock.fastForward(PAST_HALF_MS);
    expect(seen.sentRequests.map(({ path }) => path)).toEqual(['/messages']);
    expect(await askByForm(seen, 'And now?')).toContain(ANSWER);
    expect(seen.sentRequests.map(({ path }) => path)).toEqual(['/messages', '/tokens/renew', '/messages']);
    const second = await expectBound(seen, site, edge, 'And now?');
    expect(decodeJwt(second).jti).toBe(decodeJwt(first).jti);
    expect(minted).toBe(1);
  });

  test('asks a user without a session to log in', async () => {
    const { site, edge } = await startBoth();
    publishGuidePage(site, edge, pageFiles);
    site.server = await serverOf(site, edge);
    const seen = await visit(site, edge);
    expect(await askByForm(seen, 'Hello?')).toContain('Log in first.');
    expect(seen.sentRequests).toEqual([]);
  });

  test('shows an error if Sluice returns no token, and sends no request', async () => {
    const { site, edge } = await startBoth();
    publishGuidePage(site, edge, pageFiles);
    const server = await serverOf(site, edge);
    vi.stubEnv('SLUICE_ADMIN_TOKEN', await createToken('backend', ['messages']));
    const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
    onTestFinished(() => logged.mockRestore());
    let answer = 0;
    site.server = (request, response) => {
      response.on('finish', () => {
        answer = response.statusCode;
      });
      return server(request, response);
    };
    const seen = await visit(site, edge, asAlice(site));
    expect(await askByForm(seen, 'Hello?')).toContain('The chat cannot be reached now.');
    expect([answer, seen.sentRequests]).toEqual([500, []]);
    expect(String(logged.mock.calls[0]?.[0])).toContain('Sluice returned no token: 403');
  });

  test('closes its stream when it is left during a response, and generation continues', async () => {
    const { site } = await startBoth();
    const edge = await startSlowEdge({ ALLOWED_ORIGINS: site.origin });
    publishGuidePage(site, edge, pageFiles);
    site.server = await serverOf(site, edge);
    const { page } = await visit(site, edge, asAlice(site));
    await page.getByLabel('Question').fill(LONG_QUESTION);
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.locator('section p').nth(1).getByText('simulator').waitFor();
    const token = await createToken('alice');
    const alice = createClient({ baseURL: edge.url, token });
    const [{ id } = { id: '' }] = (await alice.conversations.list()).data;
    await expect.poll(() => countFollowers(edge.url, token, id)).toBe(1);
    await page.goto('about:blank');
    await expect.poll(() => countFollowers(edge.url, token, id)).toBe(0);
    expect((await alice.conversations.get(id)).state).toBe('running');
  });

  type PassOn = (request: Request, context: { params: Promise<{ path: string[] }> }) => Promise<Response>;

  /** Makes the route of Next.js. @returns a function that makes the client of a user, whose requests go through it */
  async function routeOf(site: Frontend, edge: Edge) {
    const code = new Map(['The login', 'Forward requests'].flatMap((heading) => [...filesOfSection(nextjs, heading)]));
    const route = await writeServer('app/edge/[...path]/route.ts', code, site, edge);
    // The client's source stands for its package.
    const bundled = join(dirname(route), 'bundled.js');
    const session = JSON.stringify(join(dirname(route), '../../../session.ts'));
    await writeFile(
      bundled,
      await bundleForBrowser(`export * from ${JSON.stringify(route)}; export { logIn } from ${session};`),
    );
    const { GET, logIn } = (await import(/* @vite-ignore */ pathToFileURL(bundled).href)) as Record<string, unknown>;
    const passOn = GET as PassOn;
    const cookieOf = logIn as (user: string) => string;
    const ask = (url: string, init: RequestInit, cookie: string) => {
      const request = new Request(url, init);
      request.headers.set('cookie', cookie);
      const path = new URL(url).pathname.split('/').slice(2).map(decodeURIComponent);
      return passOn(request, { params: Promise.resolve({ path }) });
    };
    return { ask, cookieOf };
  }

  test('forwards the requests of a page with a token that is restricted to its user', async () => {
    const { site, edge } = await startBoth();
    const { ask, cookieOf } = await routeOf(site, edge);
    const clientOf = (cookie: string) =>
      createClient({ baseURL: 'https://app.example.com/edge', fetch: (url, init) => ask(url, init, cookie) });
    const alice = clientOf(cookieOf('alice'));
    const messages = [{ role: 'user' as const, content: 'Where is my parcel?' }];
    const stream = alice.messages.stream({ agent: 'support', conversation: 'web-1', messages });
    expect(JSON.stringify((await stream.finalMessage()).content)).toContain('wörld');
    expect((await alice.conversations.messages('web-1')).data).toHaveLength(2);
    await expect(clientOf(cookieOf('bob')).conversations.messages('web-1')).rejects.toMatchObject({ status: 404 });
    for (const cookie of ['', 'session=alice.x', cookieOf('alice').replace('alice', 'bob')])
      await expect(clientOf(cookie).conversations.get('web-1')).rejects.toMatchObject({ status: 401 });
    await expect(alice.fetch('/accounts')).rejects.toMatchObject({ status: 403 });
    await expect(
      alice.messages.stream({ agent: 'support', conversation: 'own', messages }).finalMessage(),
    ).rejects.toMatchObject({
      status: 403,
    });
  });

  test('closes the stream of a page that is left, so that sixty reloads during a response succeed', async () => {
    const { site } = await startBoth();
    const edge = await startSlowEdge();
    const { ask, cookieOf } = await routeOf(site, edge);
    const json = { 'content-type': 'application/json' };
    const messages = [{ role: 'user', content: LONG_QUESTION }];
    const asked = { agent: 'support', conversation: 'web-1', messages };
    const at = 'https://app.example.com/edge';
    const turn = { method: 'POST', headers: json, body: JSON.stringify(asked) };
    const staying = (await ask(`${at}/messages`, turn, cookieOf('alice'))).body?.getReader();
    await staying?.read();
    const statuses: number[] = [];
    for (let reload = 1; reload <= 60; reload += 1) {
      const leaving = new AbortController();
      const url = `${at}/conversations/web-1/stream`;
      const stream = await ask(url, { signal: leaving.signal }, cookieOf('alice'));
      statuses.push(stream.status);
      await stream.body?.getReader().read();
      leaving.abort();
      // The edge notices that pages have left when it writes to them.
      if (reload % 10 === 0) for (const _ of [1, 2]) await staying?.read();
    }
    await staying?.cancel();
    expect(new Set(statuses)).toEqual(new Set([200]));
  });
});
