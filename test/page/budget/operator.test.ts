// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { type FunctionComponent, h } from 'preact';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { AccountView } from '#page/budget/account-view.tsx';
import { BudgetAccounts } from '#page/budget/accounts.tsx';
import { Alerts } from '#page/budget/alerts.tsx';
import { Breakdown } from '#page/budget/breakdown.tsx';
import { selectedKey } from '#page/budget/breakdown-selection.ts';
import { Changes } from '#page/budget/changes.tsx';
import { accountsOrder, isOrderChosen } from '#page/budget/figures/accounts-order.ts';
import { isAlertUrlSet } from '#page/budget/figures/alert-url.ts';
import { formatDateDaysAgo, listedMinute, listedRange } from '#page/budget/figures/days.ts';
import { describeBindingLimit, describeShortage } from '#page/budget/figures/limit-names.ts';
import { listedRequestKind, listedToken } from '#page/budget/figures/listed-requests.ts';
import { focusTarget, usageByModel } from '#page/budget/figures/report.ts';
import { LimitsForm } from '#page/budget/limits-form.tsx';
import { DEPLOYMENT_LIMITS_TARGET, SPENDERS_TARGET } from '#page/budget/links.tsx';
import { BudgetOverview } from '#page/budget/overview.tsx';
import { BudgetRequests } from '#page/budget/requests.tsx';
import { Savings } from '#page/budget/savings-view.tsx';
import { RequestSearch } from '#page/budget/search-requests.tsx';
import { Tokens } from '#page/budget/tokens.tsx';
import { TopSpenders } from '#page/budget/top-spenders.tsx';
import { UpstreamHealthList } from '#page/budget/upstreams.tsx';
import { eventFilter, replayedEvents, Webhooks } from '#page/budget/webhooks.tsx';
import { deploymentRejection } from '#page/edge/client.ts';
import { includedPlugins } from '#page/edge/plugins.ts';
import { refreshAllPolls } from '#page/edge/poll.ts';
import { TokenDialog } from '#page/token.tsx';
import { actAs } from '#test/support/act-as.ts';
import {
  chooseValue,
  click,
  createErrorResponse,
  fill,
  getElementByName,
  installFakeEdge,
  navigateTo,
  type PageRequest,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';

const USAGE = {
  input_tokens: 9,
  output_tokens: 9,
  cache_read_input_tokens: 0,
  cache_write_5m_input_tokens: 0,
  cache_write_1h_input_tokens: 0,
};
const SENT = {
  request_id: 'req_1',
  created_at: '2026-11-20T10:00:00Z',
  model: 'claude-opus-5',
  route: '/messages',
  ms: 5,
  status: 'settled',
  stop_reason: 'end_turn',
  error_type: null,
  error_message: null as string | null,
  cost_usd: 0.01,
  hold_usd: 0,
  estimated: false,
  tags: { feature: 'search' },
  conversation: null,
  agent: null,
  token: null,
  usage: USAGE,
  upstream_request_id: null as string | null,
};
const REFUSED = {
  ...SENT,
  request_id: 'req_2',
  status: 'refused',
  account: 'umbrella',
  tags: {},
  refusal: {
    limit: 'usd_per_day',
    limited_by: 'account',
    reason: 'spend',
    never: true,
    message: 'This is more than your daily limit.',
  },
};
const OF_DAY = { limit_usd: null, settled_usd: 0, held_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
/** An account that nothing limits. */
const ACCOUNT = {
  limits: {},
  own_limits: {},
  binds: [],
  blocked_by: null,
  running_requests: 0,
  group: null,
  day: OF_DAY,
  week: OF_DAY,
  month: OF_DAY,
  total: OF_DAY,
};
let root: HTMLElement;

/** Shows a part of Budget, of an edge that answers so. */
function open(part: FunctionComponent, answer: (asked: PageRequest) => unknown): PageRequest[] {
  const asked = installFakeEdge(answer);
  root = renderForTest(h(part, {}));
  return asked;
}

const list = (data: object[]) => ({ data, has_more: false, first_id: null, last_id: null });
const queryOf = (asked: PageRequest[], of = '/') =>
  Object.fromEntries(new URLSearchParams(asked.findLast(({ path }) => path.startsWith(of))?.path.split('?')[1]));
const rows = () => [...root.querySelectorAll('tbody tr')].map(({ textContent }) => textContent ?? '');

beforeEach(() => {
  navigateTo('#/budget');
  listedRequestKind.value = 'sent';
  [listedRange.value, listedMinute.value, focusTarget.value] = ['week', '', undefined];
  [accountsOrder.value, isOrderChosen.value] = ['spent', false];
  selectedKey.value = undefined;
  onTestFinished(() => void vi.useRealTimers());
});

test('the list of upstreams shows the health of each, and where the requests of a paused one went', async () => {
  const model = (name: string, more: object) => ({
    model: name,
    state: 'closed',
    due_at: null,
    tries: 5,
    failed: 0,
    elsewhere: [],
    ...more,
  });
  const elsewhere = {
    elsewhere: [
      { upstream: 'west', requests: 7 },
      { upstream: 'north', requests: 1 },
    ],
  };
  const upstreams = [
    {
      name: 'east',
      kind: 'anthropic',
      running: 0,
      max_concurrent: null,
      models: [
        model('', {}),
        model('claude-haiku-5-5', { state: 'open', due_at: '2026-11-20T10:00:00Z', failed: 5, ...elsewhere }),
      ],
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
  open(UpstreamHealthList, () => ({ upstreams }));
  await expect
    .poll(rows)
    .toEqual([
      'eastanthropic0other callshealthy0 of 5',
      expect.stringMatching(/^eastanthropic0claude-haiku-5-5paused until .*10:005 of 5$/),
      'westsimulator0 of 7(unknown)being tried again0 of 5',
      'northsimulator0 of 7–not called yet–',
    ]);
  expect([...root.querySelectorAll('li')].map(({ textContent }) => textContent)).toEqual([
    expect.stringMatching(/^east is paused until .*10:00 for claude-haiku-5-5: 7 requests went to west, 1 to north\.$/),
    'west is being tried again for (unknown).',
  ]);
  expect(root.querySelector('abbr')?.title).toBe('Calls without a model: the list of models, files and batches.');
});

test('a failed request shows an admin what happened, where to find the reason, and the error that the caller received', async () => {
  const failed = (request_id: string, error_type: string) => ({ ...SENT, request_id, error_type, account: 'globex' });
  open(BudgetRequests, () =>
    list([failed('1', 'upstream_unreachable: refused'), failed('2', 'upstream_503'), failed('3', 'overloaded_error')]),
  );
  navigateTo('#/budget/failed');
  await expect
    .poll(rows)
    .toEqual([
      expect.stringMatching(/The upstream could not be reached\.(?! Try)/),
      expect.stringMatching(/The upstream responded with 503 without an explanation\./),
      expect.stringMatching(/Claude was overloaded/),
    ]);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'For details, search the log for 1.');
  await waitForText(
    root,
    'What to do: The caller can send the request again. If this happens often, the operator can check',
  );
  await waitForText(root, 'The caller received: The upstream could not be reached. Try again in a moment.');
});

test('an error returned by the upstream is attributed to it, with the upstream’s request id', async () => {
  const answered = { error_type: 'api_error', status: 'refused_upstream', upstream_request_id: 'req_011C' };
  open(BudgetRequests, () => list([{ ...SENT, ...answered, account: 'globex' }]));
  navigateTo('#/budget/failed');
  await expect.poll(rows).toEqual([expect.stringMatching(/failed: api_errorThe upstream responded with an error\./)]);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'Upstream requestreq_011C');
  await waitForText(root, 'The caller received the upstream’s error message.');
});

test('a failed request shows the API’s own sentence as its reason', async () => {
  const error_message = 'prompt is too long: 210000 tokens > 200000 maximum';
  const answered = { error_type: 'invalid_request_error', status: 'refused_upstream', upstream_request_id: 'req_011C' };
  const failed = { ...SENT, ...answered, account: 'globex', error_message };
  open(BudgetRequests, () =>
    list([
      failed,
      { ...failed, request_id: 'req_2', error_message: 'prompt is too long: 210001 tokens > 200000 maximum' },
      { ...failed, request_id: 'req_3', error_message: null },
    ]),
  );
  navigateTo('#/budget/failed');
  // Failures that differ only in their numbers share a row.
  await expect
    .poll(rows)
    .toEqual([
      expect.stringContaining(`as invalid. The API’s message: “${error_message}”`),
      expect.stringMatching(/as invalid\.(?! The API)/),
    ]);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'The caller received the upstream’s error message.');
  expect(root.textContent).not.toContain('The log line of this request');
});

test.each([
  [true, 'Raise the account’s limit “Concurrent requests”, which is 0.'],
  [false, 'The caller can send the request again'],
])('the advice for a concurrency rejection depends on whether the limit is 0 (%s)', async (never, helps) => {
  const refusal = { ...REFUSED.refusal, limit: 'concurrent_requests', reason: 'concurrency', never };
  open(BudgetRequests, () => list([{ ...REFUSED, refusal }]));
  navigateTo('#/budget/refused');
  await expect.poll(() => rows().length).toBe(1);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, `What to do: ${helps}`);
});

