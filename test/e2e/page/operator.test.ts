import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { startEdgeWithPage } from '../../support/edge.ts';
import { looks } from '../../support/looks.ts';
import { focused, withAccounts } from '../../support/operator-page.ts';
import { openPage, servedPage } from '../../support/page.ts';

const QUICK = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' };
const NARROW = { width: 360, height: 640 };
/** The views of Budget, each with a text that is there once it is loaded. */
const VIEWS_SHOWN = [
  ['overview', 'Everybody, today'],
  ['accounts', /of 1,001/],
  ['requests', 'Last requests'],
] as const;

describe.skipIf(noBrowser())('What an admin sees of the deployment, in Chromium', () => {
  // With several upstreams and a shared budget, both of which are of the whole edge.
  const server = servedPage(['admin'], () => {
    const upstreams = [
      // Nothing listens there.
      { name: 'east', kind: 'anthropic', base_url: 'http://127.0.0.1:9' },
      { name: 'simulator-west', kind: 'simulator', as: 'bedrock', max_concurrent: 7 },
    ];
    return startEdgeWithPage({
      ...QUICK,
      UPSTREAM: '',
      UPSTREAMS: JSON.stringify(upstreams),
      UPSTREAM_EAST_KEY: 'key-of-nobody',
      DEPLOYMENT_LIMITS: '{"usd_per_day":200}',
    });
  });

  const send = async (method: string, path: string, body: unknown) => {
    const headers = { 'content-type': 'application/json' };
    const init = body === undefined ? { method } : { method, headers, body: JSON.stringify(body) };
    const response = await fetch(server.url + path, init);
    expect(response.ok, path).toBe(true);
    return response;
  };

  const ask = async (token?: string) =>
    await fetch(`${server.url}/v1/messages`, {
      method: 'POST',
      headers: {
        ...{ 'content-type': 'application/json', 'sluice-tags': 'feature=search' },
        ...(token && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({
        model: 'claude-haiku-5-5',
        max_tokens: 20,
        messages: [{ role: 'user', content: 'Say one word.' }],
      }),
    });

  test('shows how each of several upstreams is, and that one is left alone while it is down', async () => {
    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget`);
    await page.getByRole('tab', { name: 'Upstreams' }).click();
    const table = page.getByRole('region', { name: 'Upstreams' });
    const rowOf = (name: string, model: string) =>
      table
        .getByRole('row')
        .filter({ has: page.getByRole('rowheader', { name }) })
        .filter({ hasText: model });
    // The page itself has asked for the list of models: no model is named by that, and the second one has no list.
    await rowOf('east', 'none').waitFor();
    await table.getByTitle('Calls that name no model: the list of models, files and batches.').first().waitFor();
    await rowOf('simulator-west', '–').getByText('not called yet').waitFor();
    await rowOf('simulator-west', '–').getByText('0 of 7').waitFor();
    for (let nth = 0; nth < 5; nth += 1) {
      // Each account is asked for the first time: it has its cache nowhere.
      const minted = await send('POST', '/tokens', { account: `new-${nth}`, scopes: ['messages'] });
      const { token } = (await minted.json()) as { token: string };
      const answer = await ask(token);
      expect([answer.status, answer.headers.get('sluice-upstream')]).toEqual([200, 'simulator-west']);
      await answer.text();
    }
    const down = rowOf('east', 'claude-haiku-5-5');
    await down.getByText(/paused until|being tried again/).waitFor();
    await down.getByText(/^[5-9] of [5-9]$/).waitFor();
    const up = rowOf('simulator-west', 'claude-haiku-5-5');
    await up.getByText('healthy', { exact: true }).waitFor();
    await up.getByText('0 of 5').waitFor();
    expect(await page.content()).not.toContain('key-of-nobody');
    expect(await barriersOn(page)).toEqual([]);
    expect(faults).toEqual([]);
    await close();
  });

  test('finds a request, also a refused one with its reason; lists alerts; changes a limit in its row', async () => {
    await send('PATCH', '/accounts/dev/limits', { usd_per_month: 0.0002, on_shortfall: 'refuse', alerts: [0.01] });
    const answered = await ask();
    let refused = await ask();
    for (let i = 0; i < 100 && refused.ok; i += 1) refused = await ask();
    expect(refused.status).toBe(429);
    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget/requests`);
    const find = async (id: string | null) => {
      await page.getByRole('textbox', { name: 'Request id, or account' }).fill(id ?? '');
      await page.keyboard.press('Enter');
    };
    const box = page.getByRole('region', { name: 'Find a request' });
    await find(answered.headers.get('sluice-request-id'));
    await box.getByText('feature=search').waitFor();
    // Whose it was, which its id alone does not say to a person.
    await box.getByRole('button', { name: 'dev', exact: true }).click();
    await expect.poll(() => focused(page)).toBe('Account dev');
    expect(new URL(page.url()).hash).toBe('#/budget/accounts');
    await page.goBack();
    await find(refused.headers.get('sluice-request-id'));
    await box.getByText(/spend limit of this account is reached|larger than your whole/).waitFor();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page
      .getByRole('region', { name: 'Alerts' })
      .getByText(/dev has spent 1%/)
      .waitFor();

    await page.getByRole('tab', { name: 'Accounts' }).click();
    const table = page.getByRole('region', { name: 'Accounts and groups' });
    await table.getByRole('button', { name: 'dev', exact: true }).waitFor();
    await table.getByRole('button', { name: /^Change the limit of dev/ }).focus();
    await page.keyboard.press('Enter');
    await page.keyboard.type('7.5');
    await page.keyboard.press('Enter');
    await table.getByRole('button', { name: 'Change the limit of dev, $7.50 per month' }).waitFor();
    const limitsOf = async (): Promise<object> => {
      const { own_limits } = (await (await fetch(`${server.url}/accounts/dev`)).json()) as { own_limits: object };
      return own_limits;
    };
    expect(await limitsOf()).toEqual({ usd_per_month: 7.5, on_shortfall: 'refuse', alerts: [0.01] });
    // Escape gives the focus back.
    await page.keyboard.press('Enter');
    await page.keyboard.press('Escape');
    await expect.poll(() => focused(page)).toBe('Change the limit of dev, $7.50 per month');
    expect(faults).toEqual([]);
    await close();
  });

  test('who spent most, on what, and why a request was refused is found by days, and without an account’s name', async () => {
    const started: string[] = [];
    const askAs = async (account: string, model: string, tags: string) => {
      const minted = await send('POST', '/tokens', { account, scopes: ['messages'] });
      const { token } = (await minted.json()) as { token: string };
      return await fetch(`${server.url}/v1/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, 'sluice-tags': tags },
        body: JSON.stringify({ model, max_tokens: 60, messages: [{ role: 'user', content: 'Say some words.' }] }),
      });
    };
    for (const feature of ['reports', 'reports', 'search']) {
      const answer = await askAs(
        'globex',
        feature === 'search' ? 'claude-haiku-5-5' : 'claude-opus-5',
        `feature=${feature}`,
      );
      expect(answer.status).toBe(200);
      await answer.text();
      started.push(answer.headers.get('sluice-request-id') ?? '');
    }
    await (await askAs('acme', 'claude-haiku-5-5', 'feature=poems')).text();
    await send('PATCH', '/accounts/umbrella/limits', { usd_per_day: 0.00001, on_shortfall: 'refuse' });
    const refused = await askAs('umbrella', 'claude-opus-5', 'feature=search');
    expect(refused.status).toBe(429);

    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget`);
    const sums: string[] = [];
    page.on('request', (request) => {
      if (request.url().includes('group_by=account')) sums.push(new URL(request.url()).search);
    });
    const who = page.getByRole('region', { name: 'Who spent what' });
    // The dearest stands first, and opens what it was spent on, by model and by tag.
    await who.getByRole('button', { name: 'globex' }).waitFor();
    const first = who.locator('tbody tr').first();
    await expect.poll(() => first.getByRole('rowheader').textContent()).toBe('globex');
    await expect.poll(() => first.getByRole('cell').first().textContent()).toBe('3');
    await first.getByRole('button').click();
    await expect.poll(() => focused(page)).toBe('Account globex');
    const parts = page.getByRole('region', { name: 'Spending' });
    await parts.getByRole('rowheader', { name: 'Claude Opus 5' }).waitFor();
    await page.getByRole('combobox', { name: 'Group by' }).selectOption('tag');
    await parts.getByRole('rowheader', { name: 'feature=reports' }).waitFor();
    await expect
      .poll(() => parts.getByRole('rowheader').allTextContents())
      .toEqual(['feature=reports', 'feature=search']);
    // Its requests, each with its id and what it was for.
    await page.getByRole('tab', { name: 'Requests' }).click();
    expect(new URL(page.url()).hash).toBe('#/budget/requests/globex');
    const list = page.getByRole('region', { name: 'Last requests' }).locator('.table-frame');
    await expect.poll(() => list.locator('tbody tr').count()).toBe(3);
    await list.getByRole('button').first().click();
    await list.getByText(started[2] ?? 'none').waitFor();
    await list.getByText('feature=search').first().waitFor();
    expect(await barriersOn(page)).toEqual([]);
    // From a row it is one press to what its tag cost this week, and to that alone.
    await list.getByRole('button', { name: 'feature=search' }).first().click();
    await expect.poll(() => focused(page)).toBe('Account globex');
    await expect.poll(() => parts.getByRole('rowheader').allTextContents()).toEqual(['feature=search']);
    await page.getByRole('button', { name: 'Show every tag' }).click();
    await expect.poll(() => parts.getByRole('rowheader').count()).toBe(2);

    await page.getByRole('tab', { name: 'Requests' }).click();
    // An account that was only refused: by its name, and by the id of the request alone.
    const box = page.getByRole('region', { name: 'Find a request' });
    await box.getByRole('textbox').fill('umbrella');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Account umbrella' }).waitFor();
    await page.getByRole('tab', { name: 'Requests' }).click();
    const why = page.getByRole('region', { name: 'Requests', exact: true });
    const [red = ''] = await Promise.all([
      why.getByText('refused: usd_per_day', { exact: true }).evaluate((cell) => getComputedStyle(cell).color),
      why.getByText(/larger than your whole daily limit/).waitFor(),
    ]);
    expect(red).not.toBe(
      await page.getByRole('heading', { name: 'Last requests' }).evaluate((one) => getComputedStyle(one).color),
    );
    await why.getByRole('button').first().click();
    await why.getByText(/^What helps: Raise usd_per_day of the account/).waitFor();
    // Whoever does not know the account finds it among the refused of all, at its minute.
    await page.getByRole('combobox', { name: 'Which requests' }).selectOption('everyone');
    await why.getByRole('button', { name: 'umbrella' }).waitFor({ timeout: 20_000 });
    const minute = new Date().toISOString().slice(0, 16);
    await page.getByLabel('Around this time, in UTC').fill(minute);
    await why.getByRole('button', { name: 'umbrella' }).waitFor();
    await page.getByLabel('Around this time, in UTC').fill('2026-01-01T10:14');
    await page.getByText('No requests were refused around 2026-01-01 10:14 UTC.').waitFor();
    await page.getByText('A 401 is only in the log.').waitFor();
    await page.getByLabel('Around this time, in UTC').fill('');
    await page.getByRole('textbox', { name: 'Only of the token' }).fill('nobody');
    await page.keyboard.press('Enter');
    await page.getByText('No requests were refused in the last 7 days.').waitFor();
    await page.getByRole('textbox', { name: 'Only of the token' }).fill('');
    await box.getByRole('textbox').fill(refused.headers.get('sluice-request-id') ?? '');
    await page.keyboard.press('Enter');
    await box.getByText(/^What helps: Raise usd_per_day/).waitFor();

    await page.getByRole('tab', { name: 'Overview' }).click();
    // Other days: yesterday nothing was spent here, and one can choose any.
    const days = who.getByRole('combobox', { name: 'Days of who spent what, in UTC' });
    await days.selectOption('yesterday');
    await who.getByText('Nobody spent anything yesterday.').waitFor();
    const day = (ago: number) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
    expect(sums.at(-1)).toBe(`?group_by=account&limit=500&from=${day(1)}&to=${day(0)}`);
    await days.selectOption('own');
    await who.getByLabel('First day, in UTC').fill('2026-11-03');
    await who.getByLabel('Last day, in UTC').fill('2026-11-04');
    await who.getByText('Nobody spent anything from 2026-11-03 to 2026-11-04.').waitFor();
    expect(sums.at(-1)).toBe('?group_by=account&limit=500&from=2026-11-03&to=2026-11-05');
    await days.selectOption('today');
    await who.getByRole('button', { name: 'globex' }).waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  test('says who one is, and what a name in brackets means', async () => {
    const sums = { input_tokens: 9, output_tokens: 9, cache_read_tokens: 900, thinking_tokens: 0, web_searches: 0 };
    const today = Math.floor(Date.now() / 86_400_000);
    const day = { day: today, requests: 3, cost: 2_000_000_000, cache_write_5m_tokens: 0, cache_write_1h_tokens: 0 };
    await send('PUT', '/accounts/moved/backup', {
      ...{ type: 'account_backup', id: 'moved', limits: null, group: null, revoked_before: 0, credits: [], tokens: [] },
      days: [{ ...day, ...sums }],
    });
    const minted = await send('POST', '/tokens', { account: 'ops', scopes: ['admin'] });
    const { token } = (await minted.json()) as { token: string };
    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget`);
    await page.getByRole('button', { name: 'Account dev' }).click();
    await page.getByText('You are dev, an admin. In development mode no token is needed.').waitFor();
    await page.getByLabel('Token', { exact: true }).fill(token);
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByRole('button', { name: 'Account ops' }).click();
    await page.getByRole('dialog').getByText('You are ops, an admin.', { exact: true }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('tab', { name: 'Accounts' }).click();
    await page.getByRole('combobox', { name: 'Account' }).fill('moved');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    const imported = page.getByRole('region', { name: 'Spending' }).getByText('(imported)', { exact: true });
    await imported.waitFor();
    await expect.poll(() => imported.getAttribute('title')).toMatch(/taken over from a backup/);
    await page.locator('.legend').getByText('(imported)').waitFor();
    // What its tokens cost is not known, so they are not told as a saving.
    const savings = page.getByRole('region', { name: 'Saved by caching' });
    await savings.getByText(/^Nothing came from Claude’s cache yet/).waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  test('alerts are chosen in fields, for the deployment and a group, and a refusal of the edge stands at its field', async () => {
    await send('PUT', '/groups/blue/limits', { usd_per_week: 7 });
    const { page, close } = await openPage(server.browser, `${server.url}/#/budget`);
    const box = page.getByRole('region', { name: 'Alerts' });
    await page.getByText('Everybody, today').waitFor();
    await box.getByRole('button', { name: 'Choose when to be told' }).click();
    const shares = box.getByRole('textbox', { name: /^Tell at/ });
    const save = async (text: string) => {
      await shares.fill(text);
      await box.getByRole('button', { name: 'Save alerts' }).click();
    };
    const limitsOf = async (path: string) =>
      ((await (await fetch(server.url + path)).json()) as { limits: object }).limits;
    // In the words of the edge: it knows the most that there may be.
    await save('50, 2000');
    await box.getByRole('alert').waitFor();
    await expect.poll(() => shares.getAttribute('aria-invalid')).toBe('true');
    expect(await barriersOn(page, '.budget')).toEqual([]);
    await save('50, 80');
    await expect.poll(() => limitsOf('/pools/deployment')).toEqual({ usd_per_day: 200, alerts: [0.5, 0.8] });
    await box.getByRole('combobox', { name: 'Whose limits' }).selectOption('Group blue');
    await expect.poll(() => shares.inputValue()).toBe('');
    await save('100');
    await expect.poll(() => limitsOf('/groups/blue')).toEqual({ usd_per_week: 7, alerts: [1] });
    await close();
  });

  test('shows what accounts and groups spend of the shared budget, and changes their limits', async () => {
    for (const [index, account] of ['alice', 'bob', 'carol'].entries()) {
      const minted = await send('POST', '/tokens', { account, scopes: ['messages'] });
      const { token } = (await minted.json()) as { token: string };
      if (account !== 'carol') await send('PUT', `/groups/red/accounts/${account}`, undefined);
      for (let i = 0; i <= index; i += 1) {
        const answer = await ask(token);
        expect(answer.status).toBe(200);
        await answer.text();
      }
    }
    await send('PUT', '/groups/red/limits', { usd_per_month: 50, usd_per_day: 20 });
    for (const colorScheme of looks(['light', 'dark'] as const)) {
      for (const viewport of looks([NARROW, { width: 1_280, height: 900 }])) {
        const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget`, {
          colorScheme,
          viewport,
        });
        const everybody = page.getByRole('listitem').filter({ hasText: 'Everybody, today' });
        await everybody.getByText('of $200.00').waitFor();
        await page.getByRole('tab', { name: 'Accounts' }).click();
        const table = page.getByRole('region', { name: 'Accounts and groups' });
        for (const name of ['alice', 'bob', 'carol']) {
          const row = table.getByRole('row').filter({ has: page.getByRole('button', { name, exact: true }) });
          await row.getByText(/^\$0\.0*[1-9]/).waitFor();
          await expect.poll(() => row.getByRole('cell').first().textContent()).toBe(name === 'carol' ? '' : 'red');
        }
        if (process.env.SCREENSHOTS) {
          const path = `${process.env.SCREENSHOTS}/shared-${colorScheme}-${viewport.width}.png`;
          await page.screenshot({ path, fullPage: true });
        }
        expect(faults).toEqual([]);
        await close();
      }
    }
    const { page, faults, close } = await openPage(server.browser, `${server.url}/#/budget/accounts`);
    const change = async (name: string, usd: string) => {
      await page.getByRole('button', { name: new RegExp(`^Change the limit of ${name},`) }).focus();
      await page.keyboard.press('Enter');
      await page.keyboard.press('ControlOrMeta+A');
      await page.keyboard.type(usd);
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: `Change the limit of ${name}, $${usd} per month` }).waitFor();
    };
    await change('red', '42.50');
    await change('carol', '7.50');
    const { limits } = (await (await fetch(`${server.url}/groups/red`)).json()) as { limits: object };
    expect(limits).toEqual({ usd_per_month: 42.5, usd_per_day: 20 });
    // The pool hears of the account's own limit with its next request; the list does not take it back until then.
    await page.getByRole('button', { name: 'Change the limit of carol, $7.50 per month' }).waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  test.each(looks(['dark', 'light'] as const))('nothing of it is out of reach, %s and narrow', async (colorScheme) => {
    for (const viewport of looks([NARROW, { width: 1_280, height: 900 }])) {
      const { page, close } = await openPage(server.browser, 'about:blank', { colorScheme, viewport });
      await withAccounts(page, server.url);
      for (const [view, shown] of VIEWS_SHOWN) {
        await page.goto(`${server.url}/#/budget/${view}`);
        await page.getByText(shown).first().waitFor();
        expect(await barriersOn(page, '.budget'), view).toEqual([]);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(wider).toBeLessThanOrEqual(0);
        if (process.env.SCREENSHOTS) {
          const path = `${process.env.SCREENSHOTS}/${view}-${colorScheme}-${viewport.width}.png`;
          await page.screenshot({ path, fullPage: true });
        }
      }
      await close();
    }
  });
});
