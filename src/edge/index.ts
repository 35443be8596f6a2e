import { develop } from '#development';
import { createApp } from './app.ts';
import { consumeQueue } from './kit/delivery/queue.ts';
import { ROOMS } from './rooms.ts';

develop();

export default { fetch: createApp({ rooms: ROOMS }).fetch, queue: consumeQueue };
export { Conversation } from './conversations/object/conversation.ts';
export { Account } from './money/account/account.ts';
export { Batch } from './rooms/batches/batch.ts';
export { Pool } from './rooms/pools/pool.ts';
export { Inbox } from './rooms/webhooks/inbox/inbox.ts';
