// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { listedRange, spendersRange } from '#page/budget/figures/days.ts';
import { BudgetOverview } from '#page/budget/overview.tsx';
import { UpstreamHealthList } from '#page/budget/upstreams.tsx';
import { spentToday } from '#page/edge/account.ts';
import { listAvailablePageParts } from '#page/edge/available-views.ts';
import { getClient } from '#page/edge/client.ts';
import { getModelColor, getModelDisplayName, loadModels } from '#page/edge/models.ts';
import { includedPlugins } from '#page/edge/plugins.ts';
import { refreshAllPolls } from '#page/edge/poll.ts';
import { actAs } from '#test/support/act-as.ts';
import {
  chooseValue,
  click,
  createErrorResponse,
  getElementByName,
  installFakeEdge,
  navigateTo,
  type PageRequest,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';

const WINDOW = {
  limit_usd: null,
  spent_usd: 0.15,
  leased_usd: 0,
  settled_usd: 0.15,
  held_usd: 0,
  resets_at: '2026-12-01T00:00:00Z',
};
const STANDS = { limits: {}, hour: WINDOW, day: WINDOW, week: WINDOW, month: WINDOW, total: WINDOW };
const ALERT = {
  event_id: 'a',
  kind: 'key_works',
  node: { type: 'deployment' },
  subject: null,
  todo: 'Nothing to do.',
  created_at: '2026-11-20T10:00:00Z',
  state: 'delivered',
  error: null,
};
const SPENT = { key: 'globex', requests: 3, cost_usd: 1, saved_usd: 0, usage: {} };

/** Answers as an edge at which something was spent once, and nothing since. */
function answer({ path }: PageRequest): unknown {
  if (path === '/overview') return { type: 'overview' };
  if (path.startsWith('/usage') && path.includes('group_by=account')) return { data: [SPENT], total: SPENT };
  const data = path.startsWith('/alerts') ? [ALERT] : [];
  return {
    ...STANDS,
    running_requests: 0,
    binds: [],
    blocked_by: null,
    data,
    has_more: false,
    total: { ...WINDOW, requests: 0, cost_usd: 0, saved_usd: 0, usage: {} },
  };
}

const queriesOf = (asked: PageRequest[], group: string) =>
  asked
    .map(({ path }) => Object.fromEntries(new URLSearchParams(path.split('?')[1])))
    .filter(({ group_by }) => group_by === group);

beforeEach(() => {
  navigateTo('#/budget');
  [listedRange.value, spendersRange.value] = ['week', 'today'];
  onTestFinished(() => void vi.useRealTimers());
});

test.each(['admin', 'messages'])(
  'the chart adds a new day at midnight UTC even if nothing was spent since (%s)',
  async (scope) => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-27T23:59:00Z') });
    actAs('ada', scope);
    const asked = installFakeEdge(answer);
    renderForTest(h(BudgetOverview, {}));
    const days = () => {
      refreshAllPolls();
      return queriesOf(asked, 'day').map(({ from, to }) => [from, to]);
    };
    await expect.poll(days).toEqual([['2026-11-14', '2026-11-28']]);
    vi.setSystemTime(new Date('2026-11-28T00:01:00Z'));
    await expect.poll(days).toEqual([expect.anything(), ['2026-11-15', '2026-11-29']]);
    // Until the next midnight, or until something is spent, it is not read again.
    const polls = asked.length;
    await expect.poll(() => days() && asked.length).toBeGreaterThan(polls + 8);
    expect(days()).toHaveLength(2);
  },
);

test('offers no example question and reads no conversations if the token cannot send requests', async () => {
  actAs('auditor', 'admin:read');
  const asked = installFakeEdge(answer);
  includedPlugins.value = new Set();
  const root = renderForTest(h(BudgetOverview, {}));
  await waitForText(root, 'No spending in the last two weeks.');
  expect(root.textContent).not.toContain('Ask a short question');
  expect(asked.filter(({ path }) => path.startsWith('/conversations'))).toEqual([]);
  expect(listAvailablePageParts()).toEqual(['budget']);
});

