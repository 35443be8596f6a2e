import type { Hono } from 'hono';
import { type AppOptions, createApp } from '../app.ts';
import type { AppEnv } from '../gate/auth/context.ts';
import { ROOMS } from '../rooms.ts';

/** Makes the edge as `createApp` does, with all rooms. */
export function createEdge<Inputs extends object = Record<string, unknown>>(
  options: AppOptions<Inputs> = {},
): Hono<AppEnv> {
  return createApp({ rooms: ROOMS, ...options });
}
