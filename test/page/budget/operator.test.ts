// @vitest-environment jsdom
import '../../support/without-layout.ts';
import { type FunctionComponent, h } from 'preact';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Alerts } from '../../../src/page/budget/alerts.tsx';
import { Breakdown } from '../../../src/page/budget/breakdown.tsx';
import { onlyKey } from '../../../src/page/budget/figures/breakdown-of.ts';
import { dayAgo, range } from '../../../src/page/budget/figures/days.ts';
import { keepSpenders } from '../../../src/page/budget/figures/overview.ts';
import { listedKind, minuteListed, tokenListed } from '../../../src/page/budget/figures/request-list.ts';
import { FindRequest } from '../../../src/page/budget/find-request.tsx';
import { BudgetOverview } from '../../../src/page/budget/overview.tsx';
import { RequestsTable } from '../../../src/page/budget/requests-table.tsx';
import { SpendersTable } from '../../../src/page/budget/spenders-table.tsx';
import { Tokens } from '../../../src/page/budget/tokens.tsx';
import { UpstreamsTable } from '../../../src/page/budget/upstreams-table.tsx';
import { Webhooks } from '../../../src/page/budget/webhooks.tsx';
import { WhoSpent } from '../../../src/page/budget/who-spent.tsx';
import { TokenDialog } from '../../../src/page/token.tsx';
import { actAs } from '../../support/act-as.ts';
import { type Asked, choose, click, fakeEdge, fill, goTo, named, refusal, show, shows } from '../../support/dom.ts';

const USAGE = {
  ...{ input_tokens: 9, output_tokens: 9, cache_read_input_tokens: 0 },
  ...{ cache_write_5m_input_tokens: 0, cache_write_1h_input_tokens: 0 },
};
const SENT = {
  ...{ request_id: 'req_1', created_at: '2026-11-20T10:00:00Z', model: 'claude-opus-5', route: '/messages', ms: 5 },
  ...{ status: 'settled', stop_reason: 'end_turn', error_type: null, cost_usd: 0.01, hold_usd: 0, estimated: false },
  ...{ tags: { feature: 'search' }, conversation: null, agent: null, token: null, usage: USAGE },
};
const REFUSED = {
  ...{ ...SENT, request_id: 'req_2', status: 'refused', account: 'umbrella', tags: {} },
  refusal: { limit: 'usd_per_day', limited_by: 'account', message: 'This is larger than your whole daily limit.' },
};
let root: HTMLElement;

/** Shows a part of Budget, of an edge that answers so. */
function open(part: FunctionComponent, answer: (asked: Asked) => unknown): Asked[] {
  const asked = fakeEdge(answer);
  root = show(h(part, {}));
  return asked;
}

const list = (data: object[]) => ({ data, has_more: false, first_id: null, last_id: null });
const queryOf = (asked: Asked[]) => Object.fromEntries(new URLSearchParams(asked.at(-1)?.path.split('?')[1]));
const rows = () => [...root.querySelectorAll('tbody tr')].map(({ textContent }) => textContent ?? '');

beforeEach(() => {
  goTo('#/budget');
  range.value = 'week';
  onlyKey.value = undefined;
  onTestFinished(() => void vi.useRealTimers());
});

test('shows how each of several upstreams is, and that one is left alone while it is down', async () => {
  const model = (name: string, more: object) => ({
    model: name,
    state: 'closed',
    due_at: null,
    tries: 5,
    failed: 0,
    ...more,
  });
  const upstreams = [
    {
      ...{ name: 'east', kind: 'anthropic', running: 0, max_concurrent: null },
      models: [model('', {}), model('claude-haiku-5-5', { state: 'open', due_at: '2026-11-20T10:00:00Z', failed: 5 })],
    },
    {
      name: 'west',
      kind: 'simulator',
      running: 0,
      max_concurrent: 7,
      models: [model('(unknown)', { state: 'half_open' })],
    },
    { name: 'north', kind: 'simulator', running: 0, max_concurrent: 7, models: [] },
  ];
  open(UpstreamsTable, () => ({ upstreams }));
  await expect
    .poll(rows)
    .toEqual([
      'eastanthropic0(none)healthy0 of 5',
      expect.stringMatching(/^eastanthropic0claude-haiku-5-5paused until .*10:005 of 5$/),
      'westsimulator0 of 7(unknown)being tried again0 of 5',
      'northsimulator0 of 7–not called yet–',
    ]);
  expect(root.querySelector('abbr')?.title).toBe('Calls that name no model: the list of models, files and batches.');
});

