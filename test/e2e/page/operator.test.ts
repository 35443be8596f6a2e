import type { Page } from 'playwright-core';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { focusedNameOf, mockAccounts } from '#test/support/operator-page.ts';
import { ISOLATED_OPTIONS, openPage, openServedPage } from '#test/support/page.ts';
import { selectAppearances } from '#test/support/select-appearances.ts';
import { createToken } from '#test/support/tokens.ts';

const NARROW = { width: 360, height: 640 };
/** The views of Budget, each with a text that is there once it is loaded. */
const VIEWS_SHOWN = [
  ['overview', 'Deployment, today'],
  ['accounts', 'Page 1'],
  ['accounts/account-0007', 'Blocked'],
  ['groups/research', 'Shared limits'],
  ['requests', 'All accounts'],
  ['refused', 'Rejected requests of all accounts'],
  ['webhooks', 'Webhook sources'],
  ['webhooks/github', 'No events from github yet.'],
] as const;

// What each list asks for and says is in test/page/budget/operator.test.ts.
describe.skipIf(isBrowserMissing())('The Budget views of an admin, in Chromium', () => {
  const server = openServedPage(['admin']);

  test('an account is found by name with its spending, requests and rejections, and its limits can be changed', async () => {
    const [spender, refused, group] = ['globex', 'umbrella', 'red'].map((name) => `${name}-of-${server.account}`);
    const change = (path: string, method: string, body = {}) => server.client.fetch(path, { method, body });
    const askAs = async (account = '', model: string, tags: string) =>
      await fetch(`${server.url}/v1/messages`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'sluice-tags': tags,
          authorization: `Bearer ${await createToken(account, ['messages'])}`,
        },
        body: JSON.stringify({ model, max_tokens: 60, messages: [{ role: 'user', content: 'Say some words.' }] }),
      });
    const usageOf = (account: string) => server.client.usage({ account, group_by: 'tag' });
    const listed = async (account: string) => {
      const { data } = (await (await server.client.fetch('/accounts', { query: { limit: 1_000 } })).json()) as {
        data: { id: string }[];
      };
      return data.find((row) => row.id === account);
    };
    let id = '';
    for (const feature of ['reports', 'reports', 'search']) {
      const answer = await askAs(
        spender,
        feature === 'search' ? 'claude-haiku-5-5' : 'claude-opus-5',
        `feature=${feature}`,
      );
      expect(answer.status).toBe(200);
      await answer.text();
      id = answer.headers.get('sluice-request-id') ?? '';
    }
    await change(`/groups/${group}/accounts/${spender}`, 'PUT');
    await change(`/groups/${group}/limits`, 'PUT', { usd_per_month: 50, usd_per_day: 20 });
    await change(`/accounts/${refused}/limits`, 'PATCH', { usd_per_day: 0.00001, on_shortfall: 'refuse' });
    expect((await askAs(refused, 'claude-opus-5', 'feature=search')).status).toBe(429);
    // What the page reads once in ten seconds is booked before it is opened.
    await expect.poll(async () => (await usageOf(spender ?? '')).data.length).toBe(2);
    await expect.poll(() => listed(spender ?? '')).toMatchObject({ group, spent_usd: { month: expect.any(Number) } });
    await server.runInPage(async ({ page }) => {
      const find = async (text: string) => {
        await page.getByRole('tab', { name: 'Requests' }).click();
        await page.getByRole('searchbox', { name: 'Request id, token id or account' }).fill(text);
        await page.keyboard.press('Enter');
        await expect.poll(() => focusedNameOf(page)).toBe(`Requests of ${text}`);
        await page.getByRole('button', { name: 'Account', exact: true }).click();
      };
      await find(spender ?? '');
      await expect.poll(() => focusedNameOf(page)).toBe(`Account ${spender}`);
      const parts = page.getByRole('region', { name: 'Spending: table' });
      await parts.getByRole('rowheader', { name: 'Claude Opus 5' }).waitFor();
      await page.getByRole('combobox', { name: 'Group by' }).selectOption('tag');
      // The dearest stands first.
      const tags = () => parts.getByRole('rowheader').allTextContents();
      await expect.poll(tags).toEqual(['feature=reports', 'feature=search']);
      // Its requests, each with its id and what it was for.
      await page.getByRole('button', { name: 'Requests', exact: true }).click();
      expect(new URL(page.url()).hash).toBe(`#/budget/requests/${spender}`);
      const list = page.getByRole('region', { name: 'Requests: table' });
      await expect.poll(() => list.locator('tbody tr').count()).toBe(3);
      await list.getByRole('button').first().click();
      await list.getByText(id).waitFor();
      expect(await findBarriers(page)).toEqual([]);
      // From a row it is one press to what its tag cost this week, and to that alone.
      await list.getByRole('button', { name: 'feature=search' }).first().click();
      await expect.poll(() => focusedNameOf(page)).toBe(`Account ${spender}`);
      await expect.poll(tags).toEqual(['feature=search']);
      await page.getByRole('button', { name: 'Clear filter' }).click();
      await expect.poll(() => parts.getByRole('rowheader').count()).toBe(2);

      // It is a member of its group, of which it has the limit; a limit of both is changed by the keyboard.
      const limitsOf = async (path: string) => (await (await server.client.fetch(path)).json()) as object;
      const quota = page.getByRole('region', { name: 'Limits in effect' });
      await quota.getByText(`Dollars per day, of group ${group}`).waitFor();
      const type = async (field: string, usd: string) => {
        await page.getByRole('spinbutton', { name: field }).focus();
        await page.keyboard.press('ControlOrMeta+A');
        await page.keyboard.type(usd);
        await page.keyboard.press('Enter');
        // The form's own text: what screen readers were told of an earlier form stays until the next announcement.
        const form = page.getByRole('region', { name: /^(Limits|Shared limits)$/ });
        await form.getByText('Saved. Lists are updated within a minute.').waitFor();
      };
      await page.getByRole('combobox', { name: 'Add a limit' }).selectOption('usd_per_month');
      await page.getByRole('button', { name: 'Add the chosen limit' }).click();
      await type('Dollars per month', '7.50');
      await quota.getByText('of $7.50').waitFor();
      await page
        .getByRole('region', { name: 'Group' })
        .getByRole('button', { name: group ?? '' })
        .focus();
      await page.keyboard.press('Enter');
      await expect.poll(() => focusedNameOf(page)).toBe(`Group ${group}`);
      await type('Dollars per month', '42.50');
      expect(await limitsOf(`/groups/${group}`)).toMatchObject({ limits: { usd_per_month: 42.5, usd_per_day: 20 } });
      expect(await limitsOf(`/accounts/${spender}`)).toMatchObject({ own_limits: { usd_per_month: 7.5 } });
      expect(await findBarriers(page)).toEqual([]);

      // An account that was only refused; then it is given credit, and moved to the group.
      await find(refused ?? '');
      await page.getByRole('heading', { name: `Account ${refused}` }).waitFor();
      await page.getByRole('spinbutton', { name: 'Dollars of credit' }).fill('5');
      await page.keyboard.press('Enter');
      await page.getByRole('region', { name: 'Credits: table' }).getByText('$5.00').first().waitFor();
      await page.getByRole('combobox', { name: 'Move to group' }).fill(group ?? '');
      await page.keyboard.press('Enter');
      await quota.getByText(`Dollars per day, of group ${group}`).waitFor();
      await page.getByRole('button', { name: 'Requests', exact: true }).click();
      await page.getByRole('button', { name: 'Rejected', exact: true }).click();
      await list.getByText(/more than this account’s daily limit/).waitFor();
      const colour = (element: Element) => getComputedStyle(element).color;
      expect(await list.getByText('rejected: dollars per day too small', { exact: true }).evaluate(colour)).not.toBe(
        await page.getByRole('heading', { name: `Requests of ${refused}` }).evaluate(colour),
      );
      // What was refused of anybody is one press away.
      await page.getByRole('button', { name: 'All accounts' }).click();
      await list.getByRole('button', { name: refused ?? '' }).waitFor();
    }, '/#/budget');
  });

  test('have their own URLs, can be switched with the arrow keys, and request only their own data', () =>
    server.runInPage(async ({ page }) => {
      const asked: string[] = [];
      page.on('request', (request) => asked.push(new URL(request.url()).pathname));
      await page.getByRole('link', { name: 'Budget', exact: true }).click();
      const all = page.getByRole('region', { name: 'The deployment' });
      await all.getByText('no limit').first().waitFor();
      expect(await all.locator('.gauge').count()).toBe(1);
      await all.getByRole('heading', { name: 'Spent per day' }).waitFor();
      // The labels stand at their lines: the ends and the middle of the columns.
      const spending = all.getByRole('region', { name: 'Spent per day' });
      await spending.locator('.spend-chart').waitFor();
      const [labels, lines] = await spending.locator('.chart').evaluate((chart) => {
        const boxes = [...chart.querySelectorAll('.chart-axis li')].map((label) => label.getBoundingClientRect());
        const { top = 0, bottom = 0 } = chart.querySelector('tbody tr')?.getBoundingClientRect() ?? {};
        return [boxes.map((box) => (box.top + box.bottom) / 2), [top, (top + bottom) / 2, bottom]];
      });
      for (const [index, line] of lines.entries()) expect(Math.abs((labels[index] ?? 0) - line)).toBeLessThan(1);
      // In a narrow window the days stand apart and within the chart, and what somebody spent is not scrolled out of sight.
      await page.setViewportSize(NARROW);
      const ends = await spending.locator('.chart').evaluate((chart) => {
        const shown = [...chart.querySelectorAll('tbody th span:not(.unseen)')].map((day) =>
          day.getBoundingClientRect(),
        );
        return [...shown.flatMap(({ left, right }) => [left, right]), chart.getBoundingClientRect().right];
      });
      expect(ends.length).toBeGreaterThan(7);
      expect(ends).toEqual(ends.toSorted((left, right) => left - right));
      const spent = all.getByRole('region', { name: 'Spending by account: table' });
      await spent.getByRole('columnheader', { name: 'Share' }).waitFor();
      expect(await spent.evaluate((frame) => frame.scrollWidth - frame.clientWidth)).toBeLessThanOrEqual(0);
      await page.setViewportSize(ISOLATED_OPTIONS.viewport);
      expect(asked).not.toContain('/accounts');
      expect(asked).not.toContain('/groups');
      expect(asked).not.toContain('/usage/requests');
      await page.getByRole('tab', { name: 'Overview' }).focus();
      await page.keyboard.press('ArrowRight');
      await page.getByRole('region', { name: 'Accounts: table' }).waitFor();
      expect(new URL(page.url()).hash).toBe('#/budget/accounts');
      await expect.poll(() => focusedNameOf(page)).toBe('Accounts');
      expect(asked).not.toContain('/usage/requests');
      const ada = `ada-of-${server.account}`;
      await server.client.fetch(`/accounts/${ada}/limits`, { method: 'PUT', body: {} });
      await page.getByRole('combobox', { name: 'Name' }).fill(ada);
      await page.keyboard.press('Enter');
      await expect.poll(() => focusedNameOf(page)).toBe(`Account ${ada}`);
      await page.getByRole('button', { name: 'Requests', exact: true }).click();
      await page.getByText('No requests were sent to Claude in the last 7 days.').waitFor();
      await page.reload();
      await page.getByRole('heading', { name: `Requests of ${ada}` }).waitFor();
      expect(new URL(page.url()).hash).toBe(`#/budget/requests/${ada}`);
      await page.goBack();
      await page.getByRole('heading', { name: `Account ${ada}` }).waitFor();
      await page.getByRole('link', { name: 'All accounts' }).click();
      await page.getByRole('heading', { name: 'Groups' }).waitFor();
    }));

  test('show spending without a gauge until a limit is set', () =>
    server.runInPage(async ({ page }) => {
      const cards = page.locator('#quota .gauge');
      await cards.getByText('no limit').waitFor();
      expect(await cards.locator('.bar').count()).toBe(0);
      await server.client.fetch(`/accounts/${server.account}/limits`, { method: 'PATCH', body: { usd_per_day: 5 } });
      await cards.getByText('of $5.00').waitFor();
      await expect.poll(() => cards.locator('.bar').count()).toBe(1);
    }, `/#/budget/accounts/${server.account}`));

  test('give the text of an alert a full line in a narrow window, with its state below', async () => {
    const { page, shifts, close } = await openPage(server.browser, 'about:blank', { viewport: NARROW });
    await mockAccounts(page, server.url);
    await page.goto(`${server.url}/#/budget/overview`);
    const table = page.getByRole('region', { name: 'Alerts: table' });
    const text = table.getByRole('rowheader').first();
    const state = table.getByRole('cell', { name: /^not delivered/ });
    await text.waitFor();
    const [all, alert, below] = await Promise.all([table, text, state].map((part) => part.boundingBox()));
    expect(alert?.width).toBeGreaterThan((all?.width ?? 0) * 0.9);
    expect(below?.y).toBeGreaterThanOrEqual((alert?.y ?? 0) + (alert?.height ?? 0));
    expect(await shifts()).toEqual({ value: 0, moved: [] });
    await close();
  });

  test.each(selectAppearances(['dark', 'light'] as const))(
    'pass axe, fit the window, and link to problems by keyboard (%s)',
    async (colorScheme) => {
      for (const viewport of selectAppearances([NARROW, { width: 1_280, height: 900 }])) {
        const { page, close } = await openPage(server.browser, 'about:blank', { colorScheme, viewport });
        await mockAccounts(page, server.url);
        for (const [view, shown] of VIEWS_SHOWN) {
          await page.goto(`${server.url}/#/budget/${view}`);
          await page.getByText(shown).first().waitFor();
          expect(await findBarriers(page, '.budget'), view).toEqual([]);
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          expect(wider).toBeLessThanOrEqual(0);
        }
        // What is broken leads to its list, by the keyboard too.
        for (const [link, heading] of [
          ['59 rejected by limits today', 'Rejected requests of all accounts'],
          ['2 events undelivered', 'Webhook sources'],
          ['1 alert undelivered', 'Alerts'],
          ['2 accounts have too little budget', 'Accounts'],
          ['4 of 9 requests failed today', 'Failed requests of all accounts'],
          ['Limits of the deployment', 'Limits of the deployment'],
          ['Spending by account', 'Spending by account'],
        ] as const) {
          await page.goto(`${server.url}/#/budget/overview`);
          await page.getByRole('link', { name: link }).focus();
          await page.keyboard.press('Enter');
          await expect.poll(() => focusedNameOf(page)).toBe(heading);
        }
        await close();
      }
    },
  );
});