test.each([
  ['requests_per_minute', 'Raise the account’s limit “Requests per minute”, which is 0.'],
  ['input_tokens_per_minute', 'The request is larger than the account’s limit “Input tokens per minute”.'],
])('the advice for a request that %s never allows says what the limit is', async (limit, helps) => {
  const refusal = { ...REFUSED.refusal, limit, reason: 'rate', never: true };
  open(BudgetRequests, () => list([{ ...REFUSED, refusal }]));
  navigateTo('#/budget/refused');
  await expect.poll(() => rows().length).toBe(1);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, `What to do: ${helps}`);
  const [row] = rows();
  if (helps.endsWith('which is 0.')) expect(row).toContain('blocked: requests per minute is 0');
  else expect(row).toContain('rejected: input tokens per minute too small');
});

test('an account without admin rights sees the error messages that it received', async () => {
  actAs('ada', 'messages');
  listedRequestKind.value = 'failed';
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([{ ...SENT, error_type: 'upstream_redirect' }]));
  await waitForText(root, 'The operator must set ANTHROPIC_BASE_URL, or base_url in UPSTREAMS, to the final address.');
});

test('equal rejections on a page are shown as one row with their count', async () => {
  const { refusal: own } = REFUSED;
  const refused = (at: number, more: object = {}) => ({
    ...REFUSED,
    request_id: `req_${String(99 - at).padStart(2, '0')}`,
    refusal: { ...own, message: `Wait ${at} s.` },
    ...more,
  });
  const others = Array.from({ length: 11 }, (_, at) => refused(at, { account: `other-${at}` }));
  const inTurns = Array.from({ length: 24 }, (_, at) => refused(20 + at, at % 2 === 0 ? {} : { account: 'other-0' }));
  const all = [...others, ...inTurns];
  let isPart = false;
  const asked = open(BudgetRequests, ({ path }) =>
    path.startsWith('/accounts') ? list([]) : { ...list(all), has_more: isPart, last_id: 'req_56' },
  );
  navigateTo('#/budget/refused');
  await expect.poll(() => rows().length).toBe(12);
  expect(rows()[0]).toMatch(/other-0rejected: dollars per day too small\u00a0×\u00a013Wait 0 s\./);
  expect(rows()[1]).not.toContain('×');
  expect(rows()[11]).toMatch(/umbrellarejected: dollars per day too small\u00a0×\u00a012Wait 20 s\./);
  // Of several pages one does not have all that say the same.
  isPart = true;
  refreshAllPolls();
  await expect.poll(() => rows()[0]).toMatch(/×\u00a013 on this pageWait 0 s\./);
  await click(root, 'Next');
  await expect.poll(() => queryOf(asked, '/usage').after_id).toBe('req_56');
});

test('a list of rejections with several pages links to the accounts rejected most today', async () => {
  const refusedOf = (id: string, refused_today: number) => ({ id, refused_today });
  const most = [refusedOf('umbrella', 1_219), refusedOf('globex', 144), refusedOf('dev', 0)];
  let isPart = false;
  const asked = open(BudgetRequests, ({ path }) =>
    path.startsWith('/accounts') ? list(most) : { ...list([REFUSED]), has_more: isPart, last_id: 'req_2' },
  );
  navigateTo('#/budget/refused');
  // The lines of one page count all of them.
  await expect.poll(() => rows().length).toBe(1);
  expect(root.textContent).not.toContain('Most rejections today');
  isPart = true;
  refreshAllPolls();
  await waitForText(
    root,
    'Most rejections today (updated within a minute):umbrella × 1,219globex × 144All accounts by rejections',
  );
  expect(queryOf(asked, '/accounts')).toEqual({ sort: 'refused', limit: '5' });
  await click(root, 'umbrella × 1,219');
  expect(location.hash).toBe('#/budget/requests/umbrella');
  await expect.poll(() => document.activeElement?.textContent).toBe('Requests of umbrella');
  await click(root, 'Account');
  expect(location.hash).toBe('#/budget/accounts/umbrella');
  navigateTo('#/budget/requests/umbrella');
  await expect
    .poll(() => queryOf(asked, '/usage'))
    .toMatchObject({ account: 'umbrella', outcome: 'refused', from: formatDateDaysAgo(0), to: formatDateDaysAgo(-1) });
  navigateTo('#/budget/refused');
  const all = await vi.waitFor(() => {
    const link = [...root.querySelectorAll('a')].find(
      ({ textContent }) => textContent === 'All accounts by rejections',
    );
    expect(link).toBeDefined();
    return link;
  });
  all?.click();
  await expect.poll(() => [location.hash, accountsOrder.value]).toEqual(['#/budget/accounts', 'refused']);
});

test('paging to the last or the first page by keyboard moves the focus to the heading', async () => {
  const pages = (path: string) => ({
    ...list([{ ...SENT, request_id: path.includes('after_id') ? 'req_1' : 'req_2', account: 'globex' }]),
    ...(path.includes('after_id') ? {} : { has_more: true, last_id: 'req_2' }),
  });
  open(BudgetRequests, ({ path }) => pages(path));
  navigateTo('#/budget/requests');
  for (const [button, page] of [
    ['Next', 'Page 2'],
    ['Previous', 'Page 1'],
  ] as const) {
    await waitForText(root, page === 'Page 2' ? 'Page 1' : 'Page 2');
    getElementByName(root, button).focus();
    await click(root, button);
    await waitForText(root, page);
    await expect.poll(() => document.activeElement?.textContent).toBe('Requests of dev');
  }
});

test('a rejected request names and links the group whose limit rejected it', async () => {
  const { refusal: own } = REFUSED;
  open(BudgetRequests, () => list([{ ...REFUSED, refusal: { ...own, limited_by: 'group', group: 'blue' } }]));
  navigateTo('#/budget/refused');
  await waitForText(root, /rejected: dollars per day, of group blue/);
  await click(root, 'blue');
  expect(location.hash).toBe('#/budget/groups/blue');
});

test('the search finds a request of any account by id, a token by id, and an account by name', async () => {
  open(
    () => h(RequestSearch, { kind: undefined }),
    ({ path }) => {
      if (path.endsWith('req_1')) return { ...SENT, account: 'dev' };
      if (path === '/tokens/tok_1') return { jti: 'tok_1', account: 'globex' };
      return path.endsWith('req_2') ? REFUSED : createErrorResponse(404, 'not_found_error', 'None.');
    },
  );
  const search = async (text: string) => {
    fill(getElementByName(root, 'Request id, token id or account'), text);
    await click(root, 'Search');
  };
  await search('req_1');
  await waitForText(root, 'feature=search');
  await click(root, 'dev');
  expect(location.hash).toBe('#/budget/accounts/dev');
  await search('req_2');
  await waitForText(root, /more than this account’s daily limit.*What to do: Raise the account’s “Dollars per day”\./);
  await search('req_3');
  await waitForText(root, 'No ledger contains this id.');
  await search('tok_1');
  await expect.poll(() => [location.hash, listedToken.value]).toEqual(['#/budget/requests/globex', 'tok_1']);
  await search('tok_2');
  await waitForText(root, 'This does not exist, or was deleted.');
  await search('umbrella');
  await expect.poll(() => [location.hash, listedToken.value]).toEqual(['#/budget/requests/umbrella', '']);
});

test('a search for an account or a token lists the same kind of requests as before', async () => {
  const asked = open(BudgetRequests, ({ path }) => (path === '/tokens/tok_1' ? { account: 'globex' } : list([])));
  for (const [text, account] of [
    ['umbrella', 'umbrella'],
    ['tok_1', 'globex'],
  ] as const) {
    navigateTo('#/budget/failed');
    await waitForText(root, 'Failed requests of all accounts');
    fill(getElementByName(root, 'Request id, token id or account'), text);
    await click(root, 'Search');
    await waitForText(root, `Requests of ${account}`);
    await expect.poll(() => queryOf(asked, '/usage/requests')).toMatchObject({ account, outcome: 'failed' });
  }
});

test('an operator is not asked to ask an admin about a rejected request', async () => {
  const message = 'This account is blocked, because its limit `requests_per_minute` is 0. Ask an admin to raise it.';
  const refusal = { limit: 'requests_per_minute', limited_by: 'account', reason: 'rate', never: true, message };
  navigateTo('#/budget/refused');
  open(BudgetRequests, () => list([{ ...REFUSED, refusal }]));
  await expect.poll(rows).toEqual([expect.stringMatching(/because its limit “Requests per minute” is 0\./)]);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'What to do: Raise the account’s limit “Requests per minute”, which is 0.');
  expect(root.textContent).not.toContain('Ask an admin');
  await click(root, 'Limits of the account');
  expect(location.hash).toBe('#/budget/accounts/umbrella');
});

