import { bearer, tokenOf } from '../../support/tokens.ts';
import { ASKED, type Ask, type Row, type Send, times } from './row.ts';

const MOST_MODELS = 100;
const models = (n: number) => times(n, (nth) => `model-${nth}`);
const put = (path: string, body: object): Ask => ({ method: 'PUT', path, body });
const DAY = {
  ...{ requests: 1, cost: 1, input_tokens: 1, output_tokens: 1, cache_read_tokens: 0, cache_write_5m_tokens: 0 },
  ...{ cache_write_1h_tokens: 0, thinking_tokens: 0, web_searches: 0 },
};
const NOTHING = { limits: null, group: null, revoked_before: 0, credits: [], tokens: [], days: [] };
const restore = (id: string, has: object): Ask =>
  put(`/accounts/${id}/backup`, { type: 'account_backup', id, ...NOTHING, ...has });
const AT = Date.parse('2026-11-20T12:00:00Z');
const credits = (n: number) =>
  times(n, (nth) => ({
    ...{ id: `credit_${nth}`, key: null, amount: 1, spent: 0, note: null, created_at: AT + nth, expires_at: null },
  }));
const tokens = (n: number) =>
  times(n, (nth) => ({
    ...{ jti: `jti_${nth}`, label: null, scopes: null, minted_at: AT, first_seen_at: null, expires_at: null },
    ...{ revoked_at: nth % 10 > 0 ? AT : null, limits: { usd_total: 1 }, spent: 0 },
  }));
const days = (n: number) => times(n, (nth) => ({ day: nth + 1, ...DAY }));
const everything = (n: number) => ({ credits: credits(n), tokens: tokens(n), days: days(n) });
const restored = (send: Send, n: number, id: string) => send(restore(id, everything(n)));

/** A row of an account that has had so many credits, tokens and days. */
const ofOld = (what: string, where: string, n: number, ask: (id: string) => Ask): Row => ({
  what: `credits, tokens and days before ${what}`,
  where: [where],
  n,
  // Of its tokens a tenth holds, and a thousand may.
  most: 8_000,
  prepare: restored,
  asks: (_, id) => ask(id),
});

export const ACCOUNT_ROWS: readonly Row[] = [
  {
    what: 'models of limits',
    where: ['PUT /accounts/:id/limits', 'PATCH /accounts/:id/limits'],
    n: 12,
    most: MOST_MODELS,
    asks: (n, id) => [
      put(`/accounts/${id}/limits`, { models: models(n) }),
      { method: 'PATCH', path: `/accounts/${id}/limits`, body: { models: models(n) } },
    ],
  },
  {
    what: 'unknown limits',
    where: ['PUT /accounts/:id/limits', 'PUT /groups/:id/limits', 'PUT /pools/deployment/limits'],
    n: 300,
    most: 3_200,
    asks: (n, id) =>
      [`/accounts/${id}/limits`, `/groups/${id}/limits`, '/pools/deployment/limits'].map((path) => ({
        ...put(path, Object.fromEntries(times(n, (nth) => [`limit_${nth}`, 1]))),
        status: 400,
      })),
  },
  {
    what: 'credits',
    where: ['POST /accounts/:id/credit', 'GET /accounts/:id/credit'],
    n: 10,
    asks: (n, id) => [
      ...times(n, () => ({ path: `/accounts/${id}/credit`, body: { usd: 1 }, status: 201 })),
      { method: 'GET', path: `/accounts/${id}/credit` },
    ],
  },
  {
    what: 'tokens',
    where: ['POST /tokens', 'GET /accounts/:id/tokens'],
    n: 10,
    most: 1_000,
    asks: (n, id) => [
      ...times(n, () => ({
        path: '/tokens',
        body: { account: id, scopes: ['messages'], limits: { models: models(10) } },
        status: 201,
      })),
      { method: 'GET', path: `/accounts/${id}/tokens?limit=1000` },
    ],
  },
  {
    what: 'accounts of a group',
    where: ['PUT /groups/:id/accounts/:account', 'GET /groups/:id/accounts'],
    n: 8,
    asks: (n, id) => [
      put(`/groups/${id}/limits`, { usd_per_day: 1 }),
      ...times(n, (nth) => put(`/groups/${id}/accounts/${id}-${nth}`, {})),
      { method: 'GET', path: `/groups/${id}/accounts?limit=1000` },
    ],
  },
  {
    what: 'groups',
    where: ['GET /groups', 'GET /groups/:id', 'DELETE /groups/:id', 'GET /accounts', 'GET /metrics'],
    n: 8,
    most: 1_000,
    prepare: async (send, n, id) => {
      for (let nth = 0; nth < n; nth += 1) await send(put(`/groups/${id}-${nth}/limits`, { usd_per_day: 1 }));
      return '';
    },
    asks: (n, id) => [
      ...['/groups?limit=1000', '/accounts?limit=1000', '/metrics'].map((path): Ask => ({ method: 'GET', path })),
      ...times(n, (nth): Ask => ({ method: 'GET', path: `/groups/${id}-${nth}` })),
      ...times(n, (nth): Ask => ({ method: 'DELETE', path: `/groups/${id}-${nth}` })),
    ],
  },
  {
    what: 'credits, tokens and days of a backup',
    where: ['PUT /accounts/:id/backup'],
    n: 250,
    asks: (n, id) => restore(id, everything(n)),
  },
  {
    what: 'requests before a report of them',
    where: ['GET /usage', 'GET /usage/requests'],
    n: 25,
    prepare: async (send, n, id) => {
      const token = await tokenOf(id);
      for (let nth = 0; nth < n; nth += 1) await send({ path: '/v1/messages', body: ASKED, headers: bearer(token) });
      return token;
    },
    asks: (_, __, token) =>
      ['/usage', '/usage/requests?limit=1000'].map((path) => ({ method: 'GET', path, headers: bearer(token) })),
  },
  ofOld('a backup', 'GET /accounts/:id/backup', 500, (id) => ({ method: 'GET', path: `/accounts/${id}/backup` })),
  ofOld('an export', 'GET /accounts/:id/export', 500, (id) => ({ method: 'GET', path: `/accounts/${id}/export` })),
  ofOld('a report', 'GET /accounts/:id', 500, (id) => ({ method: 'GET', path: `/accounts/${id}` })),
  ofOld('a list of credits', 'GET /accounts/:id/credit', 500, (id) => ({
    method: 'GET',
    path: `/accounts/${id}/credit?limit=1000`,
  })),
  ofOld('the end of all of them', 'DELETE /accounts/:id/tokens', 500, (id) => ({
    method: 'DELETE',
    path: `/accounts/${id}/tokens`,
  })),
  ofOld('its erasure', 'DELETE /accounts/:id', 500, (id) => ({
    ...{ method: 'DELETE', path: `/accounts/${id}`, status: 202, isAwaited: true, has: '"done":true' },
  })),
  ofOld('the next credit', 'POST /accounts/:id/credit', 500, (id) => ({
    path: `/accounts/${id}/credit`,
    body: { usd: 1 },
    status: 201,
  })),
  ofOld('the next token', 'POST /tokens', 500, (id) => ({
    path: '/tokens',
    body: { account: id, scopes: ['messages'] },
    status: 201,
  })),
];
