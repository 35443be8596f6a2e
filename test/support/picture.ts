/** Makes the picture of the README: `npm run picture`. It shows the page of `npm start` with the simulator, in Chromium. */
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { createClient } from '#client/index.ts';
import { startBrowser } from './browser.ts';
import { root } from './root.ts';
import { runNpmStart } from './start.ts';

const FILE = join(root, 'docs/page.png');
const SIZE = { width: 1280, height: 900 };
/** What stands in the list of conversations, the oldest first. */
const BEFORE = ['Which bicycle for the way to work?', 'A speech for Anna’s wedding', 'Where shall I go in May?'];

const started = await runNpmStart();
const server = await startBrowser();
try {
  if (server === undefined) throw new Error('No browser: install chromium, or set CHROMIUM_PATH.');
  const client = createClient({ baseURL: started.url });
  for (const content of BEFORE) {
    const messages = [{ role: 'user' as const, content }];
    const asked = { conversation: crypto.randomUUID(), model: 'claude-haiku-5-5', max_tokens: 2_048, messages };
    await client.messages.stream(asked).finalMessage();
  }
  const browser = await chromium.connect(server.wsEndpoint());
  const page = await browser.newPage({ viewport: SIZE, colorScheme: 'light', reducedMotion: 'reduce' });
  // The thoughts of the simulator are nothing to read.
  await page.setExtraHTTPHeaders({ 'sluice-simulate': 'thinking=0' });
  await page.goto(started.url);
  await page.getByRole('button', { name: 'Let Sluice call tools' }).click();
  await page.locator('.run-step').nth(1).waitFor();
  await page.getByRole('button', { name: 'Stop' }).waitFor({ state: 'detached' });
  // What a step cost comes after its text.
  await page.locator('.run-step').nth(1).getByText('$').first().waitFor({ timeout: 10_000 });
  // An answer is read first: what a tool was given and gave stands behind its line.
  await page.locator('.edge-call summary').nth(1).click();
  await page.mouse.move(0, 0);
  // The button that leads to the end of an answer goes.
  await page.getByRole('button', { name: 'Jump to the end' }).waitFor({ state: 'detached' });
  await page.screenshot({ path: FILE, animations: 'disabled' });
} finally {
  await server?.close();
  await started.stop();
}
