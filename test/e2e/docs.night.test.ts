import { expect, test } from 'vitest';
import { launchBrowser, noBrowser } from '../support/browser.ts';
import { sharedEdge } from '../support/shared-start.ts';

test.skipIf(noBrowser())('the assets show the reference in a browser, without a word to another host', async () => {
  const url = await sharedEdge();
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