test.each([
  [0.5, 'Saved by caching, all time', '$0.50'],
  [-0.5, 'Cost of caching, all time', '$0.50'],
])('caching that has saved %d dollars is shown as “%s”', (saved_usd, heading, amount) => {
  const total = { key: null, requests: 1, cost_usd: 1, saved_usd, usage: { ...USAGE, cache_read_input_tokens: 900 } };
  usageByModel.value = { group_by: 'model', data: [], total } as unknown as NonNullable<typeof usageByModel.value>;
  onTestFinished(() => {
    usageByModel.value = undefined;
  });
  installFakeEdge(() => ({ data: [] }));
  root = renderForTest(h(Savings, {}));
  expect([root.querySelector('h2')?.textContent, root.querySelector('.saved')?.textContent]).toEqual([heading, amount]);
});

test('for an account without admin rights, the search filters its requests by token id', async () => {
  actAs('ada', 'messages');
  listedToken.value = '';
  navigateTo('#/budget/requests');
  const asked = open(BudgetRequests, () => list([SENT]));
  fill(getElementByName(root, 'Request id or token id'), 'phone');
  await click(root, 'Search');
  await expect.poll(() => queryOf(asked, '/usage').token).toBe('phone');
  expect(root.querySelector('[aria-label=Accounts]')).toBeNull();
  await click(root, 'Show all tokens, not only phone');
  await expect.poll(() => queryOf(asked, '/usage').token).toBeUndefined();
});

test('requests show the title of their conversation, or a shortened id if it has none', async () => {
  const [named, unnamed] = [crypto.randomUUID(), crypto.randomUUID()];
  navigateTo('#/budget/requests');
  open(BudgetRequests, ({ path }) =>
    list(
      path.startsWith('/conversations')
        ? [{ id: named, title: 'Herons' }]
        : [named, unnamed, 'tides-2026'].map((conversation) => ({ ...SENT, request_id: conversation, conversation })),
    ),
  );
  const names = () =>
    [...root.querySelectorAll('.parts-of .link:first-child')].map((link) => [
      link.textContent,
      link.getAttribute('title'),
    ]);
  await expect.poll(names).toEqual([
    ['Herons', `conversation ${named}: cost in the last 7 days`],
    [`${unnamed.slice(0, 8)}…`, `conversation ${unnamed}: cost in the last 7 days`],
    ['tides-2026', 'conversation tides-2026: cost in the last 7 days'],
  ]);
});

test('requests are filtered by outcome, account, date range and time, and a tag links to its cost', async () => {
  const failed = { ...SENT, request_id: 'req_3', error_type: 'overloaded_error', account: 'globex' };
  const asked = open(BudgetRequests, ({ path }) =>
    list(path.includes('outcome=refused') ? [REFUSED] : path.includes('outcome=failed') ? [failed] : [SENT]),
  );
  const heads = () => [...root.querySelectorAll('thead th')].map(({ textContent }) => textContent);
  navigateTo('#/budget/requests');
  await expect.poll(rows).toEqual([expect.stringContaining('feature=search')]);
  await click(root, 'Rejected');
  await expect
    .poll(rows)
    .toEqual([expect.stringMatching(/rejected: dollars per day too small.*more than this account’s daily limit/)]);
  chooseValue(getElementByName(root, 'Date range for the requests, in UTC'), 'around');
  await expect.poll(() => root.querySelector('[aria-label="Around time"]')).not.toBeNull();
  expect(Date.parse(queryOf(asked).to ?? '') - Date.parse(queryOf(asked).from ?? '')).toBe(10 * 60_000);
  chooseValue(getElementByName(root, 'Around time'), '2026-01-01T10:14');
  await expect.poll(() => queryOf(asked).from).toBe(new Date('2026-01-01T10:09').toISOString());
  expect(queryOf(asked).to).toBe(new Date('2026-01-01T10:19').toISOString());
  chooseValue(getElementByName(root, 'Date range for the requests, in UTC'), 'week');
  await expect.poll(() => queryOf(asked).from).toBe(formatDateDaysAgo(6));

  // What was refused or failed of all accounts has an address, and the sentence that the caller read.
  await click(root, 'All accounts');
  expect(location.hash).toBe('#/budget/refused');
  await expect.poll(heads).toEqual(['Time', 'Account', 'Outcome and reason', 'Model']);
  await expect
    .poll(() => queryOf(asked, '/usage'))
    .toEqual({ outcome: 'refused', limit: '100', from: formatDateDaysAgo(6), to: formatDateDaysAgo(-1) });
  expect(root.querySelectorAll('tbody tr:first-child :is(th, td)')).toHaveLength(heads().length);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'What to do: Raise the account’s “Dollars per day”.');
  await click(root, 'Failed');
  expect(location.hash).toBe('#/budget/failed');
  await expect.poll(rows).toEqual([expect.stringMatching(/globexfailed: overloaded_errorClaude was overloaded\./)]);
  expect(root.querySelector('[aria-label=Outcome]')?.textContent).toBe('All sent to ClaudeRejectedFailed');
  expect(getElementByName<HTMLButtonElement>(root, 'All sent to Claude').disabled).toBe(true);
  await click(root, 'dev');
  await waitForText(root, 'Requests of dev');
  await click(root, 'All sent to Claude');
  await click(root, 'feature=search');
  expect([location.hash, selectedKey.value]).toEqual(['#/budget/accounts/dev', 'feature=search']);
});

test('an operator whose token sends no requests begins with the rejected requests of all accounts', async () => {
  actAs('auditor', 'admin:read');
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([REFUSED]));
  await waitForText(root, 'Rejected requests of all accounts');
  await expect.poll(rows).toEqual([expect.stringContaining('umbrella')]);
  expect(root.querySelector('[aria-label=Accounts]')).toBeNull();
  navigateTo('#/budget/requests/umbrella');
  await waitForText(root, 'Requests of umbrella');
});

