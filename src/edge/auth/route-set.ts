import type { Context, Handler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { findTargetHandler } from 'hono/utils/handler';
import type { AppEnv } from './context.ts';

/** Routes that are marked by their functions. */
export class RouteHandlerSet {
  readonly #handlers = new WeakSet<object>();

  addHandler(handler: Handler<AppEnv>): void {
    this.#handlers.add(handler);
  }

  /** @returns whether one of them answers a request */
  matchesRequest(c: Context<AppEnv>): boolean {
    return matchedRoutes(c).some(({ handler }) => this.#handlers.has(findTargetHandler(handler as never)));
  }
}