describe.skipIf(isBrowserMissing())('With a token that only reads, in Chromium', () => {
  const server = openServedPage(['admin:read']);

  test('the views of an account and a group show their limits, tokens and changes, and no form', async () => {
    const [account, group] = ['reader-account', 'reader-group'].map((name) => `${name}-of-${server.account}`);
    const adminToken = await createToken('root', ['admin']);
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${adminToken}` };
    for (const [method, path, body] of [
      ['PUT', `/groups/${group}/limits`, { usd_per_day: 20 }],
      ['PUT', `/groups/${group}/accounts/${account}`, {}],
      ['PATCH', `/accounts/${account}/limits`, { usd_per_day: 5 }],
      ['POST', '/tokens', { account, scopes: ['messages'], label: 'laptop' }],
    ] as const) {
      const response = await fetch(server.url + path, { method, headers, body: JSON.stringify(body) });
      expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true);
    }
    const views = [
      [`accounts/${account}`, 'laptop'],
      [`groups/${group}`, 'Shared limits'],
    ] as const;
    const countForms = async (page: Page, view: string, shown: string) => {
      await page.goto(`${server.url}/#/budget/${view}`);
      await page.getByText(shown).first().waitFor();
      await page.getByRole('region', { name: 'Changes: table' }).getByText('Limits changed').first().waitFor();
      const fields = page.locator('main').getByRole('spinbutton');
      const buttons = page.locator('main').getByRole('button', { name: /^(Save|Give|Create|Revoke|Move|Add|Remove)/ });
      return (await fields.count()) + (await buttons.count());
    };
    await server.runInPage(async ({ page }) => {
      for (const [view, shown] of views) expect(await countForms(page, view, shown), view).toBe(0);
      expect(await page.getByRole('navigation', { name: 'Parts' }).getByRole('link').allTextContents()).not.toContain(
        'Chat',
      );
      expect(await findBarriers(page)).toEqual([]);
    }, '/#/budget');
    const admin = await openPage(server.browser, server.url, ISOLATED_OPTIONS, { token: adminToken });
    for (const [view, shown] of views) expect(await countForms(admin.page, view, shown), view).toBeGreaterThan(0);
    await admin.close();
  });

  test('models have their display names, and colours that stand out on a light and a dark page', async () => {
    for (const name of ['localStorage', 'sessionStorage']) vi.stubGlobal(name, { getItem: () => null });
    onTestFinished(() => void vi.unstubAllGlobals());
    const { getModelColor, getModelDisplayName, loadModels } = await import('#page/edge/models.ts');
    await loadModels(server.client);
    const ids = [
      ...MODELS.map(({ id }) => id),
      '(other)',
      '(none)',
      ...Array.from({ length: 60 }, (_, n) => `other-${n}`),
    ];
    expect(MODELS.filter(({ id, retires_at }) => !retires_at && getModelDisplayName(id) === id)).toEqual([]);
    await server.runInPage(async ({ page }) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        const weak = await page.evaluate(listWeakColors, ids.map(getModelColor));
        expect(weak, colorScheme).toEqual([]);
      }
    }, '/#/budget');
  });
});

/** @returns the colours whose contrast with a card is less than the 3:1 that WCAG requires of graphics. It runs in the page */
function listWeakColors(colors: readonly string[]): string[] {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const probe = document.body.appendChild(document.createElement('i'));
  const getLuminance = (color: string) => {
    probe.style.background = color;
    if (!context) throw new Error('There is no canvas.');
    context.fillStyle = getComputedStyle(probe).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    const [r = 0, g = 0, b = 0] = [...context.getImageData(0, 0, 1, 1).data]
      .map((channel) => channel / 255)
      .map((channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const card = getLuminance('var(--raised)');
  const weak = colors.filter((color) => {
    const light = getLuminance(color);
    return (Math.max(light, card) + 0.05) / (Math.min(light, card) + 0.05) < 3;
  });
  probe.remove();
  return weak;
}
