// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h, render } from 'preact';
import { expect, test } from 'vitest';
import { Credit } from '#page/budget/credit.tsx';
import { LIMIT_FORMS, SHARED_LIMIT_NAMES } from '#page/budget/figures/limit-names.ts';
import type { LimitOwner } from '#page/budget/figures/patch-limits.ts';
import { LimitsForm } from '#page/budget/limits-form.tsx';
import { GroupMembership } from '#page/budget/membership.tsx';
import { includedPlugins } from '#page/edge/plugins.ts';
import {
  chooseValue,
  click,
  createErrorResponse,
  fill,
  getElementByName,
  installFakeEdge,
  type PageRequest,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';

const NAMES = Object.keys(LIMIT_FORMS) as (keyof typeof LIMIT_FORMS)[];
const changes = (all: PageRequest[]) => all.filter(({ method }) => method !== 'GET');
const ACCOUNT: LimitOwner = { kind: 'account', id: 'ada' };

test('the form shows the limits that are set, adds and removes limits, and saves what was changed in one request', async () => {
  const asked = installFakeEdge(() => ({}));
  const own = { usd_per_day: 5, usd_per_week: 9, models: ['claude-opus-5'], on_shortfall: 'refuse' as const };
  const root = renderForTest(h(LimitsForm, { target: ACCOUNT, ownLimits: own, names: NAMES }));
  const labels = () => [...root.querySelectorAll('label')].map(({ textContent }) => textContent);
  expect(labels()).toEqual(['Dollars per day', 'Dollars per week', 'Models', 'If the budget is short', 'Add a limit']);
  const add = async (name: string) => {
    chooseValue(getElementByName(root, 'Add a limit'), name);
    await click(root, 'Add the chosen limit');
  };
  // A keyboard chooses each value on the way: only the button adds one.
  for (const name of ['usd_per_hour', 'usd_per_month']) chooseValue(getElementByName(root, 'Add a limit'), name);
  expect(labels()).toHaveLength(5);
  await add('min_output_tokens');
  await expect.poll(labels).toContain('Minimum output tokens');
  await add('alerts');
  await expect.poll(labels).toContain('Alerts, in % of each limit in dollars');
  fill(getElementByName(root, 'Minimum output tokens'), '512');
  fill(getElementByName(root, 'Alerts, in % of each limit in dollars'), '50, 80');
  fill(getElementByName(root, 'Models'), 'claude-opus-5, claude-haiku-5-5');
  getElementByName(root, 'Remove Dollars per day').focus();
  await click(root, 'Remove Dollars per day');
  // Whoever removes it by the keyboard saves with the next press.
  expect(document.activeElement?.textContent).toBe('Save limits');
  await click(root, 'Save limits');
  await waitForText(root, 'Saved. Lists are updated within a minute.');
  expect(changes(asked)).toEqual([
    {
      method: 'PATCH',
      path: '/accounts/ada/limits',
      body: {
        usd_per_day: null,
        models: ['claude-opus-5', 'claude-haiku-5-5'],
        min_output_tokens: 512,
        alerts: [0.5, 0.8],
        if_limits: { usd_per_day: 5, models: ['claude-opus-5'], min_output_tokens: null, alerts: null },
      },
    },
  ]);
});

test.each([
  [['webhooks', 'pools', 'operator'], { account: true, group: true }],
  [['webhooks', 'pools'], { account: false, group: true }],
  [['pools', 'operator'], { account: false, group: false }],
])('with the plugins %j, the form offers only alerts that are stored', (plugins, offered) => {
  installFakeEdge(() => ({}));
  includedPlugins.value = new Set(plugins);
  for (const [kind, isOffered] of Object.entries(offered)) {
    const target = { kind, id: 'ada' } as LimitOwner;
    const root = renderForTest(h(LimitsForm, { target, ownLimits: {}, names: SHARED_LIMIT_NAMES }));
    const options = [...root.querySelectorAll('option')].map(({ value }) => value);
    expect(options.includes('alerts')).toBe(isOffered);
  }
});

test.each([
  ['account', true],
  ['group', false],
] as const)(
  'removing the total limit warns that credit has no effect without it (of a %s: %s)',
  async (kind, isSaid) => {
    installFakeEdge(() => ({}));
    const root = renderForTest(
      h(LimitsForm, { target: { kind, id: 'ada' }, ownLimits: { usd_total: 0 }, names: ['usd_total'] }),
    );
    expect(root.textContent).not.toContain('credit has no effect');
    await click(root, 'Remove Dollars in total');
    await waitForText(root, 'Saving removes all limits.');
    expect(root.textContent?.includes('Without “Dollars in total”, credit has no effect')).toBe(isSaid);
  },
);

test('an invalid limit shows the error of the page or of the API at its field', async () => {
  installFakeEdge(() => createErrorResponse(400, 'invalid_request_error', 'alerts.0: expected a share above 0'));
  const root = renderForTest(h(LimitsForm, { target: ACCOUNT, ownLimits: { alerts: [0.5] }, names: NAMES }));
  const field = () => getElementByName(root, 'Alerts, in % of each limit in dollars');
  fill(field(), 'half');
  await click(root, 'Save limits');
  await waitForText(root, 'Enter numbers separated by commas');
  fill(field(), '-1');
  await click(root, 'Save limits');
  await waitForText(root, 'expected a share above 0');
  expect(field().getAttribute('aria-invalid')).toBe('true');
});

test.each([
  ['Dollars per day', ' ', 'Remove this limit, or give it a number.'],
  ['Alerts, in % of each limit in dollars', '', 'Remove this limit, or give it a number.'],
  ['Alerts, in % of each limit in dollars', ',', 'Remove this limit, or give it a number.'],
  ['Models', '', 'Remove this limit, or give it a model.'],
  ['Models', ', ', 'Remove this limit, or give it a model.'],
])('an empty field is not saved, and shows how to remove the limit: %s “%s”', async (field, typed, said) => {
  const asked = installFakeEdge(() => ({}));
  const own = { usd_per_day: 5, usd_per_week: 9, alerts: [0.5], models: ['claude-opus-5'], fallback_models: [] };
  const root = renderForTest(h(LimitsForm, { target: ACCOUNT, ownLimits: own, names: NAMES }));
  fill(getElementByName(root, field), typed);
  await click(root, 'Save limits');
  await waitForText(root, said);
  expect(document.activeElement).toBe(getElementByName(root, field));
  expect(getElementByName(root, field).getAttribute('aria-invalid')).toBe('true');
  expect(changes(asked)).toEqual([]);
  // Remove is the way. A list that was empty before stays so.
  await click(root, `Remove ${field}`);
  await click(root, 'Save limits');
  await waitForText(root, 'Saved. Lists are updated within a minute.');
  const [{ body } = { body: undefined }] = changes(asked);
  const { if_limits: before, ...changed } = body as { if_limits: Record<string, unknown> };
  expect(Object.values(changed)).toEqual([null]);
  expect(before).toEqual({ [Object.keys(changed)[0] ?? '']: own[Object.keys(changed)[0] as keyof typeof own] });
});

test('a limit that another admin has changed is not overwritten: the form explains, and a second attempt saves', async () => {
  const message = 'usd_per_day: now 0.5, but `if_limits` expects 3';
  let fails = true;
  const asked = installFakeEdge(() => (fails ? createErrorResponse(409, 'conflict_error', message) : {}));
  const props = { target: ACCOUNT, names: NAMES };
  const root = renderForTest(h(LimitsForm, { ...props, ownLimits: { usd_per_day: 3, requests_per_minute: 60 } }));
  fill(getElementByName(root, 'Requests per minute'), '90');
  // The poll shows what the other admin has set meanwhile.
  render(h(LimitsForm, { ...props, ownLimits: { usd_per_day: 0.5, requests_per_minute: 60 } }), root);
  fill(getElementByName(root, 'Dollars per day'), '4');
  render(h(LimitsForm, { ...props, ownLimits: { usd_per_day: 0.7, requests_per_minute: 60 } }), root);
  await click(root, 'Save limits');
  await waitForText(root, 'now 0.5');
  fails = false;
  await click(root, 'Save limits');
  await waitForText(root, 'Saved. Lists are updated within a minute.');
  const saved = { usd_per_day: 4, requests_per_minute: 90 };
  expect(changes(asked).map(({ body }) => body)).toEqual([
    { ...saved, if_limits: { usd_per_day: 0.5, requests_per_minute: 60 } },
    { ...saved, if_limits: { usd_per_day: 0.7, requests_per_minute: 60 } },
  ]);
});

test.each([
  ['group', '/groups/blue/limits'],
  ['deployment', '/pools/deployment/limits'],
] as const)('limits of a %s can use any period, and saving one sends no other', async (kind, path) => {
  const asked = installFakeEdge(() => ({}));
  const root = renderForTest(
    h(LimitsForm, { target: { kind, id: 'blue' }, ownLimits: { usd_per_week: 5 }, names: SHARED_LIMIT_NAMES }),
  );
  const offered = [...getElementByName<HTMLSelectElement>(root, 'Add a limit').options].map(({ value }) => value);
  expect(offered).toEqual(['', 'usd_per_hour', 'usd_per_day', 'usd_per_month', 'usd_total', 'alerts']);
  fill(getElementByName(root, 'Dollars per week'), '7');
  await click(root, 'Save limits');
  const body = { usd_per_week: 7, if_limits: { usd_per_week: 5 } };
  await expect.poll(() => changes(asked)).toEqual([{ method: 'PATCH', path, body }]);
});

test('a retried credit uses the same idempotency key, and a new credit uses another', async () => {
  const keys: (string | null)[] = [];
  let fails = true;
  const asked = installFakeEdge(({ method }, headers) => {
    if (method !== 'POST') return { data: [], has_more: false, first_id: null, last_id: null };
    keys.push(headers.get('idempotency-key'));
    return fails ? createErrorResponse(503, 'api_error', 'No.') : { credit: 'credit_1' };
  });
  const root = renderForTest(h(Credit, { account: 'ada', hasTotal: false }));
  await waitForText(root, 'For a prepaid account, set this limit to 0.');
  const give = async (dollars: string) => {
    fill(getElementByName(root, 'Dollars of credit'), dollars);
    await click(root, 'Give credit');
  };
  await give('5');
  await waitForText(root, 'An error occurred');
  fails = false;
  await give('5');
  await expect.poll(() => getElementByName(root, 'Dollars of credit').value).toBe('');
  await waitForText(root, '$5.00 of credit was given.');
  await give('7');
  await expect.poll(() => keys.length).toBe(3);
  expect([keys[0] === keys[1], keys[1] === keys[2]]).toEqual([true, false]);
  expect(changes(asked).map(({ path, body }) => [path, body])).toEqual([
    ['/accounts/ada/credit', { usd: 5 }],
    ['/accounts/ada/credit', { usd: 5 }],
    ['/accounts/ada/credit', { usd: 7 }],
  ]);
});

test.each([
  ['blue', 'PUT', '/groups/blue/accounts/ada'],
  ['', 'DELETE', '/groups/red/accounts/ada'],
])('an account moves to the group “%s”', async (to, method, path) => {
  const asked = installFakeEdge(() => ({ data: [{ id: 'blue' }], has_more: false }));
  const root = renderForTest(h(GroupMembership, { account: 'ada', group: 'red' }));
  fill(getElementByName(root, 'Move to group'), to);
  await click(root, 'Move');
  await expect.poll(() => changes(asked).map((one) => [one.method, one.path])).toEqual([[method, path]]);
});
