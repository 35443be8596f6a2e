/** Where rooms plug in their routes. */

import type { Hono } from '../../kit/http/hono.ts';
import { seam } from '../../kit/rooms/rooms.ts';
import type { AppEnv } from './context.ts';

/** What an app decides for the routes of rooms. Beside it stands what a room lets a Worker decide for that room alone. */
export interface RouteOptions {
  /** Replaces `fetch` for everything that goes to the Claude API. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

type MakeRoutes = (options: RouteOptions) => readonly Hono<AppEnv>[];

/** Routes that need a credential, which may not be revoked. */
export const ROUTES = seam<MakeRoutes>()('routes');

/** Routes that need no credential: each decides by itself whom it answers. */
export const OPEN_ROUTES = seam<MakeRoutes>()('openRoutes');

/** Takes what a Worker decides for a room beside its routes, once for each app. */
export const OPTIONS = seam<(options: RouteOptions) => void>()('options');
