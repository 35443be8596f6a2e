import type { Hono } from 'hono';
import { type AppOptions, createApp as createEdge } from '../app.ts';
import type { AppEnv } from '../gate/auth/context.ts';
import { ROOMS } from '../rooms.ts';

/**
 * Makes the edge as `app.ts` does, with all rooms.
 *
 * @example
 * const edge = createApp({ publicPaths: ['/status'] });
 * edge.get('/status', (c) => c.text('up'));
 * export default { fetch: edge.fetch, queue: createConsumer() };
 */
export function createApp<Inputs extends object = Record<string, unknown>>(
  options: AppOptions<Inputs> = {},
): Hono<AppEnv> {
  return createEdge({ rooms: ROOMS, ...options });
}
