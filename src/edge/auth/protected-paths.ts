import type { Context, Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { findTargetHandler } from 'hono/utils/handler';
import type { AppEnv } from './context.ts';

/** The functions that come after the check for a credential. */
interface ProtectedHandlers {
  /** The app's own routes. No Worker can open them. */
  ownHandlers: ReadonlySet<unknown>;
  /** Middleware of all paths. If only these functions match a path, the path does not exist. */
  globalMiddleware: ReadonlySet<unknown>;
}

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
 * Makes the middleware that asks for a credential. Every route of the app after it needs one, even a route that is added
 * later. If the app has no route for a path, the request passes, because it may belong to another app.
 *
 * @param app the app that uses this middleware
 * @param identify finds out who asks, or throws
 * @param behind returns the app's own routes. It is called when all of them exist
 */
export function createCredentialMiddleware(
  app: Hono<AppEnv>,
  identify: (c: Context<AppEnv>) => Promise<void>,
  behind: () => ProtectedHandlers,
) {
  let all: ReadonlySet<unknown> | undefined;
  const requiresCredential = (c: Context<AppEnv>): boolean => {
    if (c.get('closed')) return true;
    const { ownHandlers: own, globalMiddleware: passing } = behind();
    // The functions that will run decide, not the path: a path could be written so that it is read differently here and
    // in the router. `all` can be remembered, since no route can be added after the first request.
    all ??= collectRouteHandlers(app);
    const opened = c.get('opened') === true;
    return matchedRoutes(c)
      .slice(c.req.routeIndex + 1)
      .map(({ handler }) => findTargetHandler(handler as never))
      .some((handler) => !passing.has(handler) && (own.has(handler) || (!opened && all?.has(handler))));
  };
  return createMiddleware<AppEnv>(async (c, next) => {
    if (requiresCredential(c)) await identify(c);
    await next();
  });
}

/** @returns the functions of an app's routes, also of routes from apps mounted in it. */
export function collectRouteHandlers(app: Hono<AppEnv>): Set<unknown> {
  return new Set(app.routes.map(({ handler }) => findTargetHandler(handler as never)));
}
