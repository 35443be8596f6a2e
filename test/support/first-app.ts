import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { startTerminal } from '../e2e/terminal.ts';
import { launchBrowser } from './browser.ts';
import { findFreePort } from './processes.ts';
import { root } from './root.ts';

/** Uses `examples/first-app` on an edge as its two users, until Bob's budget pays for no more answer, and Alice has not noticed. */
export async function tryFirstApp(edge: string): Promise<void> {
  const url = `http://localhost:${await findFreePort()}`;
  const env = { ...process.env, SLUICE_URL: edge, PORT: new URL(url).port };
  const cwd = join(root, 'examples/first-app');
  const app = startTerminal(`"${process.execPath}" server.mjs`, { cwd, env });
  const browser = await launchBrowser();
  try {
    await app.see(/Open http/);
    expect((await fetch(`${url}/token`)).status).toBe(401);
    // A server that listens on all interfaces also answers here.
    await expect(fetch(url.replace('localhost', '127.0.0.2'))).rejects.toThrow('fetch failed');
    const logIn = async (username: string, password: string) => {
      const context = await browser.newContext({ httpCredentials: { username, password } });
      const page = await context.newPage();
      page.setDefaultTimeout(240_000);
      await page.goto(url);
      return page;
    };
    const listAnswers = (page: Page) => page.locator('main p').filter({ hasText: /simulator|tomorrow/ });
    const askQuestion = async (page: Page, question: string): Promise<string> => {
      const before = await listAnswers(page).count();
      const ended = page.waitForEvent('requestfinished', (one) => one.method() === 'POST');
      await page.getByRole('textbox').fill(question);
      await page.getByRole('button', { name: 'Send', exact: true }).click();
      await ended;
      return (await listAnswers(page).nth(before).textContent()) ?? '';
    };
    const [alice, bob] = [await logIn('alice', 'white-rabbit'), await logIn('bob', 'yes-we-can')];
    expect(await askQuestion(bob, 'Hello')).toContain('simulator');
    let told = '';
    for (let asked = 0; asked < 9 && !told.includes('tomorrow'); asked += 1) told = await askQuestion(bob, 'And then?');
    expect(told).toMatch(/^Not enough of your budget for today is left: about \d+ %\. It is full again tomorrow\.$/);
    expect(await askQuestion(alice, 'Hello')).toContain('simulator');
  } finally {
    await browser.close();
    app.type('\u0003');
    await app.end();
  }
}
