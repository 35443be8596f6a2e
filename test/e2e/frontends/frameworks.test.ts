/** Pages whose frameworks wrap state in proxies: the Vue page of its guide, and the same calls in Svelte and Solid. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Plugin } from 'esbuild';
import { compile } from 'svelte/compiler';
import { describe, expect, onTestFinished, test } from 'vitest';
import { compileScript, parse } from 'vue/compiler-sfc';
import { createClient } from '#client/index.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { LONG_QUESTION, openSharedFrontends, startFrontend, startSlowEdge } from '#test/support/frontend.ts';
import { filesOfSection, readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';

const { openPage } = openSharedFrontends();
const guide = filesOfSection(await readGuide('vue'), 'Make the folder');
const svelteApp = await readFile(join(root, 'test/e2e/frontends/apps/App.svelte'), 'utf8');
const solidApp = await readFile(join(root, 'test/e2e/frontends/apps/solid.ts'), 'utf8');

/** Compiles the components of Vue and Svelte, as their plugins for Vite do. */
const components: Plugin = {
  name: 'components',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor } = parse(await readFile(path, 'utf8'), { filename: path });
      const { content } = compileScript(descriptor, { id: 'app', inlineTemplate: true });
      return { contents: content, loader: 'ts', resolveDir: dirname(path) };
    });
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js } = compile(await readFile(path, 'utf8'), { filename: path, generate: 'client' });
      return { contents: js.code, loader: 'js', resolveDir: dirname(path) };
    });
  },
};

const MOUNT_SVELTE = `
  import { mount } from 'svelte';
  import App from './App.svelte';
  mount(App, { target: document.getElementById('app') as HTMLElement });`;

const APPS: readonly (readonly [name: string, files: ReadonlyMap<string, string>])[] = [
  ['vue', guide],
  ['svelte', new Map([...guide, ['src/App.svelte', svelteApp], ['src/main.ts', MOUNT_SVELTE]])],
  ['solid', new Map([...guide, ['src/main.ts', solidApp]])],
];

/** Builds an app whose entry is `src/main.ts`. */
async function bundleApp(files: ReadonlyMap<string, string>, url: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-framework-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, code] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), code.replace('http://localhost:8787', url));
  }
  return await bundleForBrowser(`import ${JSON.stringify(join(folder, 'src/main.ts'))};`, 'ts', [components]);
}

describe.skipIf(isBrowserMissing())('a page whose framework wraps state in proxies', () => {
  test.each(APPS)(
    'shows a response while it arrives, resumes it after a reload, and stops it: %s',
    async (name, files) => {
      const edge = await startSlowEdge();
      const site = await startFrontend();
      onTestFinished(site.stop);
      site.files.set('main.js', await bundleApp(files, edge.url));
      site.files.set('index.html', (files.get('index.html') ?? '').replace('/src/main.ts', '/main.js'));
      const { page, faults } = await openPage(site, edge);
      await page.getByLabel('Question').fill(LONG_QUESTION);
      await page.getByRole('button', { name: 'Ask' }).click();
      const answer = page.locator('.assistant');
      const readText = async () => (await answer.textContent()) ?? '';
      await expect.poll(readText).toMatch(/\w+ \w+/);
      await page.reload();
      await expect.poll(readText).toMatch(/\w+ \w+ \w+/);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.getByRole('button', { name: 'Ask' }).waitFor();
      const { data } = await createClient({ baseURL: edge.url }).conversations.messages(`web-${name}`);
      const [, row] = data;
      expect(row).toMatchObject({ status: 'stopped', stop_reason: null });
      const blocks = (row?.content ?? []) as { text?: string }[];
      const stored = blocks.map(({ text = '' }) => text).join('');
      expect(await readText()).toBe(`${stored} (stopped)`);
      expect(faults).toEqual([]);
    },
  );
});
