import type { Page } from 'playwright-core';

const ACCOUNTS = 1_000;

/** @returns the name of what has the focus. */
export async function focused(page: Page): Promise<string> {
  return await page.evaluate(() => {
    const { activeElement: active } = document;
    return active?.getAttribute('aria-label') ?? active?.textContent ?? '';
  });
}

/** Answers as a deployment with a shared budget, a group and a thousand accounts would. */
export async function withAccounts(page: Page, url: string): Promise<void> {
  const periods = <T>(value: T) => ({ day: value, week: value, month: value });
  const shared = { limit_usd: 200, spent_usd: 150.25, leased_usd: 3.5, resets_at: '2026-12-01T00:00:00.000Z' };
  const windows = { hour: shared, ...periods(shared), total: shared };
  const data = Array.from({ length: ACCOUNTS }, (_, index) => ({
    type: 'account',
    id: `account-${String(index).padStart(4, '0')}`,
    group: index % 3 === 0 ? 'research' : null,
    spent_usd: periods(((index * 7_919) % 1_000) / 10),
    limit_usd: periods(index % 2 === 0 ? 100 : null),
    tightest:
      index % 2 === 0
        ? {
            limit: 'usd_per_day',
            token: null,
            limit_usd: 100,
            used_usd: ((index * 7_919) % 1_000) / 10,
            resets_at: null,
          }
        : null,
    blocked: index === 7,
    last_seen_at: new Date(Date.UTC(2026, 10, 20, 0, index)).toISOString(),
  }));
  const list = (rows: { id: string }[]) => ({
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
    state: 'delivered',
    attempts: 1,
  };
  await page.route(`${url}/pools/deployment`, (route) => route.fulfill({ json: { limits: {}, ...windows } }));
  await page.route(`${url}/groups?*`, (route) => {
    const research = { type: 'group', id: 'research', limits: {}, ...windows };
    return route.fulfill({ json: list([research]) });
  });
  await page.route(`${url}/accounts?*`, (route) => route.fulfill({ json: list(data) }));
  await page.route(`${url}/alerts?*`, (route) =>
    route.fulfill({ json: list([{ ...alert, id: '1' } as { id: string }]) }),
  );
}
