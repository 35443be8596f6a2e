/** The page of a server that mints. Real are the edge, the client, Hono and Express; for Next.js see below. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { decodeJwt } from 'jose';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createClient } from '../../../src/client/index.ts';
import { noBrowser } from '../../support/browser.ts';
import { bundle } from '../../support/bundle.ts';
import type { Edge } from '../../support/edge.ts';
import {
  ANSWER,
  ask,
  type Frontend,
  type NodeServer,
  placed,
  publish,
  serving,
  sharedFrontends,
} from '../../support/frontend.ts';
import { filesIn, readGuide } from '../../support/guides.ts';
import { root } from '../../support/root.ts';
import { runs } from '../../support/runs.ts';
import { tokenOf } from '../../support/tokens.ts';

/** More than half of the 15 minutes for which a token holds. */
const PAST_HALF_MS = 8 * 60_000;
const react = await readGuide('react');
const { startBoth, visit, expectBound } = sharedFrontends();

describe.skipIf(noBrowser())('a page whose server mints', () => {
  const files = filesIn(react, 'Before you deploy it');
  const pageFiles = new Map([['token.js', files.get('src/token.js') ?? '']]);

  /** Loads the guide's server from a folder of its own, with a session that the guide leaves to its reader. */
  async function serverOf(
    name: string,
    site: Frontend,
    edge: Edge,
    token = 'chat-token.js',
    code = files,
  ): Promise<Record<string, unknown>> {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-frontend-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await writeFile(join(folder, 'package.json'), '{"type": "module"}');
    await writeFile(
      join(folder, 'session.js'),
      'export const userOf = async (cookie) => /\\buser=(\\w+)/.exec(cookie ?? "")?.[1];',
    );
    for (const file of [token, name]) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), placed(code.get(file) ?? '', site, edge));
    }
    vi.stubEnv('SLUICE_URL', edge.url);
    vi.stubEnv('SLUICE_ADMIN_TOKEN', await tokenOf('backend', ['admin']));
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    let entry = join(folder, name);
    if (token === 'user-token.js') {
      // The client's source stands for its package.
      const bundled = await bundle(`export * from ${JSON.stringify(entry)};`);
      entry = join(folder, 'bundled.js');
      await writeFile(entry, bundled);
    }
    return (await import(/* @vite-ignore */ pathToFileURL(entry).href)) as Record<string, unknown>;
  }

  type Handler = (request: Request) => Response | Promise<Response>;
  const SERVERS: [string, string, (loaded: Record<string, unknown>) => NodeServer][] = [
    ['Hono', 'hono.js', ({ app }) => serving((request) => (app as { fetch: Handler }).fetch(request))],
    ['Express', 'express.js', ({ app }) => app as NodeServer],
    // Of Next.js itself nothing runs: a route's handler is a function of the web's own `Request`.
    ['a handler of Next.js', 'app/chat-token/route.js', ({ POST }) => serving(POST as Handler)],
  ];

  test.each(SERVERS)('answers with %s, and renews its token without the server', async (_, name, serverBy) => {
    const { site, edge } = await startBoth();
    publish(site, edge, pageFiles);
    let minted = 0;
    const server = serverBy(await serverOf(name, site, edge));
    site.server = (request, response) => {
      minted += 1;
      return server(request, response);
    };
    const seen = await visit(site, edge, async (page) => {
      await page.context().addCookies([{ name: 'user', value: 'alice', url: site.origin }]);
      await page.clock.install();
    });
    expect(seen.sent).toEqual([]);
    expect(await ask(seen, 'Where is my parcel?')).toContain(ANSWER);
    const first = await expectBound(seen, site, edge, 'Where is my parcel?');
    expect(decodeJwt(first)).toMatchObject({
      sub: 'alice',
      only: { agents: ['support'], origins: [site.origin], approvals: true },
    });

    await seen.page.clock.fastForward(PAST_HALF_MS);
    expect(seen.sent.map(({ path }) => path)).toEqual(['/messages']);
    expect(await ask(seen, 'And now?')).toContain(ANSWER);
    expect(seen.sent.map(({ path }) => path)).toEqual(['/messages', '/tokens/renew', '/messages']);
    const second = await expectBound(seen, site, edge, 'And now?');
    expect(decodeJwt(second).jti).toBe(decodeJwt(first).jti);
    expect(minted).toBe(1);
  });

  /** By day the first: what its page says does not depend on the server. */
  const REFUSING = SERVERS.slice(0, runs(SERVERS.length));

  test.each(REFUSING)('tells who has not logged in, with %s', async (_, name, serverBy) => {
    const { site, edge } = await startBoth();
    publish(site, edge, pageFiles);
    site.server = serverBy(await serverOf(name, site, edge));
    const seen = await visit(site, edge);
    expect(await ask(seen, 'Hello?')).toContain('Log in first.');
    expect(seen.sent).toEqual([]);
  });

  test.each(REFUSING)(
    'tells when the edge gives no token, and sends nothing in its place, with %s',
    async (_, name, serverBy) => {
      const { site, edge } = await startBoth();
      publish(site, edge, pageFiles);
      const server = serverBy(await serverOf(name, site, edge));
      vi.stubEnv('SLUICE_ADMIN_TOKEN', await tokenOf('backend', ['messages']));
      const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
      onTestFinished(() => logged.mockRestore());
      let answer = 0;
      site.server = (request, response) => {
        response.on('finish', () => {
          answer = response.statusCode;
        });
        return server(request, response);
      };
      const seen = await visit(site, edge, async (page) => {
        await page.context().addCookies([{ name: 'user', value: 'alice', url: site.origin }]);
      });
      expect(await ask(seen, 'Hello?')).toContain('The chat cannot be reached now.');
      expect([answer, seen.sent]).toEqual([502, []]);
      expect(String(logged.mock.calls[0]?.[0])).toContain('The edge gave no token: 403');
    },
  );

  test('passes on all that a page asks, with a token of its user, who can do nothing else', async () => {
    const { site, edge } = await startBoth();
    const code = filesIn(react, 'Through your own server');
    const route = 'app/edge/[...path]/route.js';
    const { GET } = await serverOf(route, site, edge, 'user-token.js', code);
    const passOn = GET as (request: Request, context: { params: Promise<{ path: string[] }> }) => Promise<Response>;
    const clientOf = (cookie: string) =>
      createClient({
        baseURL: 'https://app.example.com/edge',
        fetch: (url, init) => {
          const request = new Request(url, init);
          request.headers.set('cookie', cookie);
          const path = new URL(url).pathname.split('/').slice(2).map(decodeURIComponent);
          return passOn(request, { params: Promise.resolve({ path }) });
        },
      });
    const alice = clientOf('user=alice');
    const messages = [{ role: 'user' as const, content: 'Where is my parcel?' }];
    const stream = alice.messages.stream({ agent: 'support', conversation: 'web-1', messages });
    expect(JSON.stringify((await stream.finalMessage()).content)).toContain('wörld');
    expect((await alice.conversations.messages('web-1')).data).toHaveLength(2);
    await expect(clientOf('user=bob').conversations.messages('web-1')).rejects.toMatchObject({ status: 404 });
    await expect(clientOf('').conversations.get('web-1')).rejects.toMatchObject({ status: 401 });
    await expect(alice.fetch('/accounts')).rejects.toMatchObject({ status: 403 });
    await expect(
      alice.messages.stream({ agent: 'support', conversation: 'own', messages }).finalMessage(),
    ).rejects.toMatchObject({
      status: 403,
    });
  });
});