test('spending by account covers today, also after midnight, and opens an account with the same date range', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-27T23:59:00Z') });
  const asked = installFakeEdge(answer);
  const root = renderForTest(h(BudgetOverview, {}));
  const last = () => {
    refreshAllPolls();
    return queriesOf(asked, 'account').at(-1);
  };
  await expect.poll(last).toMatchObject({ from: '2026-11-27', to: '2026-11-28' });
  vi.setSystemTime(new Date('2026-11-28T00:01:00Z'));
  await expect.poll(last).toMatchObject({ from: '2026-11-28', to: '2026-11-29' });
  await click(root, 'globex');
  expect([location.hash, listedRange.value]).toEqual(['#/budget/accounts/globex', 'today']);
  chooseValue(getElementByName(root, 'Date range for spending by account, in UTC'), 'month');
  await expect.poll(last).toMatchObject({ from: '2026-10-30', to: '2026-11-29' });
  // What is looked at elsewhere stays until somebody goes there.
  expect(listedRange.value).toBe('today');
});

test.each([
  ['/pools/deployment', 'The spending of the deployment', [/Claude answers this deployment again/, /globex/]],
  ['/alerts', 'Alerts', [/Deployment, today\$0\.15/, /globex/]],
  [
    '/usage?group_by=account',
    'Spending by account',
    [/Deployment, today\$0\.15/, /Claude answers this deployment again/],
  ],
])('a failure of %s is shown only in its own section, and Retry reads it again', async (path, name, others) => {
  let isThere = false;
  installFakeEdge((one) =>
    one.path.startsWith(path) && !isThere ? createErrorResponse(503, 'api_error', 'No.') : answer(one),
  );
  const root = renderForTest(h(BudgetOverview, {}));
  for (const other of others) await waitForText(root, other);
  const faults = () => [...root.querySelectorAll('[role=alert] > p:first-child')].map(({ textContent }) => textContent);
  await expect.poll(faults).toEqual([expect.stringMatching(`^${name} cannot be read. An error occurred`)]);
  isThere = true;
  await click(root, 'Retry');
  await expect.poll(faults).toEqual([]);
});

test('an exhausted budget of the deployment is listed first, in red, with its form open', async () => {
  const bind = { by: 'deployment', id: null, limit_usd: 0.15, used_usd: 0.15, resets_at: '2026-12-01T00:00:00Z' };
  let refuses = false;
  installFakeEdge((one) => ({
    ...(answer(one) as object),
    ...(one.path === '/pools/deployment' ? { binds: [{ ...bind, limit: 'usd_per_day', refuses }] } : {}),
  }));
  const root = renderForTest(h(BudgetOverview, {}));
  const cards = () =>
    [...root.querySelectorAll('.gauge')].map((card) => [
      card.querySelector('h2')?.textContent,
      card.getAttribute('data-look'),
    ]);
  // A poll that still runs ignores the next one.
  const cardsAfterPoll = () => {
    refreshAllPolls();
    return cards();
  };
  const isFormOpen = () => root.querySelector('details')?.open;
  await waitForText(root, 'Limits of the deployment');
  expect([cards(), isFormOpen()]).toEqual([[['Deployment, today', null]], false]);
  refuses = true;
  await expect.poll(cardsAfterPoll).toEqual([['Dollars per day, of the deployment', 'refused']]);
  await waitForText(root, 'used up: resets');
  expect(isFormOpen()).toBe(true);
  // It was raised: the form stays, and says that this is saved.
  refuses = false;
  await expect.poll(cardsAfterPoll).toEqual([['Deployment, today', null]]);
  expect(isFormOpen()).toBe(true);
});