const cardsOf = (account: object, View = AccountView) => {
  navigateTo('#/budget/accounts/umbrella');
  open(View, ({ path }) => {
    if (path.startsWith('/usage?')) return { data: [], total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
    return path.startsWith('/accounts/umbrella?') ? { ...ACCOUNT, ...account } : list([]);
  });
  return () =>
    [...root.querySelectorAll('.gauge')].map((card) => [
      card.querySelector('h2')?.textContent,
      card.getAttribute('data-look') ?? '',
    ]);
};
const BIND = { by: 'account', id: null, limit: 'usd_per_day', limit_usd: 5, used_usd: 1, resets_at: null };

test('an account lists the limits that reject requests first, each with its owner and a link to the group', async () => {
  const healthy = { ...BIND, refuses: false };
  const cards = cardsOf({
    limits: { conversations: 0, requests_per_minute: 0 },
    blocked_by: 'requests_per_minute',
    requests: { limit: 0, remaining: 0 },
    input_tokens: { limit: 100, remaining: 50 },
    binds: [
      { ...BIND, by: 'group', id: 'blue', used_usd: 5, refuses: true },
      { ...healthy, by: 'deployment' },
      healthy,
    ],
  });
  await expect.poll(cards).toEqual([
    ['Dollars per day, of group blue', 'refused'],
    ['Requests per minute', 'refused'],
    ['Dollars per day, of the deployment', ''],
    ['Dollars per day, of this account', ''],
    ['Input tokens per minute', ''],
  ]);
  await waitForText(root, '50 used of 100');
  await waitForText(root, 'Blocked: the limit “Requests per minute” is 0, so all requests are rejected. Change it');
  await click(root, 'blue');
  expect(location.hash).toBe('#/budget/groups/blue');
});

test('the card of a total limit shows the credit that it includes', async () => {
  const credit_usd = 5;
  const binds = [
    { ...BIND, limit: 'usd_total', limit_usd: 6, refuses: false },
    { ...BIND, refuses: false },
  ];
  cardsOf({ binds, total: { ...OF_DAY, limit_usd: 6, credit_usd } });
  await waitForText(root, 'of $6.00 · 16.7%includes $5.00 of credit · does not reset');
  expect(root.querySelectorAll('.gauge')[1]?.textContent).not.toContain('credit');
});

test('an account that may use no model has a red card before its other limits', async () => {
  const cards = cardsOf({ limits: { models: [] }, blocked_by: 'models', binds: [{ ...BIND, refuses: false }] });
  await expect.poll(cards).toEqual([
    ['Models', 'refused'],
    ['Dollars per day, of this account', ''],
  ]);
});

test('a limit of 0 dollars shows no reset time', async () => {
  const refuses = { limit_usd: 0, used_usd: 0, resets_at: '2026-12-01T00:00:00Z', refuses: true };
  cardsOf({ binds: [{ ...BIND, by: 'group', id: 'blue', ...refuses }] });
  await waitForText(root, 'rejects all requests');
  expect(root.textContent).not.toContain('resets');
  expect(describeBindingLimit({ ...BIND, ...refuses, by: 'group', id: 'blue', limit: 'usd_per_day' })).toBe(
    'no budget left: dollars per day of group blue is 0',
  );
});

test.each([
  ['an operator', AccountView, 'admin'],
  ['the account itself', BudgetOverview, 'messages'],
] as const)(
  'a limit with too little left for the last request is red for %s, even if it is not used up',
  async (_, View, scope) => {
    actAs('umbrella', scope);
    const refuses = { ...BIND, limit_usd: 0.001, used_usd: 0.000626, refuses: true };
    const cards = cardsOf({ binds: [{ ...refuses, resets_at: '2026-12-02T00:00:00Z' }] }, View);
    await expect.poll(() => cards().map(([, look]) => look)).toEqual(['refused']);
    await waitForText(root, '62.6%');
    await waitForText(root, 'too little left for the last request: resets');
    const model = { insufficient_for: 'claude-sonnet-5', resets_at: '2026-12-02T00:00:00Z' };
    cardsOf({ binds: [{ ...refuses, ...model, used_usd: 0 }] }, View);
    // A reset would not help.
    await waitForText(root, /too small for a request to claude-sonnet-5(?!:)/);
    cardsOf({ binds: [{ ...refuses, ...model }] }, View);
    await waitForText(root, 'too little left for a request to claude-sonnet-5: resets');
    expect(describeBindingLimit({ ...refuses, by: 'account', limit: 'usd_per_day' })).toBe(
      'too little left for the last request: 62.6% of $0.001, dollars per day',
    );
  },
);

test('the card of overspent credit shows the negative balance', async () => {
  cardsOf({
    binds: [{ ...BIND, limit: 'usd_total', limit_usd: 0.01, used_usd: 0.033, prepaid: true, refuses: true }],
  });
  await waitForText(root, '−$0.023 left of $0.01 prepaid');
});

test.each([
  ['a name that may be wrong', { own_limits: null }, true],
  ['one that has spent something', { own_limits: null, total: { ...OF_DAY, settled_usd: 1 } }, false],
  ['one that has limits', { own_limits: {} }, false],
])('only an account without spending and limits gets a hint to check its name (%s)', async (_, account, isDoubted) => {
  cardsOf({ ...account, running_requests: 3 });
  await waitForText(root, '3 requests are running.');
  expect(root.textContent?.includes('Check its name.')).toBe(isDoubted);
});

test('the card of used-up credit links to the form for credit', async () => {
  const cards = cardsOf({ binds: [{ ...BIND, limit: 'usd_total', limit_usd: 0, prepaid: true, refuses: true }] });
  await expect.poll(cards).toEqual([['Credit', 'refused']]);
  await click(root, 'give credit');
  expect(document.activeElement).toBe(getElementByName(root, 'Dollars of credit'));
});

test.each([
  ['2026-11-21T10:00:00Z', 'refused'],
  ['2026-11-19T10:00:00Z', 'sent'],
  [undefined, 'sent'],
])(
  'the requests of an account open with rejections if the latest rejection is newer than the last sent request (%s: %s)',
  async (at, kind) => {
    listedRequestKind.value = 'failed';
    navigateTo('#/budget/accounts/umbrella');
    open(AccountView, ({ path }) => {
      if (path.startsWith('/usage/requests?'))
        return list(path.includes('refused') ? (at ? [{ ...REFUSED, created_at: at }] : []) : [SENT]);
      if (path.startsWith('/usage?')) return { data: [], total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
      return path.startsWith('/accounts/umbrella?') ? ACCOUNT : list([]);
    });
    await click(root, 'Requests');
    await expect.poll(() => listedRequestKind.value).toBe(kind);
    expect(location.hash).toBe('#/budget/requests/umbrella');
  },
);

test.each([
  ['sent', '', 'No requests were sent to Claude in the last 7 days. Rejected requests are listed under “Rejected”.'],
  ['refused', '', 'No requests were rejected in the last 7 days.'],
  ['failed', '2026-01-01T10:14', 'No requests failed around 2026-01-01 10:14.'],
] as const)('an empty list of requests (%s, %s) names its outcome and period', async (kind, minute, said) => {
  [listedRequestKind.value, listedMinute.value, listedToken.value] = [kind, minute, ''];
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([]));
  await waitForText(root, said);
});

test('spending by account has a date range, and each account links to its view', async () => {
  let keys = ['globex', '(erased)'];
  const asked = open(TopSpenders, () => ({
    data: keys.map((key) => ({ key, requests: 3, cost_usd: 1, saved_usd: 0, usage: USAGE })),
    total: { requests: 6, cost_usd: 2, saved_usd: 0, usage: {} },
  }));
  const days = () => getElementByName<HTMLSelectElement>(root, 'Date range for spending by account, in UTC');
  await expect
    .poll(rows)
    .toEqual([expect.stringMatching(/^globex399\$1\.00.*50%$/), expect.stringMatching(/^\(erased\)/)]);
  expect(root.querySelector('abbr')?.title).toBe('Spending of erased accounts.');
  await click(root, 'globex');
  expect(location.hash).toBe('#/budget/accounts/globex');
  keys = [];
  chooseValue(days(), 'yesterday');
  await waitForText(root, 'No account spent anything yesterday.');
  expect(queryOf(asked)).toEqual({
    group_by: 'account',
    limit: '500',
    from: formatDateDaysAgo(1),
    to: formatDateDaysAgo(0),
  });
  chooseValue(days(), 'thisMonth');
  await waitForText(root, 'No account spent anything this month.');
  expect(queryOf(asked)).toMatchObject({ from: `${formatDateDaysAgo(0).slice(0, 8)}01`, to: formatDateDaysAgo(-1) });
  chooseValue(days(), 'own');
  await waitForText(root, 'No account spent anything from');
  expect(days().nextElementSibling).toBe(getElementByName(root, 'First day, in UTC'));
  chooseValue(getElementByName(root, 'First day, in UTC'), '2026-11-03');
  chooseValue(getElementByName(root, 'Last day, in UTC'), '2026-11-04');
  await waitForText(root, 'No account spent anything from 2026-11-03 to 2026-11-04.');
  expect(queryOf(asked)).toMatchObject({ from: '2026-11-03', to: '2026-11-05' });
});

test('the spending of all accounts is grouped by model, tag, agent, group or token, with the amount that caching saved', async () => {
  const row = (key: string | null, more: object = {}) => ({
    key,
    requests: 3,
    cost_usd: 1,
    saved_usd: 0.25,
    usage: USAGE,
    ...more,
  });
  const answers: Record<string, object[]> = {
    account: [row('globex')],
    model: [row('(other)')],
    tag: [row('feature=search'), row('customer=acme'), row(null)],
    agent: [row('support@1')],
    group: [row('blue'), row(null)],
    token: [row('tok_1', { account: 'globex' })],
  };
  const asked = open(TopSpenders, ({ path }) => {
    const group_by = new URLSearchParams(path.split('?')[1]).get('group_by') ?? '';
    return { group_by, data: answers[group_by], total: { requests: 6, cost_usd: 2, saved_usd: 0.5, usage: {} } };
  });
  const choose = (group: string) => chooseValue(getElementByName(root, 'Group the deployment’s spending by'), group);
  await waitForText(root, '$2.00 in 6 requests. Caching saved $0.50.');
  for (const [group, texts] of [
    ['model', ['(other)']],
    ['agent', ['support@1']],
    ['group', ['blue', 'none']],
    ['token', ['tok_1 of globex']],
    ['tag', ['feature=search', 'customer=acme', 'none']],
  ] as const) {
    choose(group);
    await expect
      .poll(rows)
      .toEqual(
        texts.map((text) =>
          expect.stringMatching(new RegExp(`^${text.replace(/[()]/g, '.')}399\\$1\\.00\\$0\\.2550%$`)),
        ),
      );
    expect(queryOf(asked)).toMatchObject({ group_by: group, limit: '500' });
    await waitForText(root, `Spending by ${group}`);
  }
  chooseValue(getElementByName(root, 'Name of the tags'), 'customer');
  await expect.poll(rows).toEqual([expect.stringMatching(/^customer=acme/)]);
  choose('account');
  await expect.poll(rows).toEqual([expect.stringMatching(/^globex/)]);
});

test('totals count failed requests, and show a loss by caching', async () => {
  const total = { key: 'globex', requests: 6, failed: 2, cost_usd: 2, saved_usd: -0.5, usage: USAGE };
  open(TopSpenders, () => ({ group_by: 'account', data: [total], total }));
  await waitForText(root, '$2.00 in 6 requests (2 failed). Caching cost $0.50 more than it saved.');
  open(Breakdown, () => ({ data: [total], total }));
  await waitForText(root, '$2.00 in 6 requests (2 failed), ');
});

test('the breakdown explains a key in parentheses', async () => {
  const imported = { key: '(imported)', requests: 3, cost_usd: 2, usage: USAGE };
  open(Breakdown, () => ({ data: [imported], total: imported }));
  await expect.poll(() => root.querySelector('abbr')?.title).toMatch(/restored from a backup/);
});

test('costs of a column have the same decimals, and the total is rounded to <$0.01', async () => {
  const row = { key: '(imported)', requests: 3, cost_usd: 0.00008, usage: USAGE };
  open(Breakdown, () => ({ data: [row], total: row }));
  await expect.poll(rows).toEqual([expect.stringMatching(/\$0\.000080\$0\.00008$/)]);
  await waitForText(root, '<$0.01 in 3 requests');
  open(Breakdown, () => ({
    data: [{ ...row, key: 'claude-opus-5', cost_usd: 7.0625 }, row],
    total: { ...row, cost_usd: 7.06258 },
  }));
  await expect
    .poll(rows)
    .toEqual([expect.stringMatching(/\$7\.06\$7\.0625$/), expect.stringMatching(/<\$0\.01\$0\.00008$/)]);
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([{ ...SENT, cost_usd: 0.0279 }]));
  await expect.poll(() => rows().join()).toContain('$0.0279');
});

