import type { Room } from '../room.ts';
import { takeSources, WEBHOOK_ROUTES } from './webhooks.route.ts';

/** Webhooks: events that are classified or answered. */
export const webhooksRoom: Room = { name: 'webhooks', routes: WEBHOOK_ROUTES, takeOptions: takeSources };
