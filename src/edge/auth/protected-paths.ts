import type { Context, Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { findTargetHandler } from 'hono/utils/handler';
import type { AppEnv } from './context.ts';

/** Opens paths of routes that a Worker adds to the app, so that they need no credential. */
export const openPath = createMiddleware<AppEnv>((c, next) => {
  c.set('opened', true);
  return next();
});

/** Closes paths, so that they need a credential even if the app has no routes there. */
export const closePath = createMiddleware<AppEnv>((c, next) => {
  c.set('closed', true);
  return next();
});

/**
 * Decides which paths need a credential in addition to the edge's own routes: those that were closed, and those of routes that
 * a Worker has added, unless they were opened. Another app's route needs none, even if the edge is mounted in that app.
 *
 * @returns a function for the middleware that runs after all of the edge's own routes
 */
export function createPathProtection(app: Hono<AppEnv>): (c: Context<AppEnv>) => boolean {
  const { length } = app.routes;
  let added: ReadonlySet<unknown> | undefined;
  return (c) => {
    if (c.get('closed')) return true;
    if (c.get('opened')) return false;
    // Decide by the handlers that will run, not by the path: with an unusual spelling, this check and the router could
    // understand a path differently. Compute the set only once, because Hono accepts no routes after the first request.
    added ??= new Set(app.routes.slice(length).map(({ handler }) => findTargetHandler(handler)));
    return matchedRoutes(c)
      .slice(c.req.routeIndex + 1)
      .some(({ handler }) => added?.has(findTargetHandler(handler)));
  };
}
