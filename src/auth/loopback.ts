import { createMiddleware } from 'hono/factory';
import type { AppEnv } from '../env.ts';
import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import { isLoopback } from '../schemas/hosts.ts';

/**
 * Keeps a development server to its own machine: without this, any web page (by its `Origin`) or any name that is
 * made to point here (by its `Host`: DNS rebinding) could spend the developer's key.
 */
export const loopbackOnly = createMiddleware<AppEnv>(async (c, next) => {
  if (c.get('settings').development) {
    const origin = c.req.header('origin');
    if (!isLoopback(c.req.url) || (origin !== undefined && !isLoopback(origin))) {
      throw new ApiError(
        'permission_error',
        'A development server answers to loopback only: call it as http://localhost from a page on this machine.',
        { headers: DO_NOT_RETRY },
      );
    }
  }
  await next();
});
