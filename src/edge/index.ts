import { development } from '#development';
import { createApp } from './app.ts';
import { consumeQueue } from './kit/delivery/queue.ts';
import { demonstrationTools } from './rooms/runs/tools/demonstration.ts';
import { ROOMS } from './rooms.ts';

/** Says whether this is built for development. What only that needs is left out of a deploy. */
declare const SLUICE_SIMULATOR: boolean | undefined;

const tools = typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR ? demonstrationTools() : development?.tools();

export default { fetch: createApp({ rooms: ROOMS, ...(tools ? { tools } : {}) }).fetch, queue: consumeQueue };
export { Account } from './money/account/account.ts';
export { Batch } from './rooms/batches/batch.ts';
export { Pool } from './rooms/pools/pool.ts';
export { Inbox } from './rooms/webhooks/inbox/inbox.ts';
export { Conversation } from './talk/conversations/conversation.ts';