test('the Overview shows the time to the first event by day, and marks a day on which the version changed', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-27T12:00:00Z') });
  const speedWithin = (bound: number) => ({
    timed_requests: 10,
    ttft_ms: 10,
    ttft_within_ms: Object.fromEntries(
      [250, 500, 1_000, 2_500, 5_000, 10_000, 30_000].map((ms) => [ms, ms < bound ? 0 : 10]),
    ),
  });
  const days = [
    { key: '2026-11-26', cost_usd: 0, requests: 1, speed: speedWithin(250) },
    { key: '2026-11-27', cost_usd: 0, requests: 1, speed: speedWithin(60_000) },
  ];
  const versions = ['2026-11-20', '2026-11-26'].map((day, nth) => ({
    id: `version-${nth}`,
    since: `${day}T08:00:00.000Z`,
  }));
  installFakeEdge((one) => {
    if (one.path === '/overview') return { type: 'overview', versions };
    if (one.path.includes('group_by=day')) return { data: days, total: { ...WINDOW, usage: {} } };
    return answer(one);
  });
  const root = renderForTest(h(BudgetOverview, {}));
  await waitForText(root, 'The deployed version changed.');
  const chart = root.querySelector('[aria-labelledby=first-event]');
  const cells = [...(chart?.querySelectorAll('tbody tr') ?? [])]
    .slice(-2)
    .map((row) => [...row.querySelectorAll('td .data')].map(({ textContent }) => textContent));
  expect(cells).toEqual([
    ['250 ms or less', '250 ms or less'],
    ['more than 30.0 s', 'more than 30.0 s'],
  ]);
  const ticks = [...(chart?.querySelectorAll('.chart-axis li') ?? [])].map(({ textContent }) => textContent);
  expect(ticks).toEqual(['30 s', '15 s', '0 ms']);
  const marks = [...(chart?.querySelectorAll<HTMLElement>('abbr') ?? [])];
  expect(marks.map((mark) => [mark.title, mark.parentElement?.textContent])).toEqual([
    ['New version: version-1', expect.stringContaining('26')],
  ]);
});

test('a model keeps its colour in charts when other models are added', async () => {
  const model = (id: string, line: string) => ({ id, line, display_name: id, retires_at: null, prices: null });
  const models = [model('opus-b', 'opus'), model('opus-a', 'opus'), model('haiku-a', 'haiku')];
  const load = async (data: object[]) => {
    installFakeEdge(() => ({ data }));
    await loadModels(getClient());
    return ['opus-b', 'opus-a', 'haiku-a', '(other)', 'unlisted'].map(getModelColor);
  };
  const colors = await load(models);
  expect(new Set(colors.slice(0, 3)).size).toBe(3);
  expect(await load([model('opus-c', 'opus'), ...models])).toEqual(colors);
  expect(await load([model('fable-a', 'fable'), ...models])).toEqual(colors);
});

test('a retired model keeps its display name in figures of the past', async () => {
  const retired = {
    id: 'opus-a',
    line: 'opus',
    display_name: 'Opus A',
    retires_at: '2020-01-01T00:00:00Z',
    prices: null,
  };
  installFakeEdge(() => ({ data: [retired] }));
  await loadModels(getClient());
  expect([getModelDisplayName('opus-a'), getModelDisplayName('unlisted')]).toEqual(['Opus A', 'unlisted']);
});

test('the Overview updates the amount spent today in the header', async () => {
  installFakeEdge(answer);
  renderForTest(h(BudgetOverview, {}));
  await expect.poll(() => spentToday.value).toEqual({ usd: 0.15, byAll: true });
});

test('upstreams stay visible while reading them fails, and Retry reads them again', async () => {
  let isThere = true;
  const east = { name: 'east', kind: 'anthropic', running: 0, max_concurrent: null, models: [] };
  installFakeEdge(() => (isThere ? { upstreams: [east] } : createErrorResponse(503, 'api_error', 'No.')));
  const root = renderForTest(h(UpstreamHealthList, {}));
  await waitForText(root, 'east');
  isThere = false;
  refreshAllPolls();
  await waitForText(root, /Upstreams cannot be read\.[\s\S]*east/);
  isThere = true;
  await click(root, 'Retry');
  await expect.poll(() => root.querySelector('[role=alert]')).toBeNull();
});