test('the details of a request show its tokens and its duration', async () => {
  const usage = { ...USAGE, cache_read_input_tokens: 634, cache_write_1h_input_tokens: 20 };
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([{ ...SENT, usage }]));
  await expect.poll(rows).toHaveLength(1);
  root.querySelector<HTMLButtonElement>('tbody button')?.click();
  await waitForText(root, 'Tokens663 input (634 from the cache, 20 written to the cache), 9 outputDuration5 ms');
});

test.each([
  ['end_turn', 'finished'],
  ['refusal', 'refused by Claude'],
  ['a_new_reason', 'a_new_reason'],
])('the outcome %s is shown as “%s”', async (stop_reason, text) => {
  navigateTo('#/budget/requests');
  open(BudgetRequests, () => list([{ ...SENT, stop_reason }]));
  await expect.poll(() => root.querySelector('tbody td')?.textContent).toBe(text);
});

test('the token dialog names the account and its role', () => {
  const said = () => renderForTest(h(TokenDialog, { onClose: () => {} })).textContent;
  expect(said()).toContain('You are dev, an admin. In development mode no token is needed.');
  actAs('ops', 'admin');
  expect(said()).toContain('You are ops, an admin.Remove the token');
});

test('alerts are listed as sentences with their delivery state', async () => {
  const alert = { event_id: 'a', kind: 'threshold', node: { type: 'account', id: 'dev' }, limit: 'usd_per_month' };
  const todo =
    'Requests of this account are rejected until 2090-12-01T12:00:00.000Z. An admin can read what was spent.';
  const at = { created_at: '2026-11-20T10:00:00Z', state: 'kept' };
  const more = { window: '2026-11', threshold: 0.01, limit_usd: 5, todo, ...at };
  const vain = { state: 'pending', attempts: 5, next_attempt_at: '2030-11-20T23:40:00Z' };
  const error = { type: 'api_error', message: 'the receiver could not be reached' };
  open(
    () => Alerts({}),
    () =>
      list([
        { ...alert, ...more, error: null },
        { ...alert, ...more, event_id: 'b', ...vain, error },
        {
          ...at,
          event_id: 'c',
          kind: 'webhook_parked',
          node: { type: 'webhook', id: 'shop' },
          subject: 'shop_1',
          error: null,
          todo: 'The operator must fix the receiver. An admin can then replay the event (POST …/replay).',
        },
      ]),
  );
  await waitForText(
    root,
    /dev has passed 1% of \$5\.00 \(dollars per month, November 2026\)Requests of this account are rejected until 1 December at \d\d:\d\d\. Spending and limits of this account.*not sent/,
  );
  await waitForText(root, /not delivered: tried 5 times, next try 20 Nov 2030, .*: the receiver could not be reached/);
  expect(root.textContent).not.toContain('being sent');
  await waitForText(root, 'An admin can then replay the event. Events from shop');
  await click(root, 'Spending and limits of this account');
  expect(location.hash).toBe('#/budget/accounts/dev');
});

test.each([
  [false, 'Alerts are not sent, because ALERT_URL is not set. The operator of this deployment can set it.'],
  [true, undefined],
])('the list of alerts and the field for shares warn that alerts are not sent (%s)', async (alert_url_set, warning) => {
  isAlertUrlSet.value = undefined;
  onTestFinished(() => {
    isAlertUrlSet.value = undefined;
  });
  const warnings = () => root.querySelector('[data-look=nearly]')?.textContent;
  const answer = () => ({ ...list([]), alert_url_set });
  open(() => Alerts({}), answer);
  await waitForText(root, 'No alerts yet.');
  expect(warnings()).toBe(warning);
  const target = { kind: 'deployment', id: '' } as const;
  open(() => h(LimitsForm, { target, ownLimits: { alerts: [0.5] }, names: ['alerts'] }), answer);
  await expect.poll(() => root.querySelector('input')?.value).toBe('50');
  expect(warnings()).toBe(warning);
});

test('alerts about a shared limit link an admin to the form for limits and to the spending by account', async () => {
  const alert = { kind: 'threshold', limit: 'usd_per_day', window: '2026-11-20', threshold: 1, limit_usd: 5 };
  const more = { created_at: '2026-11-20T10:00:00Z', state: 'delivered', error: null };
  const todo = 'An admin can find the spender, and raise the limit (PATCH /pools/deployment/limits).';
  const node = { type: 'deployment', id: 'deployment' };
  open(
    () => Alerts({}),
    () => list([{ ...alert, ...more, event_id: 'a', node, todo }]),
  );
  await waitForText(root, 'The deployment has used up $5.00 (dollars per day, 20 Nov)');
  expect(root.textContent).not.toContain('PATCH');
  await click(root, 'Limits of the deployment');
  expect(focusTarget.value).toBe(DEPLOYMENT_LIMITS_TARGET);
  await click(root, 'Spending by account');
  expect(focusTarget.value).toBe(SPENDERS_TARGET);
});

test.each([
  [
    ['webhooks'],
    /^No alerts yet\. Sluice creates an alert when a problem lasts, such as events undelivered for an hour\.$/,
  ],
  [['webhooks', 'pools'], /, and when spending reaches .* in the limits of a group or the deployment\.$/],
  [['webhooks', 'pools', 'operator'], /, and when .* in the limits of an account, a group or the deployment\.$/],
])(
  'with the plugins %j, the empty list of alerts names only alerts that these plugins create',
  async (plugins, text) => {
    open(
      () => Alerts({}),
      () => list([]),
    );
    includedPlugins.value = new Set(plugins);
    await expect.poll(() => root.querySelector('p')?.textContent).toEqual(expect.stringMatching(text));
  },
);

test('a token is created, listed and revoked', async () => {
  const minted: object[] = [];
  const asked = installFakeEdge(({ method, body }) => {
    if (method !== 'POST') return list(minted);
    const { label } = body as { label: string };
    const locations = [{ hour: '2026-11-20T10:00:00.000Z', country: 'DE', asn: null, client: 'claude-code' }];
    minted.push({ jti: 'j', label, scopes: null, first_seen_at: '2026-11-20T10:00:00Z', revoked_at: null, locations });
    return { token: `minted ${label}`, expires_at: null };
  });
  root = renderForTest(h(Tokens, { account: 'ada' }));
  await waitForText(root, 'No tokens yet.');
  fill(getElementByName(root, 'Label'), 'phone');
  await click(root, 'Create a token for ada');
  await waitForText(root, 'minted phone');
  await expect.poll(rows).toHaveLength(1);
  expect(rows()[0]).toMatch(/^phonejnot stored20 Nov.*\d\d:\d\d, DE, claude-code/);
  await click(root, 'Revoke phone');
  await expect.poll(() => asked.find(({ method }) => method === 'DELETE')?.path).toBe('/accounts/ada/tokens/j');
});

test('tokens without a label are listed with their complete ids, whose beginnings are the same', async () => {
  const ids = ['tok_q67qzqzz_92d1de949a3d', 'tok_q67qzqzz_9d52928ff5cd'];
  installFakeEdge(() => list(ids.map((jti) => ({ jti, label: null, scopes: [], revoked_at: null, locations: [] }))));
  root = renderForTest(h(Tokens, { account: 'ada' }));
  await expect
    .poll(() => [...root.querySelectorAll('th[scope=row]')].map(({ textContent }) => textContent))
    .toEqual(ids);
});

test.each([
  [['transfer'], ['admin:read', 'admin:metrics', 'admin:backup', 'admin']],
  [[], ['admin:read', 'admin:metrics', 'admin']],
])('with the plugins %j, tokens are offered with the admin scopes %j', (plugins, scopes) => {
  installFakeEdge(() => list([]));
  includedPlugins.value = new Set(plugins);
  root = renderForTest(h(Tokens, { account: 'ada' }));
  const offered = [...root.querySelectorAll<HTMLInputElement>('[name=scope]')].map(({ value }) => value);
  expect(offered.filter((scope) => scope.startsWith('admin'))).toEqual(scopes);
});

