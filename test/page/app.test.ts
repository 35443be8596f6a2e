// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { beforeEach, expect, test } from 'vitest';
import { App, TodaySpend } from '#page/app.tsx';
import { draftText } from '#page/chat/composer/draft.ts';
import { prefixes, refreshSpentToday, spentToday } from '#page/edge/account.ts';
import { changeToken, checkConnection, readJson } from '#page/edge/client.ts';
import { connectionState, token } from '#page/edge/credential.ts';
import { actAs } from '#test/support/act-as.ts';
import {
  createErrorResponse,
  getElementByName,
  installFakeEdge,
  navigateTo,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';

const OWN = 'Spent today by you, including holds for running requests';
const ALL = 'Spent today by the deployment';

/** What the edge knows, in US dollars; undefined where it cannot be read. */
let known: { own?: number; all?: number };

beforeEach(() => {
  spentToday.value = undefined;
});

function openHeader(scope: string, knows: typeof known): { pill: HTMLElement; paths: () => string[] } {
  actAs('ada', scope);
  known = knows;
  const asked = installFakeEdge(({ path }) => {
    const usd = path === '/pools/deployment' ? known.all : known.own;
    if (usd === undefined) return createErrorResponse(503, 'api_error', 'No.');
    return { day: { spent_usd: usd, leased_usd: 7, settled_usd: usd - 0.25, held_usd: 0.25 } };
  });
  return { pill: renderForTest(h(TodaySpend, {})), paths: () => asked.map(({ path }) => path) };
}

test.each([
  ['an admin', 'admin', { own: 0.5, all: 2 }, /^Deployment todayAll\$2\.00$/, ALL],
  [
    'an admin of whose last request the deployment has not heard yet',
    'admin',
    { own: 0.5, all: 0.25 },
    /^Deployment todayAll\$0\.50$/,
    ALL,
  ],
  ['an admin whose own account cannot be read', 'admin', { all: 2 }, /^Deployment todayAll\$2\.00$/, ALL],
  ['an admin while the deployment’s budget cannot be read', 'admin', { own: 0.5 }, /^You todayYou\$0\.50$/, OWN],
  ['anybody else', 'messages', { own: 0.5 }, /^You todayYou\$0\.50$/, OWN],
])('the header shows %s the amount spent today, and whose spending it is', async (_who, scope, knows, text, title) => {
  const { pill, paths } = openHeader(scope, knows);
  const link = pill.querySelector('a');
  expect(link?.dataset.known).toBe('false');
  await refreshSpentToday();
  await waitForText(pill, text);
  expect([link?.title, link?.dataset.known]).toEqual([title, 'true']);
  expect(paths().includes('/pools/deployment')).toBe(scope === 'admin');
});

test.each(['admin', 'messages'])(
  'the header keeps the last amount while the current one cannot be read (%s)',
  async (scope) => {
    const { pill } = openHeader(scope, { own: 0.5, all: 0.5 });
    await refreshSpentToday();
    known = {};
    await expect(refreshSpentToday()).rejects.toThrow('No.');
    await waitForText(pill, '$0.50');
  },
);

/** An edge that accepts tokens until they are rejected. */
function openApp(scope: string): { root: HTMLElement; reject(): void; paths(): string[] } {
  let isRejected = false;
  actAs('ada', scope);
  navigateTo('#/');
  const asked = installFakeEdge(({ path }) => {
    if (path === '/health') return { upstream: 'simulator', plugins: ['agents', 'pools'] };
    if (isRejected) return createErrorResponse(401, 'authentication_error', 'This token was revoked.');
    if (path.startsWith('/prefixes')) return { data: [{ name: 'handbook' }] };
    return { data: [], has_more: false, day: { spent_usd: 2, leased_usd: 0, settled_usd: 2, held_usd: 0 } };
  });
  // An earlier test may have ended at the form for a token.
  connectionState.value = 'starting';
  const root = renderForTest(h(App, {}));
  void checkConnection();
  return { root, reject: () => (isRejected = true), paths: () => asked.map(({ path }) => path) };
}

const getPartNames = (root: HTMLElement) =>
  [...root.querySelectorAll('.parts a')].map(({ textContent }) => textContent);

test('what belonged to a token disappears when the token is rejected, except the draft', async () => {
  const { root, reject } = openApp('admin');
  await waitForText(root, /Deployment today.*\$2\.00/);
  expect(getPartNames(root)).toEqual(['Chat', 'Classify', 'Agents', 'Budget', 'Inspector']);
  await expect.poll(() => prefixes.value.length).toBe(1);
  draftText.value = 'Half a question';
  reject();
  await expect(readJson('/models')).rejects.toThrow('revoked');
  await waitForText(root, /Enter your token.*This token was revoked/s);
  expect(getPartNames(root)).toEqual([]);
  expect([spentToday.value, prefixes.value, token.value]).toEqual([undefined, [], undefined]);
  expect(root.textContent).not.toContain('$2.00');
  expect(sessionStorage.getItem('sluice-token')).toBeNull();
  expect(draftText.value).toBe('Half a question');
});

test('another token of the same account keeps the draft, and one of another account does not', async () => {
  const { root } = openApp('messages');
  await waitForText(root, 'Your own gateway to Claude.');
  draftText.value = 'Half a question';
  const use = async (sub: string) =>
    await changeToken(['{}', JSON.stringify({ sub, scope: 'messages' }), ''].map(btoa).join('.'));
  await use('ada');
  expect(draftText.value).toBe('Half a question');
  await use('bob');
  expect(draftText.value).toBe('');
});

test.each([
  ['messages', ['Chat', 'Agents', 'Budget', 'Inspector']],
  ['classify', ['Classify', 'Budget', 'Inspector']],
  ['prefixes', ['Budget']],
  ['tools', ['Budget']],
  ['admin:read', ['Budget']],
  ['admin:metrics', ['Budget']],
  ['admin:backup', ['Budget']],
])('a token with the scope %s shows only the parts whose requests it allows', async (scope, parts) => {
  const { root } = openApp(scope);
  await expect.poll(() => getPartNames(root)).toEqual(parts);
  await expect.poll(() => getElementByName<HTMLButtonElement>(root, 'Account ada').disabled).toBe(false);
});