test('finds a request by its id, whosever it is, with what helps if it was refused; any other text is an account', async () => {
  open(FindRequest, ({ path }) => {
    if (path.endsWith('req_1')) return { ...SENT, account: 'dev' };
    return path.endsWith('req_2') ? REFUSED : refusal(404, 'not_found_error', 'None.');
  });
  const find = async (text: string) => {
    fill(named(root, 'Request id, or account'), text);
    await click(root, 'Find');
  };
  await find('req_1');
  await shows(root, 'feature=search');
  await click(root, 'dev');
  expect(location.hash).toBe('#/budget/accounts');
  await find('req_2');
  await shows(root, /larger than your whole daily limit.*What helps: Raise usd_per_day of the account/);
  await find('req_3');
  await shows(root, 'No ledger has this id.');
  await find('umbrella');
  await expect.poll(() => location.hash).toBe('#/budget/accounts/umbrella');
});

test('lists requests of an account and those refused or failed of all, of some days, a minute or a token, and leads to what a tag cost', async () => {
  const asked = open(RequestsTable, ({ path }) => list(path.includes('outcome=refused') ? [REFUSED] : [SENT]));
  await expect.poll(() => rows().length).toBe(2);
  expect(rows().join()).toContain('This is larger than your whole daily limit.refused: usd_per_day');
  root.querySelectorAll<HTMLButtonElement>('tr[data-refused=true] button')[0]?.click();
  await shows(root, 'What helps: Raise usd_per_day of the account');
  choose(named(root, 'Which requests'), 'refused of all');
  await shows(root, 'A 401 is only in the log.');
  await expect.poll(rows).toHaveLength(1);
  const heads = [...root.querySelectorAll('thead th')].map(({ textContent }) => textContent);
  expect(heads).toEqual(['Time', 'Route', 'Model', 'Why', 'Outcome', 'Account']);
  expect(root.querySelectorAll('tbody tr:first-child td')).toHaveLength(heads.length);
  expect(queryOf(asked)).toEqual({ outcome: 'refused', limit: '20', from: dayAgo(6), to: dayAgo(-1) });
  choose(named(root, 'Around this time, in UTC'), '2026-01-01T10:14');
  await expect.poll(() => queryOf(asked).from).toBe('2026-01-01T10:09:00.000Z');
  expect(queryOf(asked).to).toBe('2026-01-01T10:19:00.000Z');
  expect(root.querySelector('[aria-label="Only of the token"]')).toBeNull();
  choose(named(root, 'Which requests'), 'failed of all');
  await expect.poll(() => queryOf(asked).outcome).toBe('failed');
  choose(named(root, 'Which requests'), 'failed');
  await expect.poll(() => root.querySelector('[aria-label="Only of the token"]')).not.toBeNull();
  choose(named(root, 'Only of the token'), 'nobody');
  await expect.poll(() => queryOf(asked).token).toBe('nobody');
  choose(named(root, 'Which requests'), 'all');
  await click(root, /^feature=search/);
  expect([location.hash, onlyKey.value]).toEqual(['#/budget/accounts', 'feature=search']);
});

test.each([
  ['all', '', 'No requests in the last 7 days.'],
  ['refused', '', 'No requests were refused in the last 7 days.'],
  ['refused of all', '2026-01-01T10:14', 'No requests were refused around 2026-01-01 10:14 UTC.'],
  ['failed of all', '', 'No requests failed in the last 7 days.'],
] as const)('where there are no requests (%s, %s) that is said', async (kind, minute, said) => {
  [listedKind.value, minuteListed.value, tokenListed.value] = [kind, minute, ''];
  open(RequestsTable, () => list([]));
  await shows(root, said);
  [listedKind.value, minuteListed.value] = ['all', ''];
});

