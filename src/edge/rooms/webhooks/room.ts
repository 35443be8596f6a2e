import type { Room } from '../room.ts';

/** Webhooks: events that are classified or answered. */
export const webhooksRoom: Room = { name: 'webhooks' };
