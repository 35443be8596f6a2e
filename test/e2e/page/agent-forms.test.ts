import { describe, expect, test } from 'vitest';
import type { AgentContent } from '../../../src/agents/agents-answers.schema.ts';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { looks } from '../../support/looks.ts';
import { ALONE, answered, ask, servedPage } from '../../support/page.ts';

const HAIKU = 'claude-haiku-5-5';
const NARROW = { width: 360, height: 740 };

describe.skipIf(noBrowser())('Making agents on the page, in Chromium', () => {
  const server = servedPage();
  const { inPage } = server;

  const put = async (name: string, fields: object) =>
    await server.client.fetch(`/agents/${name}`, { method: 'PUT', body: { model: HAIKU, max_tokens: 200, ...fields } });
  const stored = async (name: string) =>
    (await (await server.client.fetch(`/agents/${encodeURIComponent(name)}`)).json()) as AgentContent;

  test('the first one is an example that is filled in, stored, tried, and calls its tool', () =>
    inPage(async ({ page }) => {
      await page.getByText(/^No agents yet/).waitFor();
      await page.getByRole('button', { name: 'Fill in an example' }).click();
      await page.getByRole('heading', { name: 'New agent' }).waitFor();
      await expect.poll(() => page.getByLabel('Name', { exact: true }).inputValue()).toBe('porter');
      expect(await barriersOn(page)).toEqual([]);
      await page.getByRole('button', { name: 'Store agent' }).click();
      await page.getByRole('heading', { level: 1, name: 'porter' }).waitFor();
      expect((await stored('porter')).tools?.map(({ name }) => name)).toEqual(['edge_clock']);
      expect((await stored('porter')).limits?.max_turns).toBe(4);
      await page.getByRole('button', { name: 'Try', exact: true }).click();
      const who = page.getByRole('combobox', { name: 'Model or agent' });
      await expect.poll(() => who.locator('option:checked').textContent()).toBe('porter');
      await ask(page, 'Call edge_clock, please.');
      await answered(page);
      await page.locator('.edge-call[data-state=done]').first().waitFor();
      await page.locator('.talk-head').getByRole('link', { name: 'porter' }).waitFor();
    }, '/#/agents'));

  test('what the edge refuses stands at its field; what is typed is kept, wherever one goes, until it is stored', () =>
    inPage(async ({ page, faults }) => {
      await page.getByRole('link', { name: 'New agent' }).click();
      const field = (name: string | RegExp) => page.getByLabel(name, { exact: true });
      const invalid = async () =>
        await page
          .locator('[aria-invalid=true]')
          .evaluateAll((all) => all.map((one) => document.querySelector(`label[for="${one.id}"]`)?.textContent));
      const save = () => page.getByRole('button', { name: 'Store agent' }).click();
      await field('Name').fill('clerk');
      await field('Steps of the model').fill('1000');
      await save();
      await expect.poll(invalid).toEqual(['Steps of the model']);
      // It is where somebody is then, and what was said of it goes when it is changed.
      await expect.poll(() => field('Steps of the model').evaluate((one) => one === document.activeElement)).toBe(true);
      await field('Steps of the model').fill('300');
      await expect.poll(invalid).toEqual([]);
      await save();
      await expect.poll(invalid).toEqual(['Steps of the model']);
      await page.getByRole('alert').getByText(/100/).waitFor();
      await field('Steps of the model').fill('3');
      await field('Tools, as JSON').fill('[{"name": ');
      await save();
      await expect.poll(invalid).toEqual(['Tools, as JSON']);
      await field('Tools, as JSON').fill(
        '[{"name": "go", "input_schema": {"type": "object"}, "run": {"url": "https://nowhere.test"}}]',
      );
      await save();
      await page
        .getByRole('alert')
        .getByText(/TOOL_HOSTS/)
        .waitFor();
      await expect.poll(invalid).toEqual(['Tools, as JSON']);
      await field('Tools, as JSON').fill('');
      for (const name of ['edge_clock', 'edge_dice']) await page.getByRole('button', { name: `Add ${name}` }).click();
      expect(JSON.parse(await field('Tools, as JSON').inputValue())).toEqual([
        { name: 'edge_clock', run: 'worker' },
        { name: 'edge_dice', run: 'worker' },
      ]);
      expect(await page.getByRole('button', { name: /^Add edge_(clock|dice)/ }).count()).toBe(0);
      await field('Tools, as JSON').fill('');
      await page.getByText('More fields, as JSON').click();
      await field('More fields').fill('{"history": {"max_tokens": -1, "strategy": "summarize"}}');
      await save();
      await expect.poll(invalid).toEqual(['More fields']);
      await field('More fields').fill('');
      await field('Name').fill('-');
      await save();
      await expect.poll(invalid).toEqual(['Name']);
      await field('Name').fill('clerk');
      await field('System prompt').fill('You are a clerk.');
      // Elsewhere, and after a reload, nothing is lost.
      await page.getByRole('link', { name: 'Budget', exact: true }).click();
      await page.getByRole('link', { name: 'Agents', exact: true }).click();
      await page.getByRole('link', { name: 'Go on with the new agent' }).click();
      await page.reload();
      await expect.poll(() => field('System prompt').inputValue()).toBe('You are a clerk.');
      await page.getByText('not stored yet').waitFor();
      await save();
      await page.getByRole('heading', { level: 1, name: 'clerk' }).waitFor();
      expect((await stored('clerk')).system).toEqual([{ type: 'text', text: 'You are a clerk.' }]);
      await page.getByRole('link', { name: 'All agents' }).click();
      await page.getByRole('link', { name: 'New agent' }).click();
      await expect.poll(() => field('System prompt').inputValue()).toBe('');
      // One that is there is not replaced by chance.
      await field('Name').fill('clerk');
      await save();
      await expect.poll(invalid).toEqual(['Name']);
      await page.getByRole('button', { name: 'Discard changes' }).click();
      await expect.poll(() => field('Name').inputValue()).toBe('');
      expect(faults.splice(0).filter((fault) => !/status of 400/.test(fault))).toEqual([]);
    }, '/#/agents'));

  test.each(looks(['light', 'dark'] as const))(
    'an edit is a new version with all that has no field; versions are compared, and an old one comes back, %s',
    async (colorScheme) => {
      const name = `guide-${colorScheme}`;
      const history = { max_tokens: 32_000, strategy: 'summarize' };
      await put(name, {
        system: 'You guide.\nBe brief.\nBe kind.',
        history,
        stop_sequences: ['END'],
        limits: { max_turns: 5 },
      });
      const first = await stored(name);
      await inPage(
        async ({ page }) => {
          await page.getByRole('button', { name: 'Edit' }).click();
          await page.getByLabel('System prompt').fill('You guide.\nBe long.\nBe kind.');
          await page.getByLabel('Steps of the model').fill('7');
          await page.getByRole('button', { name: 'Store as a new version' }).click();
          await page.getByRole('heading', { level: 1, name }).waitFor();
          const second = await stored(name);
          expect(second).toMatchObject({ history, stop_sequences: ['END'], limits: { max_turns: 7 } });
          const diff = page.getByRole('region', { name: 'Compare versions' });
          await diff.getByRole('region', { name: 'system' }).waitFor();
          expect(await diff.locator('del').allTextContents()).toEqual(['Be brief.', '5']);
          expect(await diff.locator('ins').allTextContents()).toEqual(['Be long.', '7']);
          expect(await barriersOn(page)).toEqual([]);
          await page.setViewportSize(NARROW);
          expect(await barriersOn(page)).toEqual([]);
          expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
          await diff.getByRole('button', { name: /^Go back to version/ }).click();
          await expect.poll(async () => (await stored(name)).version).toBe(first.version);
          // The newer one is kept.
          expect(await stored(second.version)).toMatchObject({ limits: { max_turns: 7 } });
          await page.getByText('Steps of the model 5').waitFor();
        },
        `/#/agents/${name}`,
        { colorScheme, viewport: { width: 1280, height: 800 } },
      );
    },
  );

  test('the page sends no tools of its own with an agent, and says which version answers', async () => {
    await put('clock', { tools: [{ name: 'edge_clock', run: 'worker' }], description: 'Tells the time' });
    await inPage(async ({ page }) => {
      const chip = (name: string) => page.getByRole('checkbox', { name, exact: true });
      await page.getByRole('button', { name: 'Options' }).click();
      for (const name of ['Tools', 'Edge tools']) await chip(name).check();
      await page.keyboard.press('Escape');
      await page.getByRole('link', { name: 'Agents', exact: true }).click();
      await page.getByRole('link', { name: 'clock', exact: true }).click();
      await page.getByText('edge_clock (called by the edge)').waitFor();
      await page.getByRole('button', { name: 'Try', exact: true }).click();
      await page.getByText('Try clock.').waitFor();
      await page.getByText(/^Tells the time\./).waitFor();
      await page.getByRole('button', { name: 'Options' }).click();
      expect(await chip('Tools').isDisabled()).toBe(true);
      expect(await chip('Edge tools').isDisabled()).toBe(true);
      await page.keyboard.press('Escape');
      await ask(page, 'Call edge_clock, please.');
      await answered(page);
      const { version } = await stored('clock');
      const tag = page.locator('.talk-head').getByRole('link', { name: /^clock/ });
      await expect.poll(() => tag.textContent()).toBe(`clock · ${version.slice('clock@'.length, 'clock@'.length + 8)}`);
      await put('clock', { description: 'Tells the time, and more' });
      await page.reload();
      await expect.poll(() => tag.textContent()).toMatch(/ · older$/);
      expect(await barriersOn(page, '.talk-head')).toEqual([]);
      await page.getByRole('button', { name: 'Start anew' }).click();
      await page.getByText('Try clock.').waitFor();
    });
  });

  test('a deletion is undone where it is listed, and opens again what was open', async () => {
    await put('keeper', { description: 'Keeps' });
    await inPage(
      async ({ page }) => {
        await page.getByRole('button', { name: 'Delete' }).focus();
        await page.keyboard.press('Enter');
        const undo = page.getByRole('button', { name: 'Undo deleting keeper' });
        // With the keyboard the focus goes to Undo.
        await expect.poll(() => undo.evaluate((button) => button === document.activeElement)).toBe(true);
        expect(new URL(page.url()).hash).toBe('#/agents');
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { level: 1, name: 'keeper' }).waitFor();
        expect(new URL(page.url()).hash).toBe('#/agents/keeper');
        expect((await stored('keeper')).name).toBe('keeper');
        await page.clock.install();
        await page.getByRole('button', { name: 'Delete' }).click();
        await undo.waitFor();
        await page.clock.runFor(21_000);
        await page.getByRole('row', { name: /keeper/ }).waitFor({ state: 'detached' });
        await expect(stored('keeper')).rejects.toThrow();
      },
      '/#/agents/keeper',
      ALONE,
    );
  });
});