test('who spent most is asked for by days, and leads to what it was spent on', async () => {
  let keys = ['globex', '(erased)'];
  const asked = open(WhoSpent, () => ({
    data: keys.map((key) => ({ key, requests: 3, cost_usd: 1, usage: USAGE })),
    total: { requests: 6, cost_usd: 2, saved_usd: 0, usage: {} },
  }));
  const days = () => named<HTMLSelectElement>(root, 'Days of who spent what, in UTC');
  await expect
    .poll(rows)
    .toEqual([expect.stringMatching(/^globex399\$1\.00.*50%$/), expect.stringMatching(/^\(erased\)/)]);
  expect(root.querySelector('abbr')?.title).toBe('Spent by accounts that were erased.');
  await click(root, 'globex');
  expect(location.hash).toBe('#/budget/accounts/globex');
  keys = [];
  choose(days(), 'yesterday');
  await shows(root, 'Nobody spent anything yesterday.');
  expect(queryOf(asked)).toEqual({ group_by: 'account', limit: '500', from: dayAgo(1), to: dayAgo(0) });
  choose(days(), 'own');
  await shows(root, 'Nobody spent anything from');
  choose(named(root, 'First day, in UTC'), '2026-11-03');
  choose(named(root, 'Last day, in UTC'), '2026-11-04');
  await shows(root, 'Nobody spent anything from 2026-11-03 to 2026-11-04.');
  expect(queryOf(asked)).toMatchObject({ from: '2026-11-03', to: '2026-11-05' });
});

test('a name in brackets says what it means', async () => {
  const imported = { key: '(imported)', requests: 3, cost_usd: 2, usage: USAGE };
  open(Breakdown, () => ({ data: [imported], total: imported }));
  await expect.poll(() => root.querySelector('abbr')?.title).toMatch(/taken over from a backup/);
});

test('each row tells what it cost, however little, and their sum only that it is little', async () => {
  const row = { key: '(imported)', requests: 3, cost_usd: 0.00008, usage: USAGE };
  open(Breakdown, () => ({ data: [row], total: row }));
  await expect.poll(rows).toEqual([expect.stringMatching(/0\.008 ¢\$0\.00008$/)]);
  await shows(root, '<$0.01 in 3 requests');
  open(RequestsTable, () => list([{ ...SENT, cost_usd: 0.0279 }]));
  await expect.poll(() => rows().join()).toContain('2.79 ¢$0.0279');
});

test('says who one is', () => {
  const said = () => show(h(TokenDialog, { onClose: () => {} })).textContent;
  expect(said()).toContain('You are dev, an admin. In development mode no token is needed.');
  actAs('ops', 'admin');
  expect(said()).toContain('You are ops, an admin.Remove the token');
});

test('alerts are listed as sentences', async () => {
  const alert = { event_id: 'a', kind: 'threshold', node: { type: 'account', id: 'dev' }, limit: 'usd_per_month' };
  const more = { window: '2026-11', threshold: 0.01, limit_usd: 5, created_at: '2026-11-20T10:00:00Z', state: 'kept' };
  open(Alerts, () => list([{ ...alert, ...more }]));
  await shows(root, /^AlertsChoose when to be tolddev has spent 1% of \$5\.00.*not sent: ALERT_URL is not set$/);
});

test('a list of tokens that comes late does not hide one that was minted since', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let lists = 0;
  open(Tokens, async ({ method, body }) => {
    if (method === 'POST') return { token: `minted ${(body as { label: string }).label}` };
    lists += 1;
    if (lists > 1) return list([{ jti: 'j', label: 'late', scopes: [] }]);
    await promise;
    return list([]);
  });
  fill(named(root, 'Label'), 'late');
  await click(root, /^Mint a token/);
  await shows(root, 'minted late');
  await expect.poll(rows).toHaveLength(1);
  resolve();
  await new Promise((done) => setImmediate(done));
  expect(rows()).toHaveLength(1);
});

test('an event of a webhook that has failed is replayed', async () => {
  let attempts = 1;
  const asked = open(Webhooks, ({ method }) => {
    if (method === 'POST') attempts += 1;
    const event = { event_id: 'an issue', received_at: '2026-11-20T10:00:00Z', label: null, conversation: null };
    return list([{ ...event, state: attempts > 1 ? 'done' : 'failed', attempts }]);
  });
  await click(root, 'Replay');
  await expect.poll(rows).toEqual([expect.stringMatching(/^an issue.*done2$/)]);
  expect(asked.find(({ method }) => method === 'POST')?.path).toBe('/webhooks/github/events/an%20issue/replay');
});

