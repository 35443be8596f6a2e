// @vitest-environment jsdom
import { h } from 'preact';
import { beforeEach, expect, test } from 'vitest';
import { AlertsForm } from '../../../src/page/budget/alerts.tsx';
import { deployment, type Spender } from '../../../src/page/budget/figures/overview.ts';
import { reportedQuota } from '../../../src/page/budget/figures/report.ts';
import { LimitCell } from '../../../src/page/budget/limit-cell.tsx';
import { LimitsForm } from '../../../src/page/budget/limits-form.tsx';
import { type Asked, choose, fakeEdge, fill, named, press, refusal, show } from '../../support/dom.ts';

const NONE = { limit_usd: null };
const QUOTA = { limits: { usd_per_day: 5 }, own_limits: { usd_per_day: 5 }, day: NONE, week: NONE, month: NONE };
const changes = (all: Asked[]) => all.filter(({ method }) => method !== 'GET');

beforeEach(() => {
  deployment.value = undefined;
});

const row = (kind: Spender['kind'], limit: number | null): Spender => ({
  ...{ kind, id: 'ada', group: null, seen: null, tightest: null, blocked: false, spent: { day: 0, week: 0, month: 0 } },
  limit: { day: null, week: null, month: limit },
});

test.each([
  ['7.5', 7.5],
  ['0', 0],
  // An empty field removes the limit. It is not a limit of nothing.
  ['', null],
  [' ', null],
])('“%s” in the row of an account is a limit of %s', async (text, usd) => {
  const asked = fakeEdge(() => QUOTA);
  const root = show(h(LimitCell, { row: row('account', 3), period: 'month' }));
  named(root, 'Change the limit of ada, $3.00 per month').click();
  await expect.poll(() => named(root, 'Dollars per month for ada').value).toBe('3');
  const field = named(root, 'Dollars per month for ada');
  field.value = text;
  press(field, 'Enter');
  await expect.poll(() => root.querySelector('button')).not.toBeNull();
  expect(asked).toEqual([{ method: 'PATCH', path: '/accounts/ada/limits', body: { usd_per_month: usd } }]);
});

test('Escape in a row changes nothing, and what is refused is said there and can be corrected', async () => {
  const asked = fakeEdge(() => refusal(400, 'invalid_request_error', 'usd_per_month: expected at least 0'));
  const root = show(h(LimitCell, { row: row('account', null), period: 'month' }));
  const edit = async () => {
    named(root, 'Change the limit of ada, none per month').click();
    await expect.poll(() => root.querySelector('input')?.value).toBe('');
    return named(root, 'Dollars per month for ada');
  };
  const field = await edit();
  field.value = '1';
  press(field, 'Escape');
  await expect.poll(() => root.querySelector('input')).toBeNull();
  expect(asked).toEqual([]);
  const again = await edit();
  again.value = '-1';
  press(again, 'Enter');
  await expect.poll(() => again.getAttribute('aria-invalid')).toBe('true');
  expect(root.querySelector('[role=alert]')?.textContent).toMatch(/^This was not accepted/);
});

test('an emptied limit of an account is removed, and what has no field stays', async () => {
  const asked = fakeEdge(({ method }) => (method === 'PATCH' ? { ...QUOTA, own_limits: {} } : QUOTA));
  reportedQuota.value = QUOTA as never;
  const root = show(h(LimitsForm, {}));
  expect(named(root, 'Dollars per day').value).toBe('5');
  fill(named(root, 'Dollars per day'), '');
  fill(named(root, 'Dollars per week'), '0');
  fill(named(root, 'Alerts, in % of each limit in dollars'), '50, 80');
  named(root, 'Save limits of dev').click();
  await expect.poll(() => changes(asked).length).toBe(1);
  const { method, path, body } = changes(asked)[0] as Asked;
  expect([method, path]).toEqual(['PATCH', '/accounts/dev/limits']);
  expect(body).toMatchObject({ usd_per_day: null, usd_per_week: 0, usd_total: null, alerts: [0.5, 0.8] });
  expect(Object.keys(body as object)).not.toContain('on_shortfall');
  await expect
    .poll(() => root.querySelector('form')?.textContent)
    .toContain('Saved. The list knows it within a minute.');
});

test('what the edge refuses of an account’s limits stands at its field', async () => {
  fakeEdge(() => refusal(400, 'invalid_request_error', 'alerts.0: expected a share above 0'));
  reportedQuota.value = QUOTA as never;
  const root = show(h(LimitsForm, {}));
  fill(named(root, 'Alerts, in % of each limit in dollars'), '-1');
  named(root, 'Save limits of dev').click();
  await expect.poll(() => root.querySelector('[aria-invalid=true]')?.getAttribute('name')).toBe('alerts');
});

test.each([
  // Of a group and of the deployment all limits are sent, so that the others stay.
  ['group blue', 'PUT', '/groups/blue/limits', { usd_per_week: 7, alerts: [0.07] }],
  ['deployment ', 'PUT', '/pools/deployment/limits', { usd_per_week: 7, alerts: [0.07] }],
  ['account dev', 'PATCH', '/accounts/dev/limits', { alerts: [0.07] }],
])('alerts of the %s are saved beside its limits', async (whose, method, path, body) => {
  const asked = fakeEdge((one) => {
    if (one.path.startsWith('/groups?')) return { data: [{ id: 'blue' }], has_more: false };
    const limits = { usd_per_week: 7, alerts: [path.startsWith(one.path.split('?', 1)[0] ?? '') ? 0.5 : 0.2] };
    return { limits, own_limits: limits };
  });
  deployment.value = { limits: {} } as never;
  const root = show(h(AlertsForm, {}));
  const choice = named<HTMLSelectElement>(root, 'Whose limits');
  await expect.poll(() => [...choice.options].map(({ value }) => value)).toContain(whose);
  choose(choice, whose);
  const shares = named(root, 'Tell at, in % of each limit in dollars');
  await expect.poll(() => shares.value).toBe('50');
  fill(shares, 'half');
  await expect.poll(() => shares.value).toBe('half');
  named(root, 'Save alerts').click();
  await expect.poll(() => shares.getAttribute('aria-invalid')).toBe('true');
  expect(changes(asked)).toEqual([]);
  expect(root.querySelector('[role=alert]')?.textContent).toContain('Type numbers, with commas between them');
  fill(shares, '7');
  await expect.poll(() => shares.value).toBe('7');
  named(root, 'Save alerts').click();
  await expect.poll(() => changes(asked)).toEqual([{ method, path, body }]);
});
