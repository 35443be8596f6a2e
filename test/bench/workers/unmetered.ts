import { createApp } from '#edge/app.ts';
import { ROOMS } from '#edge/rooms.ts';

/** The edge without accounts: what relaying alone costs. */
export default { fetch: createApp({ rooms: ROOMS, isUnmetered: true }).fetch };
