import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { Plugin } from '#edge/kit/plugins/plugins.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { startEdgeWithPage } from '#test/support/edge.ts';
import { askQuestion, openServedPage, waitForAnswer } from '#test/support/page.ts';
import { root } from '#test/support/root.ts';

const QUICK = {
  SIMULATOR_TTFT_MS: '0',
  SIMULATOR_TOKENS_PER_SECOND: '0',
  GITHUB_WEBHOOK_SECRET: 'secret of the tests',
};
// The list's types are the runtime's, which tests in Node do not have.
const list: string = `${root}src/edge/plugins.ts`;
const { PLUGINS } = (await import(list)) as { PLUGINS: readonly Plugin[] };

/** @returns the names of plugins, and of those that they need */
function withNeeds(...names: string[]): string[] {
  const found = new Set<string>();
  const add = (name: string) => {
    found.add(name);
    for (const needed of PLUGINS.find((one) => one.name === name)?.needs ?? []) add(needed.name);
  };
  names.forEach(add);
  return PLUGINS.flatMap(({ name }) => (found.has(name) ? name : []));
}

const SETS: [title: string, plugins: readonly string[]][] = [
  ['no plugin', []],
  ...PLUGINS.map(({ name }): (typeof SETS)[number] => [`${name} and what it needs`, withNeeds(name)]),
  ['webhooks and agents', withNeeds('webhooks', 'agents')],
  ['all plugins', PLUGINS.map(({ name }) => name)],
];
const worker = isBrowserMissing() ? '' : await bundleWorker('test/fixtures/chosen-worker.ts');

/** Each view of the page that an edge with these plugins shows, and those that it does not, by their addresses. */
function viewsWith(plugins: readonly string[], account: string): string[] {
  const views = ['chat', 'classify', 'agents', 'agents/@new', 'wire'];
  const budget = ['overview', 'accounts', `accounts/${account}`, 'groups', 'groups/red', 'requests'];
  const lists = ['webhooks', 'webhooks/github', 'webhooks/alert', 'refused', 'failed'];
  const all = [...views, ...[...budget, ...lists].map((view) => `budget/${view}`)];
  return plugins.includes('agents') ? all : all.filter((view) => view !== 'agents/@new');
}

describe.skipIf(isBrowserMissing()).each(SETS)('The page of a deployment with %s, in Chromium', (_title, plugins) => {
  const server = openServedPage(['messages', 'classify', 'prefixes', 'tools', 'admin'], () =>
    startEdgeWithPage({ ...QUICK, CHOSEN_PLUGINS: plugins.join(',') }, worker),
  );
  const has = (name: string) => plugins.includes(name);
  /** @returns whether a view requires a plugin that the deployment does not include */
  const isMissing = (view: string) =>
    (view === 'agents' && !has('agents')) ||
    (view.startsWith('budget/webhooks') && !has('webhooks')) ||
    (/^budget\/(groups|refused|failed)/.test(view) && !has('pools'));
  const names = async (page: Page, role: 'link' | 'tab', within: string) =>
    await page.locator(within).getByRole(role).allTextContents();

  test('shows only the features of its plugins, without errors in any view', async () => {
    const failed: string[] = [];
    const broken: unknown[] = [];
    await server.runInPage(async ({ page }) => {
      page.on('response', (response) => {
        if (response.status() >= 400) failed.push(`${response.status()} ${response.url()} at ${page.url()}`);
      });
      const look = async (at: string) => {
        await page.locator('main h1').first().waitFor();
        await page.waitForLoadState('networkidle');
        for (const text of await page.getByRole('alert').allTextContents()) broken.push({ at, text });
        for (const barrier of await findBarriers(page)) broken.push({ at, barrier });
      };
      await page.getByRole('link', { name: 'Budget', exact: true }).waitFor();
      const parts = ['Chat', 'Classify', ...(has('agents') ? ['Agents'] : []), 'Budget', 'Inspector'];
      expect(await names(page, 'link', '.parts')).toEqual(parts);
      await askQuestion(page, 'In one sentence: what is a lock gate?');
      await (has('transfer') ? waitForAnswer(page) : page.getByRole('button', { name: 'Copy' }).last().waitFor());
      for (const action of ['Edit and ask again', 'Regenerate', 'Fork from here'])
        expect(await page.getByRole('button', { name: action }).count()).toBe(has('transfer') ? 1 : 0);
      await look('an answer');
      for (const view of viewsWith(plugins, server.account)) {
        await page.evaluate((hash) => {
          location.hash = hash;
        }, `#/${view}`);
        await look(view);
        expect(await page.getByText('This page does not exist').count(), view).toBe(isMissing(view) ? 1 : 0);
      }
      expect(await page.getByRole('button', { name: 'All accounts' }).count()).toBe(has('pools') ? 1 : 0);
    });
    expect({ failed, broken }).toEqual({ failed: [], broken: [] });
  });
});
