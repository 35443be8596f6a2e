// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { beforeEach, expect, test } from 'vitest';
import { TodaySpend } from '#page/app.tsx';
import { refreshSpentToday, spentToday } from '#page/edge/account.ts';
import { actAs } from '#test/support/act-as.ts';
import { createErrorResponse, installFakeEdge, renderForTest, waitForText } from '#test/support/dom.ts';

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
