import { createApp } from '#edge/app.ts';
import type { Scope } from '#edge/auth/identity/identity.ts';

/** A route of the app. */
export interface AppRoute {
  method: string;
  path: string;
  /** The path with names in it: an account is `alice`, and everything else `x`. */
  url: string;
}

const PUBLIC = ['GET /health', 'GET /openapi.json', 'POST /webhooks/:source', 'POST /tokens/visitor'];

/** Every route of the app that needs a credential. Senders of webhooks have none, and visitors get theirs from the edge. */
export const ROUTES: readonly AppRoute[] = [
  ...new Set(createApp().routes.map(({ method, path }) => `${method} ${path}`)),
]
  .filter((route) => !route.startsWith('ALL ') && !PUBLIC.includes(route))
  .map((route) => {
    const [method = '', path = ''] = route.split(' ');
    return { method, path, url: path.replace('/accounts/:id', '/accounts/alice').replaceAll(/:\w+/g, 'x') };
  });

/** Routes without a scope: callers read their own standing and usage. */
const OWN = ['/accounts/:id', '/accounts/:id/export', '/usage', '/usage/requests', '/usage/requests/:request_id'];

/** Routes that only read, with the scopes other than `admin` each of which is enough for them. */
const READ_BY: Readonly<Record<string, readonly Scope[]>> = {
  '/accounts': ['admin:read', 'admin:backup'],
  '/accounts/:id/backup': ['admin:backup'],
  '/accounts/:id/conversations': ['admin:backup'],
  '/accounts/:id/conversations/:conversation/backup': ['admin:backup'],
  '/accounts/:id/tokens': ['admin:read'],
  '/alerts': ['admin:read'],
  '/changes': ['admin:read'],
  '/erasures': ['admin:backup'],
  '/groups': ['admin:read', 'admin:backup'],
  '/groups/:id': ['admin:read'],
  '/groups/:id/accounts': ['admin:read'],
  '/groups/:id/backup': ['admin:backup'],
  '/metrics': ['admin:metrics', 'admin:read'],
  '/overview': ['admin:read'],
  '/pools/deployment': ['admin:read'],
  '/pools/deployment/backup': ['admin:backup'],
  '/versions/:kind': ['admin:read', 'admin:backup'],
  '/versions/:kind/:version/backup': ['admin:backup'],
  '/tokens': ['admin:read'],
  '/tokens/:jti': ['admin:read'],
  '/webhooks': ['admin:read'],
  '/webhooks/:source/events': ['admin:read'],
  '/webhooks/:source/events/:id': ['admin:read'],
};

/** @returns the scopes each of which is enough for a route, as the documentation lists them; none if any credential will do */
export function scopesOf({ method, path }: AppRoute): readonly Scope[] {
  if (path === '/tokens/renew' || (method === 'GET' && [...OWN, '/accounts/:id/credit'].includes(path))) return [];
  if (path.startsWith('/classif')) return [['PUT', 'DELETE'].includes(method) ? 'prefixes' : 'classify', 'admin'];
  if (/^\/(agents|prefixes)/.test(path)) return [method === 'GET' ? 'messages' : 'prefixes', 'admin'];
  if (/^(\/v1)?\/models/.test(path)) return ['messages', 'admin:read', 'admin'];
  if (/^(\/v1)?\/(messages|files)|^\/(count-tokens|conversations)/.test(path)) return ['messages', 'admin'];
  return [...((method === 'GET' && READ_BY[path]) || []), 'admin'];
}

/** What a restricted token may call. */
export const OPEN_TO_RESTRICTED: ReadonlySet<string> = new Set([
  'POST /messages',
  'POST /v1/messages',
  'POST /classify',
  'GET /conversations/:id/messages',
  'GET /conversations/:id/stream',
  'POST /conversations/:id/stop',
  'POST /tokens/renew',
  'POST /conversations',
  'POST /conversations/:id/fork',
  'POST /count-tokens',
  'POST /v1/messages/count_tokens',
  'GET /accounts/:id',
]);
/** What it may call only with `approvals`. */
export const OPEN_WITH_APPROVALS: ReadonlySet<string> = new Set([
  'GET /conversations/:id/approvals',
  'POST /conversations/:id/approvals/:approval',
]);