test('a restricted token contains the restrictions from the form, expires, and is never sent without restrictions', async () => {
  const known: Record<string, string> = {
    '/versions/agent': 'support',
    '/versions/agent?account=ada': 'draft',
    '/accounts/ada/conversations': 'web-7',
  };
  const asked = installFakeEdge(({ method, path }) => {
    if (method === 'POST') return { token: 'minted', expires_at: '2030-11-20T10:15:00Z' };
    const name = known[path.replace(/\?limit=\d+&?/, '?').replace(/\?$/, '')];
    return list(name === undefined ? [] : [{ id: name }]);
  });
  root = renderForTest(h(Tokens, { account: 'ada' }));
  await click(root, 'Create a token for ada');
  const minted = () => asked.filter(({ method }) => method === 'POST').map(({ body }) => body as { only?: object });
  await expect.poll(minted).toEqual([{ account: 'ada', scopes: ['messages'], expires_in: 3_600 }]);
  await waitForText(root, /The token expires on .*2030/);
  getElementByName(root, 'Restrict the token, for use in a page').click();
  await expect.poll(() => getElementByName<HTMLSelectElement>(root, 'Expires after').value).toBe('900');
  const lifetimes = [...getElementByName<HTMLSelectElement>(root, 'Expires after').options].map(({ value }) => value);
  expect(lifetimes).not.toContain('0');
  // Sluice rejects a token without agents and classifiers: the page must not send one without `only`.
  await click(root, 'Create a token for ada');
  await expect.poll(() => minted()[1]).toEqual({ account: 'ada', scopes: ['messages'], expires_in: 900, only: {} });
  await click(root, 'Add support to Agents');
  await click(root, 'Add own:draft to Agents');
  await click(root, 'Add web-7 to Conversations');
  expect(getElementByName(root, 'Agents').value).toBe('support, own:draft');
  fill(getElementByName(root, 'Conversations'), 'web-*');
  fill(getElementByName(root, 'Origins'), 'https://app.example.com https://www.example.com');
  fill(getElementByName(root, 'Total requests'), '20');
  await click(root, 'Create a token for ada');
  await expect
    .poll(() => minted()[2]?.only)
    .toEqual({
      agents: ['support', 'own:draft'],
      conversations: ['web-*'],
      origins: ['https://app.example.com', 'https://www.example.com'],
      max_requests: 20,
    });
});

test.each([
  [
    ['webhooks', 'agents'],
    ['Classifier or agent', 'Label or conversation'],
  ],
  [['webhooks'], ['Classifier', 'Label']],
])('with the plugins %j, webhooks have the columns %j', async (plugins, columns) => {
  const source = { source: 'github', open: true, classifier: null, agent: null, undelivered_events: 0 };
  const event = { event_id: 'e', source: 'github', received_at: '2026-11-20T10:00:00Z', label: null, state: 'done' };
  for (const [hash, rows] of [
    ['#/budget/webhooks', [source]],
    ['#/budget/webhooks/github', [event]],
  ] as const) {
    navigateTo(hash);
    installFakeEdge(({ path }) => list(path.startsWith('/alerts') ? [] : [...rows]));
    includedPlugins.value = new Set(plugins);
    root = renderForTest(h(Webhooks, {}));
    const headings = () => [...root.querySelectorAll('th[scope=col]')].map(({ textContent }) => textContent);
    await expect.poll(headings).toContain(columns[hash === '#/budget/webhooks' ? 0 : 1]);
  }
});

test('a dead-lettered webhook event shows its attempts and text, and can be replayed', async () => {
  let attempts = 1;
  const error = { type: 'api_error', message: 'It answered 503', status: 503 };
  navigateTo('#/budget/webhooks/github');
  const asked = open(Webhooks, ({ method, path }) => {
    if (method === 'POST') attempts += 1;
    const isDone = attempts > 1;
    const event = { event_id: 'an issue', source: 'github', received_at: '2026-11-20T10:00:00Z', label: null };
    const state = { state: isDone ? 'delivered' : 'parked', next_attempt_at: null, conversation: null };
    if (path.startsWith('/webhooks/github/events/an%20issue'))
      return {
        ...event,
        ...state,
        account: 'webhook-github',
        subject: 'https://example.com/1',
        text: 'It crashes',
        attempts: [
          { at: '2026-11-20T10:01:00Z', ms: 40, error },
          ...(isDone ? [{ at: '2026-11-20T11:00:00Z', ms: 9, error: null }] : []),
        ],
      };
    return list([{ ...event, ...state, attempts, error: isDone ? null : error }]);
  });
  await waitForText(root, 'parked: tried once, not tried again: It answered 503');
  await click(root, 'an issue');
  await waitForText(root, 'It crashes');
  await waitForText(root, 'It answered 503');
  expect(root.textContent).not.toContain('503 · ');
  expect(getElementByName<HTMLAnchorElement>(root, 'https://example.com/1').rel).toBe('noreferrer');
  await click(root, 'Replay an issue');
  await waitForText(root, 'done');
  expect(asked.find(({ method }) => method === 'POST')?.path).toBe('/webhooks/github/events/an%20issue/replay');
});

test.each(Object.entries(FIRST_SCHEMAS))(
  'a webhook event labelled by a schema with %s shows the whole object',
  async (_, { output, property }) => {
    navigateTo('#/budget/webhooks/shop');
    open(Webhooks, ({ path }) => {
      const label = output[property];
      const event = {
        event_id: 'shop_1',
        source: 'shop',
        state: 'delivered',
        received_at: '2026-11-20T10:00:00Z',
        next_attempt_at: null,
        label,
        conversation: null,
      };
      if (path.startsWith('/webhooks/shop/events/shop_1'))
        return {
          ...event,
          account: 'webhook-shop',
          subject: null,
          text: 'I was charged twice',
          attempts: [],
          result: { label, output, cached: false },
        };
      return list([{ ...event, attempts: 1, error: null }]);
    });
    await click(root, 'shop_1');
    await waitForText(root, 'I was charged twice');
    expect(JSON.parse(root.querySelector('pre')?.textContent ?? '{}')).toEqual(output);
  },
);

test('the list of webhook sources shows their state, and replays all undelivered events of a source', async () => {
  let undelivered = 2;
  replayedEvents.value = {};
  navigateTo('#/budget/webhooks');
  const asked = open(Webhooks, ({ method, path }) => {
    if (path.startsWith('/alerts')) return list([]);
    if (method === 'POST') {
      const scheduled = undelivered;
      undelivered = 0;
      return { type: 'webhook_replay', source: 'shop', scheduled };
    }
    const source = { type: 'webhook_source', open: true, agent: null, classifier: null, undelivered_events: 0 };
    return list([
      { ...source, source: 'github', secret: 'GITHUB_WEBHOOK_SECRET', open: false },
      { ...source, source: 'shop', classifier: 'tickets', undelivered_events: undelivered },
    ]);
  });
  const closed = 'githubclosed: GITHUB_WEBHOOK_SECRET is not setbuilt-in labels of the source';
  await expect.poll(rows).toEqual([closed, 'shopreceivingtickets2Replay all']);
  await click(root, 'Replay all undelivered events from shop');
  await expect.poll(rows).toEqual([closed, 'shopreceivingtickets']);
  expect(asked.find(({ method }) => method === 'POST')?.path).toBe('/webhooks/shop/events/replay');
  expect(replayedEvents.value).toEqual({ shop: 2 });
  // The receiver may still fail, so the page does not call it delivered.
  await waitForText(root, 'Replay scheduled: 2 events from shop. They are not delivered yet.');
});

test('the alerts of a link from the Overview have their own view, and an unknown source shows an error', async () => {
  navigateTo('#/budget/webhooks/alert');
  open(Webhooks, ({ path }) =>
    path.startsWith('/alerts') ? list([]) : createErrorResponse(404, 'not_found_error', 'This source does not exist.'),
  );
  await waitForText(root, 'No alerts yet.');
  expect(root.textContent).not.toContain('Webhook sources');
  await click(root, 'All sources');
  await waitForText(root, 'Webhook sources');
  navigateTo('#/budget/webhooks/shoop');
  await waitForText(root, 'This source does not exist.');
});

test('changes name their subject unless the list belongs to that subject', async () => {
  const change = (subject: object, kind: string, changes: object) => ({
    id: kind,
    created_at: '2026-11-20T10:00:00Z',
    kind,
    subject,
    changes,
    actor: { account: 'root' },
    request_id: 'req_1',
  });
  const member = change({ type: 'account', id: 'carol' }, 'group.member_added', { group: { from: null, to: 'red' } });
  const limits = change({ type: 'group', id: 'red' }, 'limits.updated', { usd_per_day: { from: null, to: 1 } });
  const lists = (of: { account: string } | { group: string }) => {
    open(
      () => h(Changes, { of }),
      () => list([member, limits]),
    );
    return expect.poll(() => rows().map((row) => /(?<=, \d\d:\d\d).*(?=root)/.exec(row)?.[0]));
  };
  const [added, set] = ['Group: red', 'Dollars per day: none → $1.00'];
  await lists({ group: 'red' }).toEqual([`Added to a group: carol${added}`, `Limits changed${set}`]);
  await lists({ account: 'carol' }).toEqual([`Added to a group${added}`, `Limits changed: red${set}`]);
});

