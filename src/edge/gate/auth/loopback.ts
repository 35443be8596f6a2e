import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { encoder } from '../../kit/http/bytes.ts';
import { finalError } from '../../kit/http/errors.ts';
import { isLoopback, START_SECRET_HEADER } from '../../kit/http/headers/hosts.ts';
import type { AppEnv } from './context.ts';

/**
 * Restricts a development server to its own machine. Otherwise any web page (by its `Origin`) or any name that points here
 * (by its `Host`: DNS rebinding) could spend the developer's key.
 *
 * The local runtime takes a request's URL from a header that anybody can send. So `npm start` puts a proxy before it, which
 * sees the real request and proves itself with a secret. Without this secret, in a Worker that somebody has built on the
 * edge, only the URL can be checked.
 */
export const loopbackOnly = createMiddleware<AppEnv>((c, next) => {
  const { development, START_SECRET } = c.get('settings');
  if (development && !(START_SECRET === undefined ? isFromLoopback(c) : isFromProxy(c, START_SECRET))) {
    throw finalError(
      'permission_error',
      'A development server answers to its own machine only: call it as `npm start` says, from a page on this machine.',
    );
  }
  return next();
});

function isFromLoopback(c: Context<AppEnv>): boolean {
  const origin = c.req.header('origin');
  return isLoopback(c.req.url) && (origin === undefined || isLoopback(origin));
}

function isFromProxy(c: Context<AppEnv>, secret: string): boolean {
  const [shown, known] = [encoder.encode(c.req.header(START_SECRET_HEADER)), encoder.encode(secret)];
  return shown.length === known.length && crypto.subtle.timingSafeEqual(shown, known);
}

/**
 * Says whether a request may come from a page whose name was made to point to this machine. Under plain `wrangler dev` such
 * a page can give its request any URL, by a header of the local runtime. But browsers add an `Origin` to all that is not GET
 * or HEAD, and tell pages of this machine alone by `sec-fetch-site`; no page can change either.
 */
export function mayBeRebound({ method, headers }: Request): boolean {
  return (method === 'GET' || method === 'HEAD') && !headers.has('origin') && !headers.has('sec-fetch-site');
}
