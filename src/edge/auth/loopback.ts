import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { createNonRetryableError } from '../kit/http/errors.ts';
import { isLoopback } from '../kit/http/headers/hosts.ts';
import type { AppEnv } from './context.ts';

/**
 * Restricts a development server to its own machine. Otherwise any web page (by its `Origin`) or any name that points here
 * (by its `Host`: DNS rebinding) could spend the developer's key.
 *
 * `wrangler dev` calls the Worker with another host where it is told one (`--local-upstream`, `--host`, `[dev] host`, a route),
 * and rewrites the host in every header, `Origin` too. A page under a rebound name then looks like a page of localhost. But its
 * URL is not trustworthy, so the browser sends no `Sec-Fetch-Site` with its requests, and no page can set that header.
 */
export const restrictToLoopback = createMiddleware<AppEnv>((c, next) => {
  const { development, isOpen } = c.get('settings');
  if (!development) return next();
  if (!isLoopback(c.req.url)) throw createNonRetryableError('permission_error', NOT_LOOPBACK_MESSAGE);
  const origin = c.req.header('origin');
  // If the deployment requires credentials, `ALLOWED_ORIGINS` decides which pages may send requests, as in production.
  if (origin === undefined || !isOpen) return next();
  if (!isLoopback(origin)) throw createNonRetryableError('permission_error', NOT_LOOPBACK_MESSAGE);
  if (!c.req.header(FETCH_SITE)) throw createNonRetryableError('permission_error', UNKNOWN_PAGE_MESSAGE);
  return next();
});

const FETCH_SITE = 'sec-fetch-site';
const NOT_LOOPBACK_MESSAGE =
  'A development server accepts requests from its own machine only. Call it as http://localhost, from a page on this machine.';
const UNKNOWN_PAGE_MESSAGE =
  'This request has an `Origin` but no `Sec-Fetch-Site`, so it may come from a page whose host name was rebound to this machine. Use a current browser (Chrome 76, Edge 79, Firefox 90, Safari 16.4 or newer). From a program, leave out `Origin`.';

const OWN_SITES: readonly (string | null)[] = ['same-origin', 'same-site', 'none'];

/**
 * Returns whether a page whose domain was made to point to this machine may be reading stored data. The local runtime takes a
 * request's URL from a header that such a page can set. But browsers add an `Origin` to all requests except GET and HEAD, and
 * only for pages of this machine a `sec-fetch-site`. A page can change neither.
 */
export function isPossibleDnsRebinding(c: Context<AppEnv>): boolean {
  const { method, headers } = c.req.raw;
  if ((method !== 'GET' && method !== 'HEAD') || headers.has('origin')) return false;
  return !OWN_SITES.includes(headers.get(FETCH_SITE)) && !c.get('route')?.common;
}
