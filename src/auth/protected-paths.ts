import type { Context, Hono, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { findTargetHandler } from 'hono/utils/handler';
import type { AppEnv } from './context.ts';

/** What stands behind the gate of an app, by who has put it there. */
interface Behind {
  /** The app's own routes: nothing opens them. */
  own: ReadonlySet<unknown>;
  /** Let through, since they stand behind every path: what is asked of a request that came through anyway. */
  passing: ReadonlySet<unknown>;
}

/** Opens paths to requests without a credential: those of routes that a Worker adds to the app. */
export const open = createMiddleware<AppEnv>(async (c, next) => {
  c.set('opened', true);
  await next();
});

/** Closes paths, whether or not the app has routes there. */
export const close = createMiddleware<AppEnv>(async (c, next) => {
  c.set('closed', true);
  await next();
});

/**
 * Makes the gate of an app: whatever route of the app stands behind it, also one that is added later, needs a credential.
 * Where the app has no route, what is another app's or nobody's goes through.
 *
 * @param app the app that the gate is put into
 * @param signedIn finds out who asks, or refuses
 * @param behind tells the app's own routes, once all of them are there
 */
export function closedUnlessOpened(app: Hono<AppEnv>, signedIn: MiddlewareHandler<AppEnv>, behind: () => Behind) {
  let all: ReadonlySet<unknown> | undefined;
  const isClosed = (c: Context<AppEnv>): boolean => {
    if (c.get('closed')) return true;
    const { own, passing } = behind();
    // By what will really run, and not by the path: nobody can write one that the router reads in another way. No route
    // can be added any more once a request has come.
    all ??= handlersOf(app);
    const opened = c.get('opened') === true;
    return matchedRoutes(c)
      .slice(c.req.routeIndex + 1)
      .map(({ handler }) => findTargetHandler(handler as never))
      .some((handler) => !passing.has(handler) && (own.has(handler) || (!opened && all?.has(handler))));
  };
  return createMiddleware<AppEnv>(async (c, next) => {
    if (isClosed(c)) return await signedIn(c, next);
    await next();
  });
}

/** @returns the functions behind an app's routes, however deep they were put into it. */
export function handlersOf(app: Hono<AppEnv>): Set<unknown> {
  return new Set(app.routes.map(({ handler }) => findTargetHandler(handler as never)));
}
