import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { openSharedEdge } from '#test/support/shared-start.ts';
import { listGuides } from '../../scripts/guides.ts';

/** The address with which the guides are written. */
const WRITTEN_ADDRESS = 'http://localhost:8787';

let url: string;

const edge = openSharedEdge();
beforeAll(async () => {
  url = await edge();
});

describe('the static assets', () => {
  test('are public and have security headers, and the Worker serves all other paths', async () => {
    for (const [path, type] of [
      ['/docs', 'text/html'],
      ['/docs/guides-page.js', 'text/javascript'],
      ['/docs/openapi.json', 'application/json'],
      ['/openapi.json', 'application/json'],
    ] as const) {
      const response = await fetch(url + path);
      expect(response.status, path).toBe(200);
      expect(response.headers.get('content-type'), path).toContain(type);
      expect(response.headers.get('x-content-type-options'), path).toBe('nosniff');
      const policy = response.headers.get('content-security-policy') ?? '';
      expect(policy, path).toContain("default-src 'none'; script-src 'self'; style-src 'self';");
      expect(policy, path).not.toContain('unsafe');
      await response.body?.cancel();
    }
    const headers = { origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' };
    const document = await fetch(`${url}/openapi.json`, { headers });
    expect(document.headers.get('access-control-allow-origin')).toBe(headers.origin);
    expect(await document.json()).toMatchObject({ openapi: '3.1.1', paths: { '/v1/messages': { post: {} } } });
    expect((await fetch(`${url}/docs`, { method: 'POST' })).status).toBe(405);
    const missing = await fetch(`${url}/docs/nothing`);
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
  });

  test('include the guides, which link each other', async () => {
    const guides = listGuides(await readFile(new URL('../../README.md', import.meta.url), 'utf8'));
    for (const file of ['', ...guides.map((guide) => guide.file)]) {
      const response = await fetch(`${url}/docs/guides/${file}`.replace(/\/$/, ''));
      expect(response.status, file).toBe(200);
      const page = await response.text();
      for (const guide of guides) expect(page, file).toContain(`href="/docs/guides/${guide.file}"`);
      // Links of other sites may end so.
      expect(page, file).not.toMatch(/href="(?!https?:)[^"]*\.md"/);
    }
  });

  test('include no page with a dead link', async () => {
    const dead: string[] = [];
    /** The pages and files that were fetched, by their paths, with the anchors of each. */
    const fetched = new Map<string, { status: number; anchors: Set<string> }>();
    const waiting = [{ from: '', href: '/docs' }];
    for (const { from, href } of waiting) {
      // The script of a page replaces the address with which the guides are written.
      const target = URL.parse(href.replace(WRITTEN_ADDRESS, url), url + from);
      // Other sites cannot be called here.
      if (target && target.origin !== new URL(url).origin) continue;
      const { pathname = '', hash = '' } = target ?? {};
      if (target && !fetched.has(pathname)) {
        const response = await fetch(url + pathname);
        const isPage = response.headers.get('content-type')?.includes('text/html') ?? false;
        const text = isPage ? await response.text() : '';
        await response.body?.cancel().catch(() => {});
        const anchors = new Set([...text.matchAll(/ id="([^"]+)"/g)].map(([, id = '']) => id));
        fetched.set(pathname, { status: response.status, anchors });
        const isGuide = pathname.startsWith('/docs');
        for (const [, to = ''] of isGuide ? text.matchAll(/ (?:href|src)="([^"]*)"/g) : [])
          waiting.push({ from: pathname, href: to });
      }
      const { status = 0, anchors } = fetched.get(pathname) ?? {};
      const hasAnchor = hash === '' || anchors?.has(decodeURIComponent(hash.slice(1)));
      if (status !== 200 || !hasAnchor) dead.push(`${from}: ${href}`);
    }
    expect(dead).toEqual([]);
    expect(fetched.size).toBeGreaterThan(30);
  });
});