test('shows no figures of a budget that it does not know, why, and knows them after Retry', async () => {
  let isThere = false;
  actAs('ada', 'messages');
  const window = { limit_usd: 5, settled_usd: 1, held_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  open(BudgetOverview, ({ path }) => {
    if (!isThere) throw new TypeError('The network is gone.');
    if (path.startsWith('/accounts/')) return { day: window, week: window, month: window, running_requests: 0 };
    return { ...list([]), total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
  });
  const figures = () => [...root.querySelectorAll('#quota .gauge strong')].map(({ textContent }) => textContent);
  await shows(root, 'The edge cannot be reached.');
  expect(figures()).toEqual(['–', '–', '–']);
  isThere = true;
  await click(root, 'Retry');
  await expect.poll(figures).toEqual(['$1.00', '$1.00', '$1.00']);
  await expect.poll(() => root.querySelector('[role=alert]')).toBeNull();
});

test('an admin’s Overview is the deployment’s, and not their own: one number, one chart, one table', async () => {
  const shared = { limit_usd: null, spent_usd: 0.15, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const limited = { ...shared, limit_usd: 5 };
  const asked = open(BudgetOverview, ({ path }) => {
    if (path === '/pools/deployment')
      return { limits: {}, hour: shared, day: shared, week: shared, month: limited, total: shared };
    return { ...list([]), total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
  });
  const cards = () => [...root.querySelectorAll('.gauge')].map(({ textContent }) => textContent ?? '');
  // A longer window is shown where it has a limit.
  await expect
    .poll(cards)
    .toEqual([
      expect.stringMatching(/^Everybody, today\$0\.15/),
      expect.stringMatching(/^Everybody, this month.*of \$5\.00/),
    ]);
  const headings = [...root.querySelectorAll('h2, h3')].map(({ textContent }) => textContent ?? '');
  expect(headings.indexOf('Spent per day')).toBeLessThan(headings.indexOf('Who spent what'));
  expect(asked.filter(({ path }) => path.startsWith('/accounts/') || /usage.*account=/.test(path))).toEqual([]);
});

test('Accounts has each account’s tightest limit with how much of it is used, and names those that are blocked', async () => {
  const none = { day: null, week: null, month: null };
  const row = (id: string, tightest: object | null, blocked = false) => ({
    ...{ type: 'account', id, group: null, spent_usd: { day: 0, week: 0, month: 0 }, limit_usd: none },
    ...{ tightest, blocked, last_seen_at: null },
  });
  const limit = { limit: 'usd_per_day', token: null, limit_usd: 0.0005, used_usd: 0.00034, resets_at: null };
  const window = (limit_usd: number | null, spent_usd: number) => ({
    limit_usd,
    spent_usd,
    leased_usd: 0,
    resets_at: null,
  });
  const group = {
    hour: window(2, 1),
    day: window(null, 1),
    week: window(null, 1),
    month: window(4, 3),
    total: window(10, 3),
  };
  fakeEdge(({ path }) => {
    // Of several limits, one of 0 refuses everything, however much of another is used.
    const closed = { ...group, hour: window(0, 0), day: window(1, 1.5) };
    if (path.startsWith('/groups'))
      return list([
        { id: 'research', limits: {}, ...group },
        { id: 'closed', limits: {}, ...closed },
      ]);
    return list([
      row('ada', limit),
      row('ben', { ...limit, limit: 'usd_total', token: 'jti', limit_usd: 2, used_usd: 2 }),
      row('cleo', { ...limit, limit: 'usd_per_hour', limit_usd: 0, used_usd: 0 }, true),
      row('dan', null),
    ]);
  });
  onTestFinished(keepSpenders());
  root = show(h(SpendersTable, {}));
  const limits = () =>
    Object.fromEntries(
      [...root.querySelectorAll('tbody tr')].map((tr) => [
        tr.querySelector('th')?.textContent,
        tr.querySelectorAll('td')[2]?.textContent,
      ]),
    );
  await expect.poll(limits).toEqual({
    ada: '$0.0005 a day, 68%',
    ben: '$2.00 in all of a token, 100%',
    cleo: '$0.00 an hour, 100%blocked',
    dan: 'none',
    'research group': '$4.00 a month, 75%',
    'closed group': '$0.00 an hour, 100%blocked',
  });
  await click(root, 'Tightest limit');
  expect(Object.keys(limits())).toEqual(['closed group', 'cleo', 'ben', 'research group', 'ada', 'dan']);
});
