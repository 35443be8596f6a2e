import type { Context, MiddlewareHandler, Next } from 'hono';
import type { AppEnv } from '../../gate/auth/context.ts';
import { isVisitor } from '../../gate/identity/identity.ts';
import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';

/** Goes on unless the money of all visitors is spent. @throws ApiError 429 that says when it resets */
export const UNLESS_SPENT = seam<(c: Context<AppEnv>, next: Next) => Promise<void>>()('unlessSpent');

const unlessSpent = ofRooms(() => pluggedInto(UNLESS_SPENT)[0]);

/**
 * Refuses visitors while the money for them is spent. Everybody can be a visitor, any number of times: what makes their objects is not
 * called.
 *
 * @param middleware what the route has anyway, so that the requests of others pass no further function
 */
export function refuseSpent(middleware: MiddlewareHandler<AppEnv>): MiddlewareHandler<AppEnv> {
  return (c, next) => {
    const goOn = isVisitor(c.get('identity').account) ? unlessSpent() : undefined;
    return middleware(c, goOn ? () => goOn(c, next) : next);
  };
}
