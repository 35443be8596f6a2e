import type { Context, Handler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { finalError } from '../../kit/http/errors.ts';
import { isLoopback } from '../../kit/http/headers/hosts.ts';
import type { AppEnv } from './context.ts';
import { MarkedRoutes } from './marked-routes.ts';

/**
 * Restricts a development server to its own machine. Otherwise any web page (by its `Origin`) or any name that points here
 * (by its `Host`: DNS rebinding) could spend the developer's key.
 */
export const loopbackOnly = createMiddleware<AppEnv>((c, next) => {
  const origin = c.req.header('origin');
  const isOwn = isLoopback(c.req.url) && (origin === undefined || isLoopback(origin));
  if (c.get('settings').development && !isOwn) {
    throw finalError(
      'permission_error',
      'A development server answers to its own machine only: call it as http://localhost, from a page on this machine.',
    );
  }
  return next();
});

const OWN_SITES: readonly (string | null)[] = ['same-origin', 'same-site', 'none'];
const publicRoutes = new MarkedRoutes();

/** Marks a route by its function: what it answers is no secret, so that in development any page may read it. */
export function openToPages(handler: Handler<AppEnv>): void {
  publicRoutes.add(handler);
}

/**
 * Says whether a page whose name was made to point to this machine may be reading what is stored here. The local runtime takes a
 * request's URL from a header that such a page can set. But browsers add an `Origin` to all that is not GET or HEAD, and only
 * to pages of this machine they say by `sec-fetch-site` where a request comes from. No page can change either.
 */
export function mayBeRebound(c: Context<AppEnv>): boolean {
  const { method, headers } = c.req.raw;
  if ((method !== 'GET' && method !== 'HEAD') || headers.has('origin')) return false;
  return !OWN_SITES.includes(headers.get('sec-fetch-site')) && !publicRoutes.answers(c);
}
