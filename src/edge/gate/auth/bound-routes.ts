/** Where a bound token may be used: on routes whose definition says so, and from the origins that it names. */

import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { findTargetHandler } from 'hono/utils/handler';
import type { Only } from '../identity/only.ts';
import type { Settings } from '../settings/settings.ts';
import type { AppEnv } from './context.ts';

/** The middleware that opens the routes in whose definitions it stands. */
const opening = new WeakSet<object>();

/**
 * Opens the route in whose definition it stands to bound tokens. The route itself must see what they may ask there.
 *
 * @param middleware what the route has anyway, so that its requests pass no further function
 */
export function openToBound(
  middleware: MiddlewareHandler<AppEnv> = createMiddleware((_, next) => next()),
): MiddlewareHandler<AppEnv> {
  opening.add(middleware);
  return middleware;
}

/** @returns whether a route that answers this request is open to bound tokens. */
export function isOpenToBound(c: Context<AppEnv>): boolean {
  return matchedRoutes(c).some(({ handler }) => opening.has(findTargetHandler(handler as never)));
}

/**
 * @returns whether a request comes from a page of an origin that a bound token names. A browser leaves `origin` out where the
 *   page is the edge's own
 */
export function comesFrom({ origins }: Only, request: Request): boolean {
  if (origins === undefined) return true;
  const origin = request.headers.get('origin');
  if (origin !== null) return origins.includes(origin);
  return request.headers.get('sec-fetch-site') === 'same-origin' && origins.includes(new URL(request.url).origin);
}

/** @returns the first origin of a bound token that no page of this deployment has; undefined if there is none */
export function unknownOrigin(
  { origins = [] }: Only,
  { ALLOWED_ORIGINS, development }: Pick<Settings, 'ALLOWED_ORIGINS' | 'development'>,
  own: string,
): string | undefined {
  if (development || ALLOWED_ORIGINS.includes('*')) return undefined;
  return origins.find((origin) => origin !== own && !ALLOWED_ORIGINS.includes(origin));
}