test('the list of changes shows values with their units, local times, and no ids of credit', async () => {
  const change = (kind: string, changes: object) => ({
    id: kind,
    created_at: '2026-11-20T10:00:00Z',
    kind,
    subject: { type: 'account', id: 'carol' },
    changes,
    actor: { account: 'root' },
    request_id: 'req_1',
  });
  const set = (to: unknown, from: unknown = null) => ({ from, to });
  const kinds = [
    change('credit.added', { credit: set('credit_1'), usd: set(20), expires_at: set('2099-01-01T12:00:00Z') }),
    change('limits.updated', {
      usd_per_day: set(2.5),
      alerts: set([0.8, 1], [0.5]),
      models: set(['claude-haiku-5-5', 'claude-opus-5']),
      input_tokens_per_minute: set(null, 20_000),
      on_shortfall: set('clamp'),
    }),
    change('account.restored', { limits: set({ usd_total: 1, alerts: [0.5] }), group: set('red') }),
    change('agent.stored', { version: set('0123456789abcdef', 'fedcba9876543210') }),
    change('token.minted', { scopes: set(['admin', 'messages']) }),
  ];
  open(
    () => h(Changes, { of: { account: 'carol' } }),
    () => list(kinds),
  );
  await waitForText(root, 'Credit given');
  const lines = [...root.querySelectorAll('td p')].map(({ textContent }) => textContent);
  expect(lines).toEqual([
    'Amount: $20.00',
    expect.stringMatching(/^Expires: 1 Jan 2099, \d\d:00$/),
    'Dollars per day: none → $2.50',
    'Alerts, in % of each limit in dollars: 50% → 80%, 100%',
    'Models: none → claude-haiku-5-5, claude-opus-5',
    'Input tokens per minute: 20,000 → none',
    'If the budget is short: none → Shorten the response',
    'Limits: Dollars in total $1.00, Alerts, in % of each limit in dollars 50%',
    'Group: red',
    'Version: fedcba98 → 01234567',
    'Scopes: admin, messages',
  ]);
});

test('a webhook source filters its undelivered events, and replays them together', async () => {
  navigateTo('#/budget/webhooks/shop');
  const asked = open(Webhooks, ({ method }) => (method === 'POST' ? { scheduled: 2 } : list([])));
  replayedEvents.value = {};
  onTestFinished(() => {
    eventFilter.value = 'all';
    replayedEvents.value = {};
  });
  await waitForText(root, 'No events from shop yet.');
  expect(queryOf(asked, '/webhooks')).not.toHaveProperty('undelivered');
  eventFilter.value = 'undelivered';
  await waitForText(root, 'No undelivered events from shop.');
  expect(queryOf(asked, '/webhooks')).toMatchObject({ undelivered: 'true' });
  await click(root, 'Replay all undelivered events');
  await expect.poll(() => asked.find(({ method }) => method === 'POST')?.path).toBe('/webhooks/shop/events/replay');
  await waitForText(root, 'Replay scheduled: 2 events. Events that fail again return to this list.');
});

