import type { Hono } from 'hono';
import { develop } from '#development';
import { type AppOptions, createApp as createEdge } from '../app.ts';
import type { AppEnv } from '../auth/context.ts';
import { OPTIONS } from '../auth/route.ts';
import { pluggedInto } from '../kit/rooms/rooms.ts';
import type { RoomOptions } from '../rooms.ts';

/** Which room reads what a Worker says to rooms. */
const READERS: Readonly<Record<keyof RoomOptions, string>> = { webhooks: 'webhooks', tools: 'runs' };

/** The order of all rooms by their names alone: a bundler keeps the rooms that a Worker imports. */
const ORDER = [
  ...['visitors', 'agents', 'summaries', 'runs', 'transfer', 'webhooks', 'batches', 'files', 'evaluation'],
  ...['clouds', 'pools', 'operator'],
];

develop();

/**
 * Makes the edge as `app.ts` does, with its rooms in whatever order they are listed.
 *
 * @throws Error as that does, and for an option whose room is not there
 * @example
 * const edge = createApp({ rooms: [webhooksRoom], publicPaths: ['/status'] });
 * edge.get('/status', (c) => c.text('up'));
 * export default { fetch: edge.fetch, queue: createConsumer() };
 */
export function createApp<Inputs extends object = Record<string, unknown>>(
  options: AppOptions<Inputs> = {},
): Hono<AppEnv> {
  const rooms = options.rooms?.toSorted((left, right) => ORDER.indexOf(left.name) - ORDER.indexOf(right.name));
  const app = createEdge(rooms ? { ...options, rooms } : options);
  for (const [option, room] of Object.entries(READERS)) {
    if (!(option in options) || pluggedInto(OPTIONS, room).length > 0) continue;
    throw new Error(`createApp: ${option} is for the room ${room}. Put \`${room}Room\` into \`rooms\`, too.`);
  }
  return app;
}
