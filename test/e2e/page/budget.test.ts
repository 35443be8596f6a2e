import { describe, expect, test } from 'vitest';
import { noBrowser } from '../../support/browser.ts';
import { focused } from '../../support/operator-page.ts';
import { servedPage } from '../../support/page.ts';

describe.skipIf(noBrowser())('The views of Budget, in Chromium', () => {
  const server = servedPage(['admin']);
  const { inPage } = server;

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
      await page.getByRole('heading', { name: `Account ${server.account}` }).waitFor();
      expect(new URL(page.url()).hash).toBe('#/budget/accounts');
      await expect.poll(() => focused(page)).toBe('Accounts');
      expect(asked).not.toContain('/usage/requests');
      const ada = `ada-of-${server.account}`;
      await server.client.fetch(`/accounts/${ada}/limits`, { method: 'PUT', body: {} });
      await page.getByRole('combobox', { name: 'Account' }).fill(ada);
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: `Account ${ada}` }).waitFor();
      await page.getByRole('tab', { name: 'Requests' }).click();
      await page.getByText('No requests in the last 7 days.').waitFor();
      await page.reload();
      await page.getByRole('heading', { name: `Account ${ada}` }).waitFor();
      expect(new URL(page.url()).hash).toBe(`#/budget/requests/${ada}`);
      await page.goBack();
      await page.getByRole('heading', { name: 'Accounts and groups' }).waitFor();
      await page.getByRole('heading', { name: `Account ${ada}` }).waitFor();
    }));

  test('where there is no limit there is no gauge, but what was spent and that there is none', () =>
    inPage(async ({ page }) => {
      const spent = page.locator('#quota .gauge');
      await expect.poll(() => spent.getByText('no limit').count()).toBe(3);
      expect(await spent.locator('.bar').count()).toBe(0);
      const before = await spent.first().boundingBox();
      await server.client.fetch(`/accounts/${server.account}/limits`, { method: 'PATCH', body: { usd_per_day: 5 } });
      await spent.first().getByText('of $5.00').waitFor();
      await expect.poll(() => spent.locator('.bar').count()).toBe(1);
      // Nothing moves when a limit becomes known.
      expect(await spent.first().boundingBox()).toEqual(before);
    }, '/#/budget'));
});
