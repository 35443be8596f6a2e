import type { Page } from 'playwright-core';

const ACCOUNTS = 1_000;

/** @returns the name of what has the focus. */
export async function focusedNameOf(page: Page): Promise<string> {
  return await page.evaluate(() => {
    const { activeElement: active } = document;
    return active?.getAttribute('aria-label') ?? active?.textContent ?? '';
  });
}

/** Answers as a deployment with a shared budget, a group and a thousand accounts would. */
export async function mockAccounts(page: Page, url: string): Promise<void> {
  const createPeriods = <T>(value: T) => ({ day: value, week: value, month: value });
  const shared = { limit_usd: 200, spent_usd: 150.25, leased_usd: 3.5, resets_at: '2026-12-01T00:00:00.000Z' };
  const windows = { hour: shared, ...createPeriods(shared), total: shared };
  const data = Array.from({ length: ACCOUNTS }, (_, index) => ({
    type: 'account',
    id: `account-${String(index).padStart(4, '0')}`,
    group: index % 3 === 0 ? 'research' : null,
    spent_usd: createPeriods(((index * 7_919) % 1_000) / 10),
    limit_usd: createPeriods(index % 2 === 0 ? 100 : null),
    tightest:
      index % 2 === 0
        ? {
            by: 'account',
            id: null,
            limit: 'usd_per_day',
            limit_usd: 100,
            resets_at: null,
            refuses: false,
            used_usd: ((index * 7_919) % 1_000) / 10,
          }
        : null,
    refused_today: index % 50,
    blocked_by: index === 7 ? 'requests_per_minute' : null,
    last_seen_at: new Date(Date.UTC(2026, 10, 20, 0, index)).toISOString(),
  }));
  const createList = (rows: { id: string }[]) => ({
    data: rows,
    has_more: false,
    first_id: rows[0]?.id ?? null,
    last_id: rows.at(-1)?.id ?? null,
  });
  const event = {
    type: 'alert',
    event_id: 'alert_1',
    kind: 'threshold',
    node: { type: 'deployment', id: 'deployment' },
  };
  const alert = {
    ...event,
    created_at: '2026-11-20T10:00:00.000Z',
    limit: 'usd_per_month',
    window: '2026-11',
    threshold: 0.8,
    limit_usd: 200,
    settled_usd: 160,
    subject: null,
    todo: 'An admin can find the spender with GET /usage?group_by=account.',
    state: 'pending',
    attempts: 5,
    next_attempt_at: '2030-11-20T23:40:00.000Z',
    error: { type: 'api_error', message: 'The receiver could not be reached' },
  };
  const binds = [
    {
      by: 'group',
      id: 'research',
      limit: 'usd_per_day',
      limit_usd: 200,
      used_usd: 199,
      refuses: true,
      resets_at: '2026-12-01T00:00:00.000Z',
    },
  ];
  const research = { type: 'group', id: 'research', limits: { usd_per_day: 200 }, ...windows, binds, refused_today: 3 };
  const own = { ...shared, settled_usd: 0, held_usd: 0 };
  const standing = {
    type: 'account',
    id: 'account-0007',
    limits: { requests_per_minute: 0 },
    group: 'research',
    blocked_by: 'requests_per_minute',
    binds,
    own_limits: { requests_per_minute: 0 },
    hour: own,
    ...createPeriods(own),
    total: own,
    running_requests: 0,
  };
  const overview = {
    type: 'overview',
    requests: { requests: 9, failed: 4, refused: 59 },
    accounts: { blocked: 1, spent: 2 },
    undelivered_events: [{ source: 'github', events: 2, failing_since: null }],
    undelivered_alerts: 1,
  };
  await page.route(`${url}/overview`, (route) => route.fulfill({ json: overview }));
  await page.route(`${url}/accounts/account-0007?*`, (route) => route.fulfill({ json: standing }));
  await page.route(`${url}/groups/research`, (route) => route.fulfill({ json: research }));
  await page.route(`${url}/pools/deployment`, (route) =>
    route.fulfill({ json: { limits: {}, binds: [], ...windows } }),
  );
  await page.route(`${url}/groups?*`, (route) => {
    return route.fulfill({ json: createList([research]) });
  });
  await page.route(`${url}/accounts?*`, (route) => {
    const limit = Number(new URL(route.request().url()).searchParams.get('limit'));
    return route.fulfill({ json: { ...createList(data.slice(0, limit)), has_more: limit < ACCOUNTS } });
  });
  await page.route(`${url}/alerts?*`, (route) =>
    route.fulfill({ json: { ...createList([{ ...alert, id: '1' } as { id: string }]), alert_url_set: true } }),
  );
}