test('a budget that cannot be read shows an error in place of amounts, and Retry reads it', async () => {
  let isThere = false;
  actAs('ada', 'messages');
  const window = { limit_usd: 5, settled_usd: 1, held_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  open(BudgetOverview, ({ path }) => {
    if (!isThere) throw new TypeError('The network is gone.');
    if (path.startsWith('/accounts/')) {
      const binds = [
        { by: 'account', id: null, limit: 'usd_per_day', limit_usd: 5, used_usd: 1, resets_at: null, refuses: false },
      ];
      return { limits: {}, binds, day: window, week: window, month: window, total: window, running_requests: 0 };
    }
    return { ...list([]), total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
  });
  const figures = () => [...root.querySelectorAll('#quota .gauge strong')].map(({ textContent }) => textContent);
  await waitForText(root, 'Sluice cannot be reached.');
  expect(figures()).toEqual([]);
  isThere = true;
  await click(root, 'Retry');
  await expect.poll(figures).toEqual(['$1.00']);
  await expect.poll(() => root.querySelector('[role=alert]')).toBeNull();
});

test('an admin’s Overview shows the spending of the deployment, not of the admin’s account', async () => {
  const shared = { limit_usd: null, spent_usd: 0.15, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const limited = { ...shared, limit_usd: 5 };
  const asked = open(BudgetOverview, ({ path }) => {
    if (path === '/overview') return { type: 'overview' };
    if (path === '/pools/deployment')
      return { limits: {}, binds: [], hour: shared, day: shared, week: shared, month: limited, total: shared };
    return { ...list([]), total: { requests: 0, cost_usd: 0, saved_usd: 0, usage: {} } };
  });
  const cards = () => [...root.querySelectorAll('.gauge')].map(({ textContent }) => textContent ?? '');
  // A longer window is shown where it has a limit.
  await expect
    .poll(cards)
    .toEqual([
      expect.stringMatching(/^Deployment, today\$0\.15/),
      expect.stringMatching(/^Deployment, this month.*of \$5\.00/),
    ]);
  const headings = [...root.querySelectorAll('h2, h3')].map(({ textContent }) => textContent ?? '');
  expect(headings.indexOf('Spent per day')).toBeLessThan(headings.indexOf('Spending by account'));
  expect(asked.filter(({ path }) => path.startsWith('/accounts/') || /usage.*account=/.test(path))).toEqual([]);
});

test('the Overview links each kind of problem to its list, and shows none if there is none', async () => {
  const nothing = {
    requests: { requests: 9, failed: 0, refused: 0 },
    accounts: { blocked: 0, spent: 0 },
    undelivered_events: [],
    undelivered_alerts: 0,
  };
  let told: object = nothing;
  const shared = { limit_usd: null, spent_usd: 0, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const windows = { limits: null, binds: [], hour: shared, day: shared, week: shared, month: shared };
  const answer = ({ path }: PageRequest) =>
    path === '/overview' ? told : { ...list([]), ...windows, total: { ...shared, usage: {} } };
  open(BudgetOverview, answer);
  const links = () => [...root.querySelectorAll('.broken a')].map((a) => [a.textContent, a.getAttribute('href')]);
  await waitForText(root, 'No alerts yet.');
  expect(links()).toEqual([]);
  told = {
    requests: { requests: 9, failed: 4, refused: 59 },
    rejections: [
      { limited_by: 'account', reason: 'spend', requests: 52 },
      { limited_by: '', reason: 'held', requests: 7 },
    ],
    accounts: { blocked: 1, spent: 2 },
    undelivered_events: [{ source: 'github', events: 2, failing_since: '2026-11-20T11:58:00Z' }],
    undelivered_alerts: 1,
  };
  open(BudgetOverview, answer);
  await expect.poll(links).toEqual([
    ['2 events undelivered', '#/budget/webhooks'],
    ['1 alert undelivered', '#/budget/webhooks/alert'],
    ['2 accounts have too little budget', '#/budget/accounts'],
    ['4 of 9 requests failed today', '#/budget/failed'],
    ['1 account blocked by a limit of 0', '#/budget/accounts'],
  ]);
  // What happened, and what an admin meant, has no colour.
  expect(root.querySelectorAll('[data-look=urgent] strong')).toHaveLength(3);
  expect(root.textContent).toMatch(/2 events undelivered: github since 20 Nov( \d{4})?, \d\d:\d\d/);
  // Each leads to what was counted: that of today, and whoever can ask for nothing first, whatever was looked at before.
  const press = (words: string) =>
    [...root.querySelectorAll<HTMLAnchorElement>('a')].find((a) => a.textContent?.endsWith(words))?.click();
  [listedRange.value, listedMinute.value, accountsOrder.value] = ['week', '2026-01-01T10:14', 'spent'];
  // Limits that reject requests are no failure.
  const rejected = root.querySelectorAll('[aria-label="Rejected by limits"] :is(p, li)');
  expect([...rejected].map(({ textContent }) => textContent)).toEqual([
    '59 rejected by limits today',
    '52 not enough budget (account)',
    '7 budget held by running requests',
  ]);
  press('rejected by limits today');
  expect([listedRange.value, listedMinute.value]).toEqual(['today', '']);
  accountsOrder.value = 'name';
  press('too little budget');
  expect(accountsOrder.value).toBe('used');
  const all = () => [...root.querySelectorAll('[aria-label=Problems] a')].map((a) => a.textContent);
  for (const [blocked, spent, words, isUrgent] of [
    [1, 0, '1 account blocked by a limit of 0', false],
    [2, 0, '2 accounts blocked by a limit of 0', false],
    [0, 1, '1 account has too little budget', true],
    [0, 2, '2 accounts have too little budget', true],
  ] as const) {
    told = { ...nothing, accounts: { blocked, spent } };
    refreshAllPolls();
    await expect.poll(all).toEqual([words]);
    expect(links()).toHaveLength(isUrgent ? 1 : 0);
  }
});

test('a used-up budget of the deployment is listed as one problem, and as one line above the list of accounts', async () => {
  const limit = {
    by: 'deployment',
    id: null,
    limit: 'usd_per_day',
    limit_usd: 5,
    used_usd: 5,
    resets_at: '2026-12-01T00:00:00Z',
    refuses: true,
  };
  const shared = { limit_usd: null, spent_usd: 0, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const windows = { limits: {}, binds: [limit], hour: shared, day: shared, week: shared, month: shared };
  const accounts = ['ada', 'ben'].map((id) => ({
    type: 'account',
    id,
    group: null,
    spent_usd: { day: 0, week: 0, month: 0 },
    limit_usd: { day: null, week: null, month: null },
    tightest: limit,
    blocked_by: null,
    refused_today: 0,
    last_seen_at: null,
  }));
  const answer = ({ path }: PageRequest) => {
    if (path === '/overview') return { accounts: { blocked: 1, spent: 64 } };
    if (path.startsWith('/accounts')) return list(accounts);
    return { ...list([]), ...windows, total: { ...shared, usage: {} } };
  };
  open(BudgetOverview, answer);
  const problems = () => [...root.querySelectorAll('.broken li')].map(({ textContent }) => textContent);
  await expect.poll(problems).toEqual(['All accounts: budget used up', '1 account blocked by a limit of 0']);
  open(BudgetAccounts, answer);
  await expect.poll(rows).toHaveLength(2);
  expect([...root.querySelectorAll('[data-look=refused]')].map(({ textContent }) => textContent)).toEqual([
    expect.stringMatching(
      /^All accounts: budget used up\. The limit “Dollars per day” of the deployment is \$5\.00 and resets /,
    ),
  ]);
  for (const row of rows()) expect(row).toContain('same as for all accounts');
  expect(describeShortage({ ...limit, by: 'deployment', used_usd: 4.96 })).toBe('used up (1 % stays in reserve)');
});

test('the Overview lists background tasks that keep failing, and since when', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-27T12:00:00Z') });
  const shared = { limit_usd: null, spent_usd: 0, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const windows = { limits: null, binds: [], hour: shared, day: shared, week: shared, month: shared };
  const task = { failing_since: '2026-11-20T10:00:00Z', last_reported_at: '2026-11-27T11:59:00Z' };
  let told: object = { failing_tasks: [{ task: 'alert', ...task }] };
  open(BudgetOverview, ({ path }: PageRequest) =>
    path === '/overview' ? told : { ...list([]), ...windows, total: { ...shared, usage: {} } },
  );
  const items = () => [...root.querySelectorAll('.broken li')].map(({ textContent }) => textContent);
  await expect.poll(items).toEqual([expect.stringMatching(/^alert has failed since 20 Nov/)]);
  await waitForText(root, 'The log names the object and the error.');
  told = { failing_tasks: [] };
  refreshAllPolls();
  await expect.poll(items).toEqual([]);
});

test('the Overview shows incidents until they are over, a rejected key above the page', async () => {
  const shared = { limit_usd: null, spent_usd: 0, leased_usd: 0, resets_at: '2026-12-01T00:00:00Z' };
  const windows = { limits: null, binds: [], hour: shared, day: shared, week: shared, month: shared };
  const since = '2026-11-20T10:00:00Z';
  const outage = { kind: 'upstream_failing', since, subject: '9 of 9 requests failed', todo: 'Check its status page.' };
  const rejection = { kind: 'key_refused', since, subject: '401', todo: 'Set a valid key.' };
  const keyLimit = { upstream: '', model_class: 'opus', kind: 'output_tokens', limit: 80_000, remaining: 0 };
  let told: object = { incidents: [rejection, outage] };
  open(BudgetOverview, ({ path }: PageRequest) =>
    path === '/overview' ? told : { ...list([]), ...windows, total: { ...shared, usage: {} } },
  );
  const items = () => [...root.querySelectorAll('.broken li')].map(({ textContent }) => textContent);
  await expect
    .poll(items)
    .toEqual([expect.stringMatching(/failed at the upstream since 20 Nov.*: 9 of 9 requests failed.*status page\.$/)]);
  expect(deploymentRejection.value).toEqual({ since, todo: 'Set a valid key. The error: 401' });
  told = { incidents: [], requests: { requests: 9, failed: 9, refused: 0, last_failed_at: since } };
  refreshAllPolls();
  const calm = () =>
    [...root.querySelectorAll('.panel:not(.broken)[aria-label=Problems] li')].map((li) => li.textContent);
  await expect.poll(calm).toEqual([expect.stringMatching(/^9 of 9 requests failed today, the last on 20 Nov/)]);
  expect(deploymentRejection.value).toEqual({});
  told = { incidents: [{ ...outage, rerouted: true }] };
  refreshAllPolls();
  await expect.poll(calm).toEqual([expect.stringMatching(/since 20 Nov.*: 9 of 9 requests failed/)]);
  told = { key_limits: [{ ...keyLimit, rejected_requests: 14 }] };
  refreshAllPolls();
  await expect
    .poll(items)
    .toEqual([expect.stringMatching(/for opus\. 14 requests failed with a 429 in the last five minutes$/)]);
});

test('the list of accounts shows the tightest limit of each, sorted by it if one is nearly used up', async () => {
  const none = { day: null, week: null, month: null };
  const row = (id: string, tightest: object | null, more: object = {}) => ({
    type: 'account',
    id,
    group: null,
    spent_usd: { day: 0, week: 0, month: 0 },
    limit_usd: none,
    tightest,
    blocked_by: null,
    refused_today: 0,
    last_seen_at: null,
    ...more,
  });
  const limit = {
    by: 'account',
    id: null,
    limit: 'usd_per_day',
    limit_usd: 0.0005,
    used_usd: 0.00034,
    resets_at: null,
  };
  const full = { limit_usd: 2, used_usd: 1.99, refuses: true };
  const window = { limit_usd: null, spent_usd: 0, leased_usd: 0, resets_at: null };
  const group = { hour: window, day: window, week: window, month: window, total: window };
  const asked = open(BudgetAccounts, ({ path }) => {
    if (path === '/pools/deployment') return { ...group, binds: [{ ...limit, by: 'deployment', limit_usd: 0.001 }] };
    if (path.startsWith('/groups'))
      return list([
        { id: 'blue', ...group, refused_today: 12, binds: [{ ...limit, by: 'group', id: 'blue', ...full }] },
      ]);
    return list([
      row('ben', { ...limit, by: 'group', id: 'blue', ...full }, { group: 'blue', refused_today: 7 }),
      row('cleo', { ...limit, limit: 'usd_per_hour', limit_usd: 0, used_usd: 0 }, { blocked_by: 'usd_per_hour' }),
      row('eve', { ...limit, limit: 'usd_total', limit_usd: 5, used_usd: 5, prepaid: true, refuses: true }),
      row('gus', { ...limit, limit: 'usd_total', limit_usd: 5, used_usd: 4.5, prepaid: true }),
      row('fay', { ...limit, by: 'token', id: 'jti', limit: 'usd_total', limit_usd: 2, used_usd: 1.7 }),
      row('ada', limit),
      row('ivy', { ...limit, limit_usd: 0.00001, used_usd: 0, refuses: true }),
      row('dan', null),
    ]);
  });
  const cells = () =>
    [...root.querySelectorAll('tbody tr')].map((tr) => [
      tr.querySelector('th')?.textContent,
      (tr.querySelector('.limit-summary .limit-text') ?? tr.querySelectorAll('td')[1])?.textContent,
      tr.querySelector('.state')?.getAttribute('data-look') ?? '',
    ]);
  await expect.poll(cells).toEqual([
    ['ben', 'no budget left: 99.5% of $2.00, dollars per day of group blue', 'refused'],
    ['cleo', 'blocked: dollars per hour is 0', 'refused'],
    ['eve', 'no budget left: no credit', 'refused'],
    ['gus', '90% of $5.00 credit', 'nearly'],
    ['fay', '85% of $2.00, dollars in total of a token', 'nearly'],
    ['ada', '68% of $0.0005, dollars per day', ''],
    ['ivy', 'too small for the last request: $0.00001, dollars per day', 'refused'],
    ['dan', 'only the deployment’s limit', ''],
    ['blue', 'no budget left: 99.5% of $2.00, dollars per day', 'refused'],
  ]);
  expect(root.querySelector('[aria-sort=descending]')?.textContent).toBe('Tightest own limit');
  await waitForText(root, 'All accounts share the limits of the deployment: 34% of $0.001, dollars per day.');
  // The bar of a limit that is too small for a request is full.
  expect(rows().find((text) => text.startsWith('ivy'))).toContain('dollars per daylimit too small');
  const bars = [...root.querySelectorAll<HTMLElement>('.limit-brief .settled')].map(({ style }) => style.width);
  expect(bars).toEqual(['99.5%', '100%', '100%', '90%', '85%', '68%', '100%', '99.5%']);
  expect(rows().at(-1)).toMatch(/dollars per day99\.5% of \$2\.0012$/);
  expect(rows().at(-2)).toMatch(/only the deployment’s limit0$/);
  const query = () => queryOf(asked.filter(({ path }) => path.startsWith('/accounts?')));
  expect(query()).toMatchObject({ sort: 'used', limit: '10' });
  const spent = [...root.querySelectorAll<HTMLButtonElement>('.sort')].find(
    ({ textContent }) => textContent === 'Spent this month',
  );
  spent?.focus();
  spent?.click();
  await expect.poll(() => query().sort).toBe('spent');
  await expect.poll(cells).toHaveLength(9);
  // Whoever pressed it by the keyboard is still there.
  expect(document.activeElement).toBe(spent);
  await click(root, 'ben');
  expect(location.hash).toBe('#/budget/accounts/ben');
});
