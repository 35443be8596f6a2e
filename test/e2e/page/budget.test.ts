import { beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '../../../src/client/index.ts';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { startEdgeWithPage } from '../../support/edge.ts';
import { focused } from '../../support/operator-page.ts';
import { servedPage } from '../../support/page.ts';

describe.skipIf(noBrowser())('The views of Budget, in Chromium', () => {
  let client: Client;
  const server = servedPage(() =>
    startEdgeWithPage({ DEPLOYMENT_LIMITS: '{"usd_per_month":200}', SIMULATOR_TTFT_MS: '20' }),
  );
  const { inPage } = server;

  beforeAll(() => {
    client = createClient({ baseURL: server.url });
  });

  test('each has its address, for reload and back; the arrow keys go from one to the next; each asks for its own figures', () =>
    inPage(async ({ page }) => {
      const asked: string[] = [];
      page.on('request', (request) => asked.push(new URL(request.url()).pathname));
      await page.getByRole('link', { name: 'Budget', exact: true }).click();
      await page.getByRole('heading', { name: 'The deployment' }).waitFor();
      await page.locator('#quota').getByText('no limit').first().waitFor();
      expect(asked).not.toContain('/accounts');
      expect(asked).not.toContain('/groups');
      expect(asked).not.toContain('/usage/requests');
      await page.getByRole('tab', { name: 'Overview' }).focus();
      await page.keyboard.press('ArrowRight');
      await page.getByRole('heading', { name: 'Account dev' }).waitFor();
      expect(new URL(page.url()).hash).toBe('#/budget/accounts');
      await expect.poll(() => focused(page)).toBe('Accounts');
      expect(asked).not.toContain('/usage/requests');
      await client.fetch('/accounts/ada/limits', { method: 'PUT', body: {} });
      await page.getByRole('combobox', { name: 'Account' }).fill('ada');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'Account ada' }).waitFor();
      await page.getByRole('tab', { name: 'Requests' }).click();
      await page.getByText('No requests in the last 7 days.').waitFor();
      await page.reload();
      await page.getByRole('heading', { name: 'Account ada' }).waitFor();
      expect(new URL(page.url()).hash).toBe('#/budget/requests/ada');
      await page.goBack();
      await page.getByRole('heading', { name: 'Accounts and groups' }).waitFor();
      await page.getByRole('heading', { name: 'Account ada' }).waitFor();
    }));

  test('where there is no limit there is no gauge, but what was spent and that there is none', () =>
    inPage(async ({ page }) => {
      const spent = page.locator('#quota .gauge');
      await expect.poll(() => spent.getByText('no limit').count()).toBe(3);
      expect(await spent.locator('.bar').count()).toBe(0);
      const before = await spent.first().boundingBox();
      await client.fetch('/accounts/dev/limits', { method: 'PATCH', body: { usd_per_day: 5 } });
      await spent.first().getByText('of $5.00').waitFor();
      await expect.poll(() => spent.locator('.bar').count()).toBe(1);
      // Nothing moves when a limit becomes known.
      expect(await spent.first().boundingBox()).toEqual(before);
    }, '/#/budget'));

  test('alerts are chosen in fields, for the deployment, a group or an account, and a refusal stands at its field', async () => {
    await client.fetch('/groups/red/limits', { method: 'PUT', body: { usd_per_week: 7 } });
    await inPage(
      async ({ page, faults }) => {
        const box = page.getByRole('region', { name: 'Alerts' });
        await box.getByText(/^No alerts yet/).waitFor();
        await page.getByText('Everybody, today').waitFor();
        await box.getByRole('button', { name: 'Choose when to be told' }).click();
        const shares = box.getByRole('textbox', { name: /^Tell at/ });
        const save = async (text: string) => {
          await shares.fill(text);
          await box.getByRole('button', { name: 'Save alerts' }).click();
        };
        const saved = async () => await page.getByText('The alerts are saved.').waitFor({ state: 'attached' });
        await save('half');
        await box.getByText('Type numbers, with commas between them').waitFor();
        await expect.poll(() => shares.getAttribute('aria-invalid')).toBe('true');
        // In the words of the edge: it knows the most that there may be.
        await save('50, 2000');
        await box.getByRole('alert').waitFor();
        await expect.poll(() => shares.getAttribute('aria-invalid')).toBe('true');
        expect(await barriersOn(page, '.budget')).toEqual([]);
        await save('50, 80');
        await saved();
        const limits = async (path: string) => (await (await client.fetch(path)).json()) as { limits: object };
        expect((await limits('/pools/deployment')).limits).toEqual({ usd_per_month: 200, alerts: [0.5, 0.8] });
        await box.getByRole('combobox', { name: 'Whose limits' }).selectOption('Group red');
        await expect.poll(() => shares.inputValue()).toBe('');
        await save('100');
        await expect.poll(async () => (await limits('/groups/red')).limits).toEqual({ usd_per_week: 7, alerts: [1] });
        await box.getByRole('combobox', { name: 'Whose limits' }).selectOption('Account dev');
        await expect.poll(() => shares.inputValue()).toBe('');
        await save('7');
        await expect.poll(async () => (await limits('/accounts/dev')).limits).toMatchObject({ alerts: [0.07] });
        // All of an account's limits stand in one form.
        await page.getByRole('tab', { name: 'Accounts' }).click();
        const alerts = page.getByRole('textbox', { name: /^Alerts, in %/ });
        await expect.poll(() => alerts.inputValue()).toBe('7');
        await alerts.fill('-1');
        await page.getByRole('button', { name: 'Save limits of dev' }).click();
        await expect.poll(() => alerts.getAttribute('aria-invalid')).toBe('true');
        // The browser itself notes each refusal as an error.
        expect(faults.splice(0).filter((fault) => !/status of 400/.test(fault))).toEqual([]);
      },
      '/#/budget',
      { viewport: { width: 1280, height: 900 } },
    );
  });
});
