import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { listGuides } from '../../scripts/guides.ts';
import { launchBrowser, noBrowser } from '../support/browser.ts';
import { sharedEdge } from '../support/shared-start.ts';

let url: string;

const edge = sharedEdge();
beforeAll(async () => {
  url = await edge();
});

describe('what the assets serve', () => {
  test('is public, carries the security headers, and leaves the rest to the Worker', async () => {
    for (const [path, type] of [
      ['/docs', 'text/html'],
      ['/docs/scalar.js', 'text/javascript'],
      ['/openapi.json', 'application/json'],
    ] as const) {
      const response = await fetch(url + path);
      expect(response.status, path).toBe(200);
      expect(response.headers.get('content-type'), path).toContain(type);
      expect(response.headers.get('x-content-type-options'), path).toBe('nosniff');
      const policy = response.headers.get('content-security-policy') ?? '';
      expect(policy, path).toContain("default-src 'none'; script-src 'self';");
      expect(policy.includes("'unsafe-inline'"), path).toBe(path === '/docs');
      await response.body?.cancel();
    }
    const document = await fetch(`${url}/openapi.json`, { headers: { origin: 'http://localhost:3000' } });
    expect(document.headers.get('access-control-allow-origin')).toBe('*');
    expect(await document.json()).toMatchObject({ openapi: '3.1.1', paths: { '/v1/messages': { post: {} } } });
    expect((await fetch(`${url}/docs`, { method: 'POST' })).status).toBe(405);
    const missing = await fetch(`${url}/docs/nothing`);
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
  });

  test('has the guides beside the reference, each linked from each', async () => {
    const guides = listGuides(await readFile(new URL('../../README.md', import.meta.url), 'utf8'));
    for (const file of ['', ...guides.map((guide) => guide.file)]) {
      const response = await fetch(`${url}/docs/guides/${file}`.replace(/\/$/, ''));
      expect(response.status, file).toBe(200);
      const page = await response.text();
      for (const guide of guides) expect(page, file).toContain(`href="/docs/guides/${guide.file}"`);
      expect(page, file).not.toContain('.md"');
    }
  });

  test.skipIf(noBrowser())('shows the reference in a browser, without a word to another host', async () => {
    const browser = await launchBrowser();
    try {
      const page = await browser.newPage();
      const faults: string[] = [];
      const hosts = new Set<string>();
      page.on('pageerror', ({ message }) => faults.push(message));
      page.on('console', (message) => {
        if (message.type() === 'error') faults.push(message.text());
      });
      page.on('request', (request) => {
        if (/^https?:/.test(request.url())) hosts.add(new URL(request.url()).origin);
      });
      await page.goto(`${url}/docs`);
      await page.getByRole('heading', { name: 'Stream a message' }).waitFor();
      // It is laid out by its style sheet, which a stricter policy would have kept away.
      const rules = await page.locator('style#scalar-style').evaluate((element) => {
        return (element as HTMLStyleElement).sheet?.cssRules.length;
      });
      expect(rules).toBeGreaterThan(0);
      await page.goto(`${url}/docs#tag/health/GET/health`);
      await page
        .getByRole('button', { name: /Test Request/ })
        .last()
        .click();
      const answered = page.waitForResponse(`${url}/health`);
      await page.getByRole('button', { name: /^Send/ }).first().click();
      expect((await answered).status()).toBe(200);
      expect([...hosts]).toEqual([url]);
      expect(faults).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});
